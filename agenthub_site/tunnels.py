"""Links that nodes dial: the hub's listening end. Whoever accepts the connection takes the lease in a new epoch."""

import asyncio
import contextlib
from datetime import datetime
from pathlib import Path
from typing import Final
from uuid import UUID

import structlog
from django.db import DatabaseError, transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from agenthub_site.accounts.actors import SYSTEM
from agents.ingest import Ingest
from audit.services import record
from nodes.contract.config import Config
from nodes.contract.errors import ConfigError, Conflict, HubError
from nodes.doors import tunnel_address_file
from nodes.join import NodeRevoked
from nodes.leases import (
    HeldLease,
    LeaseLost,
    StillLinked,
    bound_lock_waits,
    release_lease,
    release_leases,
    running_leases,
    take_lease,
)
from nodes.link.certificates import stamp
from nodes.link.credentials import Credentials, reloading
from nodes.link.errors import CertificateMismatch, ProtocolUnsupported
from nodes.link.link import HubEnd
from nodes.link.serve import LinkServer, hub_server
from nodes.link.versions import SPOKEN, Spoken
from nodes.measured import Measured
from nodes.models import Node
from nodes.pb import link_pb2 as pb
from nodes.pki import NodeIdentity

from .database_threads import DatabaseThreads
from .heard import Heard
from .links import HELLO_SECONDS, LinkSession
from .renewals import Renewals
from .trust import TrustBoard
from .turns import Turn, Turns

logger = structlog.get_logger(__name__)

SETTLE_SECONDS: Final = 2.0
"""After this long, all that was heard of a node before is in the database."""
PLACE_SECONDS: Final = 12.0
"""How long a newcomer waits for the end of the link whose place it wants: less than it waits for its welcome."""
AGAIN_SECONDS: Final = 0.25
TELL_SECONDS: Final = 600.0
"""A machine that is refused comes again and again; the trail need not say so each time."""
RETRY_SECONDS: Final = 10.0
STOP_SECONDS: Final = 2.0
_SAID_EVERY: Final = 30
WORTH_TELLING: Final = (NodeRevoked, CertificateMismatch, ProtocolUnsupported)
"""Refusals that a person may want to know of: they do not pass by themselves. Ours, never a word that a node says."""


class NodeDuplicate(Conflict):
    """Two machines come with one node's certificate."""

    code = "node_duplicate"
    message = (
        "Two machines use this node's certificate: another one is linked with it and stays. Stop the one that is a "
        "copy; if you know of none, revoke the node and join it again."
    )


