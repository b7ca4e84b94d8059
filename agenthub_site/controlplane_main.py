"""``agenthub controlplane``: the control plane without a web door, for installations of several processes."""

import asyncio
import os
import signal
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from integrations.cli.parsers import Parser

if TYPE_CHECKING:
    from nodes.contract.config import Config

STOP_SECONDS: Final = 9.0


def main(argv: Sequence[str]) -> int:
    """Run until SIGTERM or SIGINT; 0 after a clean stop."""
    Parser("agenthub controlplane", description=__doc__).parse_args(argv)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "agenthub_site.settings")
    import django

    django.setup()
    from django.conf import settings

    from agenthub_site.file_limit import raise_file_limit
    from agenthub_site.homelock import share_home

    raise_file_limit()
    with share_home(settings.CONFIG.home, "control plane"):
        asyncio.run(_run(settings.CONFIG))
    return 0


async def _run(config: "Config") -> None:
    from agenthub_site import mcp_door
    from agenthub_site.controlplane import Controlplane
    from agents.reading import counters
    from audit.bell import bell

    stop_asked, plane = asyncio.Event(), Controlplane(config)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop_asked.set)
    await bell.start(home=config.home, redis_url=config.redis.url, counters=counters)
    try:
        await plane.start()
        await stop_asked.wait()
    finally:
        async with asyncio.timeout(STOP_SECONDS):
            await plane.stop()
            await mcp_door.door.stop()
            await bell.stop()
