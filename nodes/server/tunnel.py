"""A joined node's way to its hub: dials, again and again."""

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import structlog

from nodes.contract.errors import HubError
from nodes.link.credentials import Credentials
from nodes.link.dial import dial_hub
from nodes.link.errors import LinkError
from nodes.link.link import NodeEnd

from .home import NodeHome
from .joining import HubPlace

logger = structlog.get_logger(__name__)

LONGEST_SECONDS: Final = 20.0
REFUSED_SECONDS: Final = 60.0
"""Pause of a node that the hub does not want, or whose place another machine has taken."""
STEADY_SECONDS: Final = 30.0
MOST_ADDRESSES: Final = 32
MOST_ADDRESS: Final = 261
"""A host name, a colon, a port."""
_GONE_THERE: Final = frozenset({"link_silent", "stopping"})
SAID_EVERY: Final = 100
PUT_OUT: Final = frozenset({
    "node_revoked", "node_duplicate", "superseded", "protocol_unsupported", "node_certificate_mismatch",
})  # fmt: skip
"""The hub's words for a link that it does not want: trying often does not help, a person has to do something."""
REMEDIES: Final = {
    "node_revoked": "Runs that are under way here go on. Join again with a new token: agenthub node token NAME, on the "
    "hub; the command that it prints takes over from this server.",
    "superseded": "Another machine, or another node server, uses this node's certificate. If it should not, revoke the "
    "node on the hub and join again.",
}


class Tunnel:
    """Keeps one link to the hub, unless the hub is to dial, and the certificate fresh. ``serve`` runs a link."""

    def __init__(self, home: Path, place: HubPlace, serve: Callable[[NodeEnd], Awaitable[None]]) -> None:
        self._home = home
        self._place = place
        self._serve = serve
        self._address = place.addresses[0] if place.addresses else ""
        """Where the link is, or is tried next."""
        self._hurry = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if not self._place.listen:
            self._task = asyncio.create_task(self._keep_dialling(), name="tunnel")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def hurry(self) -> None:
        """Dial now, if a link is not up: there is reason to believe that it is let in."""
        self._hurry.set()

    async def hear(self, addresses: Sequence[str], web: str = "") -> None:
        """The hub is to be dialled, and asked to renew, there from now on: known over a restart when this returns.

        Where it was reached before is tried after them, so that no slip of an operator's loses every node.
        """
        told = self._place.moved_to(web)
        named = [address for address in addresses if is_address(address)][:MOST_ADDRESSES]
        if named and not told.listen:
            told = replace(told, addresses=tuple(dict.fromkeys([*named, self._address])))
        if told == self._place:
            return
        try:
            await asyncio.to_thread(told.replace, self._place, self._home / "node")
        except OSError as error:  # it is told again with the next link
            logger.warning("tunnel.addresses_not_kept", error=str(error))
        self._place = told
        logger.info("tunnel.addresses", addresses=told.addresses, web=told.url)

    def _next(self) -> str:
        """The address after the present one."""
        known = self._place.addresses
        return known[(known.index(self._address) + 1 if self._address in known else 0) % len(known)]

    async def _keep_dialling(self) -> None:
        failures, said = 0, ""
        while True:
            began = time.monotonic()
            self._hurry.clear()
            was_up, code, message = await self._try_once(self._address)
            if was_up:  # a line that is cut again and again is made again as often, and not ever later
                failures = int(time.monotonic() - began < STEADY_SECONDS)
            else:
                failures += 1
            # Where it was up it is tried first again, unless the hub went silent there, or away.
            if not was_up or code in _GONE_THERE:
                self._address = self._next()
            if code != said or failures % SAID_EVERY == 0:
                what = "tunnel.refused" if code in PUT_OUT else "tunnel.down"
                logger.warning(what, code=code, message=message, failures=failures, remedy=REMEDIES.get(code, ""))
            said = code
            NodeHome(self._home / "node").write_trouble(code, message, REMEDIES.get(code, ""))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause(failures, code)):
                    await self._hurry.wait()

    async def _try_once(self, address: str) -> tuple[bool, str, str]:
        """Whether there was a link, and why it ended or did not come about: a code, and words."""
        try:
            # Read anew each time: it may have been renewed, by us or by `agenthub node rotate`.
            credentials = await asyncio.to_thread(Credentials.load_joined, self._home / "pki")
            link = await dial_hub(address, credentials)
            try:
                was_up = await self._serve_to_its_end(link)
            finally:
                await link.aclose("The node closes the link.")
            cause: HubError = await link.wait_closed()
            return was_up, str(cause.data.get("code") or cause.code), cause.text
        except HubError as error:
            return False, str(error.data.get("code") or error.code), error.text
        except Exception as error:  # one broken session must not keep the node away for good
            logger.exception("tunnel.broken")
            return False, "broken", repr(error)

    async def _serve_to_its_end(self, link: NodeEnd) -> bool:
        """Whether the hub welcomed the node; the link itself knows why it is over."""
        try:
            await self._serve(link)
        except LinkError:
            if link.is_open:
                raise
            return False
        return True


def is_address(text: str) -> bool:
    """Whether it is a host:port such as may be dialled."""
    host, _, port = text.rpartition(":")
    is_port = port.isascii() and port.isdecimal() and 0 < int(port[:6]) < 65536
    return bool(host) and is_port and len(text) <= MOST_ADDRESS and text.isprintable() and " " not in text


def pause(failures: int, code: str) -> float:
    """Seconds before dialling again; spread, so that a thousand nodes do not come back at once."""
    longest = REFUSED_SECONDS if code in PUT_OUT else min(LONGEST_SECONDS, 0.25 * 2 ** min(failures, 10))
    return random.uniform(0.3, 1.0) * longest  # noqa: S311
