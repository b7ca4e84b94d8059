"""The control plane of one process: a link to every node it owns, the ingest thread, the loops."""

import asyncio
import fcntl
import os
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

import structlog
from django.db import DatabaseError
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from agents import reconciler, scheduler
from agents.coordination.services import assignments, locks
from agents.event_table import end_frozen_copies
from agents.ingest import Ingest
from agents.mail.reach import Reach
from agents.mail.reviews import tell_reviewers
from agents.models import Run
from agents.services.policies import end_grants
from agents.states import ON_NODE
from agents.triggers import ticking
from agents.usage import stopping
from agents.webhooks import delivering
from audit.sealer import Sealer
from mailboxes import services as mailbox
from nodes.contract.config import Config
from nodes.contract.limits import SILENT_SECONDS
from nodes.dialling import dial_node
from nodes.leases import held_elsewhere
from nodes.link.credentials import Credentials
from nodes.link.link import HubEnd
from nodes.models import Command, Node

from . import clocks
from .actor_service import ActorService
from .certificates import CertificateKeeper
from .database_threads import DatabaseThreads
from .heard import Heard
from .homelock import belongs_to_up
from .links import LinkKeeper
from .renewals import Renewals
from .trust import TrustBoard
from .tunnels import Tunnels
from .turns import Turns

logger = structlog.get_logger(__name__)

_NODES_SECONDS: Final = 2.0
_SCHEDULER_SECONDS: Final = 1.0
_RECONCILER_SECONDS: Final = 5.0
_SEALER_SECONDS: Final = 1.0
_GRANTS_SECONDS: Final = 5.0
_MAIL_SECONDS: Final = 1.0
_REACH_SECONDS: Final = 0.25
_ASSIGNMENTS_SECONDS: Final = 5.0
_LOCKS_SECONDS: Final = 60.0
_CLOCKS_SECONDS: Final = 300.0
_PAUSE: Final = timedelta(seconds=SILENT_SECONDS)


