"""A joined node's certificate stays good: renewed at half of its life, or when the hub's authority is replaced."""

import asyncio
import contextlib
import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Final

import structlog

from nodes.contract.errors import HubError, Unavailable

from . import joining

logger = structlog.get_logger(__name__)

LOOK_SECONDS: Final = 600.0
RETRY_SECONDS: Final = (5.0, 15.0, 60.0, 300.0, LOOK_SECONDS)
SPREAD_SECONDS: Final = 15.0
"""Nodes of one hub hear at once that its authority is replaced; they do not all come at once for that."""
SAID_EVERY: Final = 50


class Renewal:
    """Renews without a restart; links that are up go on. ``renewed`` is called after each time."""

    def __init__(self, home: Path, renewed: Callable[[], None]) -> None:
        self._home = home
        self._renewed = renewed
        self._wanted = asyncio.Event()
        self._trust = b""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep(), name="renewal")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def hear_trust(self, digest: bytes) -> None:
        """The hub trusts these authorities now: if they are not ours, a renewal brings them."""
        self._trust = digest
        if self._trusts_others():
            self._wanted.set()

    async def _keep(self) -> None:
        failures = 0
        while True:
            self._wanted.clear()
            try:
                left = await self._renew_if_due()
                failures = 0
                pause = min(max(left, 1.0), random.uniform(0.5, 1.0) * LOOK_SECONDS)  # noqa: S311
                await self._sleep(pause)
            except Exception as error:  # one odd answer must not let the certificate run out
                if failures < len(RETRY_SECONDS) or failures % SAID_EVERY == 0:
                    code = str(error.data.get("code") or error.code) if isinstance(error, HubError) else ""
                    is_expected = isinstance(error, (HubError, OSError, ValueError))
                    logger.warning(
                        "certificate.not_renewed", code=code, message=str(error) or repr(error), failures=failures,
                        exc_info=None if is_expected else error,
                    )  # fmt: skip
                pause = RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)] * random.uniform(0.7, 1.0)  # noqa: S311
                failures += 1
                await asyncio.sleep(pause)

    async def _renew_if_due(self) -> float:
        """Seconds until the next renewal is due."""
        if self._trusts_others() or joining.renews_in(self._home) <= timedelta():
            until = await asyncio.to_thread(joining.renew, self._home)
            logger.info("certificate.renewed", until=until.isoformat())
            self._renewed()
            if self._trusts_others():
                raise Unavailable("The hub's link and its web door do not name the same authorities.")
        return joining.renews_in(self._home).total_seconds()

    async def _sleep(self, seconds: float) -> None:
        """Until then, or a little after the hub has said that its authorities are others."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wanted.wait()
        if self._wanted.is_set():
            await asyncio.sleep(random.uniform(0.0, 1.0) * SPREAD_SECONDS)  # noqa: S311

    def _trusts_others(self) -> bool:
        return bool(self._trust) and self._trust != joining.trust_of(self._home / "pki")
