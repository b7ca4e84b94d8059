"""A joined node's way to its hub: dials, again and again, and renews its certificate by itself."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Final

import structlog

from nodes.contract.errors import HubError
from nodes.link.credentials import Credentials
from nodes.link.dial import dial_hub
from nodes.link.errors import LinkError
from nodes.link.link import NodeEnd

from . import joining
from .joining import HubPlace

logger = structlog.get_logger(__name__)

LONGEST_SECONDS: Final = 20.0
REFUSED_SECONDS: Final = 60.0
"""Pause of a node that the hub does not want, or whose place another machine has taken."""
STEADY_SECONDS: Final = 30.0
LOOK_SECONDS: Final = 600.0
_PUT_OUT: Final = frozenset({"node_revoked", "node_duplicate", "superseded"})
_GONE_THERE: Final = frozenset({"link_silent", "stopping"})


class Tunnel:
    """Keeps one link to the hub, unless the hub is to dial, and the certificate fresh. ``serve`` runs a link."""

    def __init__(self, home: Path, place: HubPlace, serve: Callable[[NodeEnd], Awaitable[None]]) -> None:
        self._home = home
        self._place = place
        self._serve = serve
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._keep_renewing(), name="renewal")]
        if not self._place.listen:
            self._tasks.append(asyncio.create_task(self._keep_dialling(), name="tunnel"))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep_dialling(self) -> None:
        failures, chosen, addresses = 0, 0, self._place.addresses
        while True:
            began, code, was_up = time.monotonic(), "", False
            try:
                code = await self._serve_once(addresses[chosen % len(addresses)])
                was_up = True
            except HubError as error:
                code = str(error.data.get("code") or error.code)
                if failures in (0, 10) or failures % 100 == 0:
                    logger.warning("tunnel.down", code=code, message=error.text, failures=failures)
            except Exception:  # top of the loop: one broken session must not keep the node away for good
                logger.exception("tunnel.broken")
            if was_up:  # a line that is cut again and again is made again as often, and not ever later
                failures = int(time.monotonic() - began < STEADY_SECONDS)
            else:
                failures += 1
            # Where it was up it is tried first again, unless the hub went silent there, or away.
            chosen += not was_up or code in _GONE_THERE
            await asyncio.sleep(pause(failures, code))

    async def _serve_once(self, address: str) -> str:
        """One link, from dialling to its end; the hub's word for why it ended it."""
        # Read anew each time: it may have been renewed, by us or by `agenthub node rotate`.
        credentials = await asyncio.to_thread(Credentials.load_joined, self._home / "pki")
        link = await dial_hub(address, credentials)
        try:
            await self._serve(link)
        finally:
            await link.aclose("The node closes the link.")
        cause: LinkError = await link.wait_closed()
        code = str(cause.data.get("code") or cause.code)
        if code in _PUT_OUT:
            logger.warning("tunnel.refused", code=code, message=cause.text)
        return code

    async def _keep_renewing(self) -> None:
        while True:
            try:
                if joining.renews_in(self._home) <= timedelta():
                    until = await asyncio.to_thread(joining.renew, self._home)
                    logger.info("certificate.renewed", until=until.isoformat())
            except (HubError, OSError, ValueError) as error:
                logger.warning("certificate.not_renewed", message=str(error))
            await asyncio.sleep(random.uniform(0.5, 1.0) * LOOK_SECONDS)  # noqa: S311


def pause(failures: int, code: str) -> float:
    """Seconds before dialling again; spread, so that a thousand nodes do not come back at once."""
    longest = REFUSED_SECONDS if code in _PUT_OUT else min(LONGEST_SECONDS, 0.25 * 2 ** min(failures, 10))
    return random.uniform(0.3, 1.0) * longest  # noqa: S311