class Tunnels:
    """Listens on ``internal_grpc.listen``, and serves every node that comes with a certificate that still counts."""

    def __init__(
        self,
        config: Config,
        ingest: Ingest,
        database: DatabaseThreads,
        *,
        heard: Heard | None = None,
        renewals: Renewals | None = None,
        trust: TrustBoard | None = None,
        turns: Turns | None = None,
        speaks: Spoken = SPOKEN,
    ) -> None:
        self._turns = turns or Turns()
        self._trust = trust
        self._speaks = speaks
        self._config = config
        self._ingest = ingest
        self._database = database
        self._heard = heard or Heard(database)
        self._renewals = renewals or Renewals(database)
        self._measured: dict[UUID, Measured] = {}
        self._owner = ""
        self._server: LinkServer | None = None
        self._again: asyncio.Task[None] | None = None
        self._links: dict[UUID, HubEnd] = {}
        self._serving: set[asyncio.Task[None]] = set()
        self._refused: dict[NodeIdentity, Measured] = {}
        self._duplicates: dict[UUID, float] = {}
        self._told: set[tuple[NodeIdentity, str]] = set()
        self._is_stopping = False

    @property
    def count(self) -> int:
        return len(self._links)

    async def start(self, owner: str) -> None:
        """Listen; without ``internal_grpc.enabled`` a taken port is tried again, with it a ``ConfigError``."""
        self._owner = owner
        setting = self._config.internal_grpc
        is_said = "enabled" in setting.model_fields_set
        if is_said and not setting.enabled:
            tunnel_address_file(self._config.home).unlink(missing_ok=True)
            return
        try:
            await self._listen()
        except ConfigError as error:
            tunnel_address_file(self._config.home).unlink(missing_ok=True)
            if is_said:
                raise ConfigError(
                    f"internal_grpc.listen: {error.text} Name another, or set internal_grpc.enabled = false if no "
                    "node dials this hub."
                ) from error
            self._again = asyncio.create_task(self._try_again(error), name="tunnels")

    async def stop(self) -> None:
        """Say goodbye to every node and give their leases back. Bounded by ``STOP_SECONDS`` twice."""
        self._is_stopping = True
        if self._again is not None:
            self._again.cancel()
        links = [link.aclose("The hub is stopping.", "stopping") for link in self._links.values()]
        await asyncio.gather(*links, return_exceptions=True)
        if self._serving:
            await asyncio.wait(self._serving, timeout=STOP_SECONDS)
        with contextlib.suppress(DatabaseError):  # they run out by themselves
            await self._database.run(release_leases, self._owner)
        if self._server is not None:
            await self._server.stop(0.2)

    async def _listen(self) -> None:
        listen = self._config.internal_grpc.listen
        host, _, port = listen.rpartition(":")
        path = tunnel_address_file(self._config.home)
        # Nodes keep the address that they were told: a port chosen by chance is kept too, if it is still free.
        wished = [f"{host}:{former}" for former in [_port_in(path)] if port == "0" and former]
        # They are renewed, and the authority replaced, while links are up.
        pki_dir = self._config.pki_dir
        files = [pki_dir / name for name in ("ca.pem", "hub-server.pem", "hub-server.key")]
        credentials = reloading(
            lambda: Credentials.load(pki_dir, "hub-server"), lambda: [stamp(file) for file in files], is_mutual=True
        )
        server = hub_server(credentials, self._serve)
        for address in (*wished, listen):
            try:
                await server.start(address)
                break
            except ConfigError:
                if address == listen:
                    raise
        self._server = server
        path.write_text(f"{host}:{server.port}", "ascii")
        logger.info("tunnels.listening", address=f"{host}:{server.port}")

    async def _try_again(self, first: ConfigError) -> None:
        error, failures = first, 0
        while True:
            if failures % _SAID_EVERY == 0:
                logger.warning(
                    "tunnels.cannot_listen",
                    message=f"{error.text} Nodes cannot dial this hub until that is free, or internal_grpc.listen "
                    "names another.",
                    retry_seconds=RETRY_SECONDS,
                )
            await asyncio.sleep(RETRY_SECONDS)
            try:
                await self._listen()
                return
            except ConfigError as again:
                error, failures = again, failures + 1

    async def _serve(self, link: HubEnd) -> None:
        """One connection, from the handshake to its end."""
        link.speaks = self._speaks
        task = asyncio.ensure_future(self._serve_once(link))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        try:
            await task
        except (HubError, DatabaseError) as error:
            code = str(error.data.get("code") or error.code) if isinstance(error, HubError) else "unavailable"
            logger.info("link.down", node=str(link.node.node_id), code=code, error=str(error))
            if isinstance(error, WORTH_TELLING):
                await self._note_refusal(link.node, error.code, str(error))
            if isinstance(error, (CertificateMismatch, ProtocolUnsupported)):
                await self._write_refusal(link.node, error, self._refused.setdefault(link.node, Measured()))
            await link.aclose(str(error), code)

    async def _serve_once(self, link: HubEnd) -> None:
        if self._is_stopping:
            return
        hello = await link.hello(HELLO_SECONDS)
        async with self._turns.turn() as turn:
            if link.is_open:  # it may have given up while it stood in line
                await self._let_in(link, hello, turn)

    async def _let_in(self, link: HubEnd, hello: pb.Hello, turn: Turn) -> None:
        lease = await self._admit(link.node, hello.instance[:64], turn)
        former = self._links.pop(lease.node_id, None)
        self._links[lease.node_id] = link
        session: LinkSession | None = None
        try:
            if former is not None:
                await former.aclose("Another connection of this node has taken over.", "superseded")
            measured = self._measured.setdefault(lease.node_id, Measured())
            session = LinkSession(
                link, lease, self._ingest, self._database,
                heard=self._heard, renewals=self._renewals, measured=measured, trust=self._trust,
                addresses=self._config.internal_grpc.addresses, web=self._config.server.public_url,
            )  # fmt: skip
            await session.run(hello, turn)
        except LeaseLost:
            await self._require_current(link.node)
            raise
        finally:
            if self._links.get(lease.node_id) is link:
                del self._links[lease.node_id]
            if not self._is_stopping:  # then all are given back at once
                with contextlib.suppress(DatabaseError):  # it runs out by itself
                    await self._database.run(release_lease, session.lease if session else lease)

    async def _admit(self, identity: NodeIdentity, instance: str, turn: Turn) -> HeldLease:
        """Raises ``NodeRevoked``, ``NodeDuplicate``; ``StillLinked`` if the former link is neither dead nor heard."""
        try:
            return await self._take_place(identity, instance, turn)
        except NodeRevoked as error:
            await self._write_refusal(identity, error, self._refused.setdefault(identity, Measured()))
            raise

    async def _take_place(self, identity: NodeIdentity, instance: str, turn: Turn) -> HeldLease:
        """The lease. If another process of the node has the link: when that has ended; if it is heard, never."""
        clock, began = asyncio.get_running_loop().time, asyncio.get_running_loop().time()
        heard_at: datetime | None = None
        while True:
            is_linked = identity.node_id in self._links
            try:
                return await self._database.run(admit, identity, self._owner, instance, is_linked)
            except StillLinked:
                waited = clock() - began
                if waited > PLACE_SECONDS:
                    raise
                if waited > SETTLE_SECONDS:  # what was heard before it came has been written down by now
                    now_heard_at = await self._database.run(last_heard_at, identity)
                    heard_at = heard_at or now_heard_at
                    if now_heard_at != heard_at:
                        await self._refuse_duplicate(identity)
            turn.end()  # others may go first
            await asyncio.sleep(AGAIN_SECONDS)
            await turn.begin()

    async def _refuse_duplicate(self, identity: NodeIdentity) -> None:
        now = asyncio.get_running_loop().time()
        is_new = now - self._duplicates.get(identity.node_id, -TELL_SECONDS) >= TELL_SECONDS
        if is_new:
            self._duplicates[identity.node_id] = now
            logger.warning("node.duplicate", node=str(identity.node_id), message=NodeDuplicate.message)
        await self._database.run(note_duplicate, identity, audited=is_new)
        raise NodeDuplicate()

    async def _note_refusal(self, identity: NodeIdentity, code: str, message: str) -> None:
        """In the trail, once: the node comes again and again."""
        if (identity, code) in self._told:
            return
        self._told.add((identity, code))
        with contextlib.suppress(DatabaseError):
            await self._database.run(note_refusal, identity, code, message)

    async def _require_current(self, identity: NodeIdentity) -> None:
        """After its lease was lost: says so if the node was revoked."""
        try:
            await self._database.run(require_current, identity)
        except NodeRevoked as error:
            await self._write_refusal(identity, error, Measured())
            raise

    async def _write_refusal(self, identity: NodeIdentity, error: HubError, refused: Measured) -> None:
        """``refused`` is not what is measured of the node's own link: an old certificate must not spoil that."""
        refused.failed(error, timezone.now())
        if refused.is_worth_writing():
            await self._database.run(store_refusal, identity, refused.as_row()["trouble"])