class Controlplane:
    """Started and stopped with the process that serves it; ``state`` says what it is doing."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._owner = _OwnerName(config.home / "controlplane.lock")
        self._ingest = Ingest()
        self._database = DatabaseThreads()
        # What keeps links alive never stands in line behind what they do.
        self._upkeep = DatabaseThreads(2)
        self._heard = Heard(self._upkeep)
        self._renewals = Renewals(self._upkeep)
        self._trust = TrustBoard()
        self._turns = Turns()
        self._sealer = Sealer(config.home / "audit")
        self._tunnels = Tunnels(
            config, self._ingest, self._database,
            heard=self._heard, renewals=self._renewals, trust=self._trust, turns=self._turns,
        )  # fmt: skip
        self._actors = ActorService(config)
        self._tasks: list[asyncio.Task[None]] = []
        self._keepers: dict[UUID, asyncio.Task[None]] = {}

    async def start(self) -> None:
        """Begin to work. Raises ``PkiError`` if the home has no certificates, ``ConfigError`` if nodes cannot dial."""
        Credentials.load(self._config.pki_dir, "hub")
        self._owner.take()
        self._ingest.start()
        await self._tunnels.start(self._owner.name)
        await self._actors.start()
        certificates = CertificateKeeper(self._config.pki_dir, self._database, self._trust)
        self._tasks = [
            asyncio.create_task(certificates.keep(), name="certificates"),
            asyncio.create_task(self._keep_links(), name="links"),
            asyncio.create_task(self._loop("scheduler", scheduler.tick, _SCHEDULER_SECONDS)),
            asyncio.create_task(self._loop("budgets", stopping.tick, _RECONCILER_SECONDS)),
            asyncio.create_task(self._loop("reconciler", Reconciling(timezone.now()), _RECONCILER_SECONDS)),
            asyncio.create_task(self._loop("frozen", end_frozen_copies, _RECONCILER_SECONDS, self._upkeep)),
            asyncio.create_task(self._loop("sealer", self._sealer.tick, _SEALER_SECONDS)),
            asyncio.create_task(self._loop("grants", end_grants, _GRANTS_SECONDS)),
            asyncio.create_task(self._loop("mail", mailbox.sweep, _MAIL_SECONDS)),
            asyncio.create_task(self._loop("reviews", tell_reviewers, _REACH_SECONDS)),
            asyncio.create_task(self._loop("mail_reach", Reach().tick, _REACH_SECONDS)),
            asyncio.create_task(self._loop("triggers", ticking.tick, _MAIL_SECONDS)),
            asyncio.create_task(self._loop("webhooks", delivering.tick, _MAIL_SECONDS)),
            asyncio.create_task(self._loop("assignments", assignments.tick, _ASSIGNMENTS_SECONDS)),
            asyncio.create_task(self._loop("clocks", clocks.tick, _CLOCKS_SECONDS)),
            asyncio.create_task(self._loop("locks", locks.remove_free, _LOCKS_SECONDS)),
        ]
        logger.info("controlplane.started", owner=self._owner.name)

    async def stop(self) -> None:
        """Loops first, then links (leases are given back), then the writer. Bounded by the caller."""
        for group in (self._tasks, list(self._keepers.values())):
            for task in group:
                task.cancel()
            await asyncio.gather(*group, return_exceptions=True)
        await asyncio.gather(self._tunnels.stop(), self._actors.stop())
        await asyncio.gather(self._heard.aclose(), self._renewals.aclose())
        await asyncio.to_thread(self._ingest.stop)
        await asyncio.gather(*(asyncio.to_thread(threads.close) for threads in (self._database, self._upkeep)))
        self._owner.give_up()
        logger.info("controlplane.stopped")

    @property
    def state(self) -> dict[str, object]:
        """For ``/readyz``: is every part alive, and how many links are kept."""
        return {
            "is_running": bool(self._tasks) and not any(task.done() for task in self._tasks) and self._ingest.is_alive,
            "links": len(self._keepers) + self._tunnels.count,
        }

    async def _loop(
        self, name: str, tick: Callable[[datetime], int], seconds: float, threads: DatabaseThreads | None = None
    ) -> None:
        while True:
            try:
                await (threads or self._database).run(tick, timezone.now())
            except DatabaseError as error:
                logger.warning("loop.database_unavailable", loop=name, error=str(error))
            except Exception:  # top of the loop: said aloud, and tried again
                logger.exception("loop.failed", loop=name)
            await asyncio.sleep(seconds)

    async def _keep_links(self) -> None:
        """One keeper for every node to be dialled; a node switched off keeps its link while it has runs of ours."""
        while True:
            try:
                wanted = set(await self._database.run(nodes_to_dial, self._owner.name, has_local=self._has_local()))
                for node_id in wanted - self._keepers.keys():
                    keeper = LinkKeeper(
                        node_id, self._owner.name, self._dial, self._ingest, self._database,
                        heard=self._heard, renewals=self._renewals, trust=self._trust, turns=self._turns,
                        web=self._config.server.public_url,
                    )  # fmt: skip
                    self._keepers[node_id] = asyncio.create_task(keeper.keep(), name=f"link:{node_id}")
                for node_id in self._keepers.keys() - wanted:
                    self._keepers.pop(node_id).cancel()
            except DatabaseError as error:
                logger.warning("links.database_unavailable", error=str(error))
            await asyncio.sleep(_NODES_SECONDS)

    def _has_local(self) -> bool:
        """Whether the local node is one of this home. There it writes its address when it starts."""
        return belongs_to_up() or (self._config.node_dir / "address").exists()

    async def _dial(self, node_id: UUID) -> HubEnd:
        return await dial_node(self._config, await self._database.run(Node.objects.get, pk=node_id))


def nodes_to_dial(owner: str, *, has_local: bool = True) -> list[UUID]:
    """Enabled ones, and those that still hold runs or owe answers: what is disabled gets no new work, that is all.

    Those whose lease another control plane holds are left to it.
    """
    dialled = Node.objects.filter(
        Q(slug=Node.LOCAL) | ~Q(grpc_target=""), direction=Node.Direction.DIAL, revoked_at=None
    )
    if not has_local:
        dialled = dialled.exclude(slug=Node.LOCAL)
    runs = Run.objects.filter(node=OuterRef("pk"), state__in=ON_NODE)
    unanswered = Command.objects.filter(node=OuterRef("pk"), state=Command.State.PENDING)
    wanted = dialled.filter(Q(is_enabled=True) | Exists(runs) | Exists(unanswered)).exclude(held_elsewhere(owner))
    return list(wanted.values_list("pk", flat=True)[:10_000])


class Reconciling:
    """The reconciler's tick, which has to know since when this process could hear nodes and write it down.

    A process that was stopped, a machine that slept, a clock that jumped, a database that was away: for as long,
    every node seems to have been silent, and none is judged by that.
    """

    def __init__(self, started: datetime) -> None:
        self._since = self._last = started

    def __call__(self, now: datetime) -> int:
        if not timedelta() <= now - self._last <= _PAUSE:
            logger.info("reconciler.paused", seconds=round((now - self._last).total_seconds(), 1))
            self._since = self._last = now
        changed = reconciler.tick(now, listening_since=self._since)
        self._last = now
        return changed


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
