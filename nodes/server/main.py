"""``manage.py runnode`` and ``agenthub node run``: serve this machine as a node until told to stop. No Django."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence

import structlog

from nodes.contract.config import Config, load_config
from nodes.contract.errors import ConfigError, HubError
from nodes.contract.logs import configure_logs

from .node import NodeServer
from .spawner_client import NoSpawner, SpawnerClient

logger = structlog.get_logger(__name__)

EXIT_OK, EXIT_REFUSED, EXIT_BAD_CONFIG = 0, 1, 2

_DESCRIPTION = """\
Serve this machine as a node: wait for the hub, execute the runs it sends, keep their records until it has them.
Stopping it (Ctrl-C, SIGTERM) leaves live runs alive under their supervisors; the next start takes them back.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; returns the exit code."""
    arguments = _parse(argv)
    try:
        if arguments.listen:
            for name in ("AGENTHUB_NODE__LISTEN", "AGENTHUB_INTERNAL_GRPC__LISTEN"):
                os.environ[name] = arguments.listen
        config = load_config(arguments.config)
    except HubError as error:
        return _tell(error)
    configure_logs(config.log.level, config.log.format)
    try:
        asyncio.run(_run(config, takes_over=arguments.take_over, listen_at=arguments.listen))
    except HubError as error:
        return _tell(error)
    return EXIT_OK


def _tell(error: HubError) -> int:
    sys.stderr.write(f"agenthub: {error.text}\n")
    return EXIT_BAD_CONFIG if isinstance(error, ConfigError) else EXIT_REFUSED


async def _run(config: Config, *, takes_over: bool, listen_at: str) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    spawner = SpawnerClient.from_config(config)
    server = NodeServer(config, spawner, takes_over=takes_over, listen_at=listen_at)
    await server.start()
    warming = asyncio.create_task(_warm_up(spawner))
    try:
        await stop.wait()
    finally:
        warming.cancel()
        await asyncio.gather(warming, return_exceptions=True)
        await server.stop()
        await spawner.aclose()


async def _warm_up(spawner: SpawnerClient) -> None:
    """Have a spawner ready before the first run asks for it."""
    try:
        await spawner.ensure()
    except NoSpawner as error:  # it is tried again with every run
        logger.warning("spawner.not_ready", message=error.text)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="agenthub node run", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-c", "--config", metavar="FILE", help="config.toml (default: that of AGENTHUB_HOME)")
    parser.add_argument(
        "--listen",
        metavar="HOST:PORT",
        default="",
        help="where to wait for the hub (default: its setting, or what it joined with)",
    )
    parser.add_argument(
        "--take-over", action="store_true", help="if a node server runs on this home, ask it to leave; runs go on"
    )
    return parser.parse_args(argv)
