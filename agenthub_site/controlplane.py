"""The control plane of one process: a link to every node it owns, the ingest thread, the loops."""

import asyncio
import fcntl
import os
import secrets
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final
from uuid import UUID

import structlog
from django.db import DatabaseError
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from agents import reconciler, scheduler
from agents.ingest import Ingest
from agents.models import Run
from agents.states import ON_NODE
from nodes.contract.config import Config
from nodes.dialling import dial_node
from nodes.link.credentials import Credentials
from nodes.link.link import HubEnd
from nodes.models import Command, Node

from .database_threads import DatabaseThreads
from .heard import Heard
from .links import LinkKeeper
from .tunnels import Tunnels

logger = structlog.get_logger(__name__)

_NODES_SECONDS: Final = 2.0
_SCHEDULER_SECONDS: Final = 1.0
_RECONCILER_SECONDS: Final = 5.0


class Controlplane:
    """Started and stopped with the process that serves it; ``state`` says what it is doing."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._owner = _OwnerName(config.home / "controlplane.lock")
        self._ingest = Ingest()
        self._database = DatabaseThreads()
        self._heard = Heard(self._database)
        self._tunnels = Tunnels(config, self._ingest, self._database, heard=self._heard)
        self._tasks: list[asyncio.Task[None]] = []
        self._keepers: dict[UUID, asyncio.Task[None]] = {}

    async def start(self) -> None:
        """Begin to work. Raises ``PkiError`` if the home has no certificates, ``ConfigError`` if nodes cannot dial."""
        Credentials.load(self._config.pki_dir, "hub")
        self._owner.take()
        self._ingest.start()
        await self._tunnels.start(self._owner.name)
        self._tasks = [
            asyncio.create_task(self._keep_links(), name="links"),
            asyncio.create_task(self._loop("scheduler", scheduler.tick, _SCHEDULER_SECONDS)),
            asyncio.create_task(self._loop("reconciler", _reconcile_since(timezone.now()), _RECONCILER_SECONDS)),
        ]
        logger.info("controlplane.started", owner=self._owner.name)

    async def stop(self) -> None:
        """Loops first, then links (leases are given back), then the writer. Bounded by the caller."""
        for group in (self._tasks, list(self._keepers.values())):
            for task in group:
                task.cancel()
            await asyncio.gather(*group, return_exceptions=True)
        await self._tunnels.stop()
        await self._heard.aclose()
        await asyncio.to_thread(self._ingest.stop)
        await asyncio.to_thread(self._database.close)
        self._owner.give_up()
        logger.info("controlplane.stopped")

    @property
    def state(self) -> dict[str, object]:
        """For ``/readyz``: is every part alive, and how many links are kept."""
        return {
            "is_running": bool(self._tasks) and not any(task.done() for task in self._tasks) and self._ingest.is_alive,
            "links": len(self._keepers) + self._tunnels.count,
        }

    async def _loop(self, name: str, tick: Callable[[datetime], int], seconds: float) -> None:
        while True:
            try:
                await self._database.run(tick, timezone.now())
            except DatabaseError as error:
                logger.warning("loop.database_unavailable", loop=name, error=str(error))
            except Exception:  # top of the loop: said aloud, and tried again
                logger.exception("loop.failed", loop=name)
            await asyncio.sleep(seconds)

    async def _keep_links(self) -> None:
        """One keeper for every node to be dialled; a node switched off keeps its link while it has runs of ours."""
        while True:
            try:
                wanted = set(await self._database.run(nodes_to_dial))
                for node_id in wanted - self._keepers.keys():
                    keeper = LinkKeeper(
                        node_id, self._owner.name, self._dial, self._ingest, self._database, heard=self._heard
                    )
                    self._keepers[node_id] = asyncio.create_task(keeper.keep(), name=f"link:{node_id}")
                for node_id in self._keepers.keys() - wanted:
                    self._keepers.pop(node_id).cancel()
            except DatabaseError as error:
                logger.warning("links.database_unavailable", error=str(error))
            await asyncio.sleep(_NODES_SECONDS)

    async def _dial(self, node_id: UUID) -> HubEnd:
        return await dial_node(self._config, await self._database.run(Node.objects.get, pk=node_id))


def nodes_to_dial() -> list[UUID]:
    """Enabled ones, and those that still hold runs or owe answers: what is disabled gets no new work, that is all."""
    dialled = Node.objects.filter(Q(slug=Node.LOCAL) | ~Q(grpc_target=""), direction=Node.Direction.DIAL)
    runs = Run.objects.filter(node=OuterRef("pk"), state__in=ON_NODE)
    unanswered = Command.objects.filter(node=OuterRef("pk"), state=Command.State.PENDING)
    wanted = dialled.filter(Q(is_enabled=True) | Exists(runs) | Exists(unanswered))
    return list(wanted.values_list("pk", flat=True)[:10_000])


def _reconcile_since(started: datetime) -> Callable[[datetime], int]:
    def reconcile(now: datetime) -> int:
        return reconciler.tick(now, listening_since=started)

    return reconcile


class _OwnerName:
    """The name under which this process holds leases.

    Whoever holds the lock on ``path`` uses the name written there: its last holder is dead, so its
    leases may be taken over at once. A second control plane on one home gets a name of its own.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self.name = secrets.token_hex(8)

    def take(self) -> None:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return
        self._descriptor = descriptor
        written = os.read(descriptor, 64).decode("ascii", "replace").strip()
        if written:
            self.name = written
        else:
            os.write(descriptor, self.name.encode())
            os.fsync(descriptor)

    def give_up(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