def admit(identity: NodeIdentity, owner: str, instance: str, is_linked: bool) -> HeldLease:
    """The lease of a node that dials, in a new epoch. ``NodeRevoked`` if it does not count, ``StillLinked``."""
    with transaction.atomic():
        require_current(identity)
        return take_lease(identity.node_id, owner, instance, is_linked=is_linked)


def last_heard_at(identity: NodeIdentity) -> datetime | None:
    return Node.objects.values_list("last_heard_at", flat=True).get(pk=identity.node_id)


def note_duplicate(identity: NodeIdentity, *, audited: bool) -> None:
    with transaction.atomic():
        Node.objects.filter(pk=identity.node_id).update(duplicate_at=timezone.now())
        if audited:
            record(
                None, "node.refused", by=SYSTEM, of=("node", identity.node_id), node=identity.node_id,
                generation=identity.generation, code=NodeDuplicate.code,
            )  # fmt: skip


def require_current(identity: NodeIdentity) -> None:
    """Raise ``NodeRevoked`` unless the node is known, dials, and its generation goes on; holds its row if it may.

    ``OperationalError`` if somebody else holds that for too long: the wait is bounded from here on.
    """
    current = Node.objects.filter(
        pk=identity.node_id, generation=identity.generation, direction=Node.Direction.TUNNEL, removed_at=None
    )
    with transaction.atomic():
        bound_lock_waits()
        if not current.select_for_update(no_key=True).exists():
            raise NodeRevoked()


def store_refusal(identity: NodeIdentity, trouble: dict[str, str]) -> None:
    """Nothing is said of a node that has a link at present: then it is somebody else who was refused."""
    with transaction.atomic():
        linked = running_leases().filter(node=OuterRef("pk"))
        for node in Node.objects.filter(~Exists(linked), pk=identity.node_id, removed_at=None):
            Node.objects.filter(pk=node.pk).update(measured={**node.measured, "trouble": trouble})


def note_refusal(identity: NodeIdentity, code: str, message: str) -> None:
    with transaction.atomic():
        node = Node.objects.filter(pk=identity.node_id).values_list("pk", flat=True).first()
        record(
            None, "node.refused", by=SYSTEM, of=("node", identity.node_id), node=node,
            generation=identity.generation, code=code, message=message[:500],
        )  # fmt: skip


def _port_in(path: Path) -> str:
    try:
        return path.read_text("ascii").strip().rpartition(":")[2]
    except (OSError, ValueError):
        return ""
