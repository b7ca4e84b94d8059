"""The node server: waits for its hub or dials it, holds the runs, and can be replaced while they go on."""

import asyncio
import contextlib
import os
from dataclasses import replace
from uuid import UUID

import structlog

from nodes import pki
from nodes.contract.config import Config
from nodes.contract.errors import ConfigError
from nodes.link.certificates import stamp
from nodes.link.credentials import Credentials, reloading
from nodes.link.errors import LinkError
from nodes.link.link import NodeEnd
from nodes.link.peers import NodePeer
from nodes.link.serve import LinkServer, configured_server, node_server

from .actor_calls import actor_directory
from .actors import ActorDoor
from .commands import CommandDesk
from .facts import REFRESH_SECONDS, Facts
from .held import Starter
from .holding import HeldRuns
from .home import NodeHome
from .joining import HubPlace
from .renewal import Renewal
from .session import Parts, Session, StaleEpoch
from .tunnel import Tunnel

logger = structlog.get_logger(__name__)

STOP_SECONDS = 1.0


class NodeServer:
    """One per home. ``start`` takes everything back that is there; ``stop`` leaves it going.

    ``listen_at`` is where a machine that has joined to be dialled waits, in place of the address that it joined with.
    """

    def __init__(self, config: Config, starter: Starter, *, takes_over: bool = False, listen_at: str = "") -> None:
        self._config = config
        self._listen_at = listen_at
        self._takes_over = takes_over
        self._home = NodeHome(config.node_dir)
        self._starter = starter
        self._lock: int | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._session: Session | None = None
        self._session_over = asyncio.Event()
        self._server: LinkServer | None = None
        self._tunnel: Tunnel | None = None
        self._renewal: Renewal | None = None
        self._actors: ActorDoor | None = None
        self._parts: Parts

    async def start(self) -> str:
        """Take the home, take back its runs, listen; returns the address. Raises ``HubError`` that says what to do.

        A machine that has joined listens nowhere, unless it was to: it dials its hub, and the address is the hub's.
        """
        place = HubPlace.load(self._home.path)
        if place and self._listen_at and not place.listen:
            raise ConfigError(
                "This machine has joined to dial its hub: nobody would come to where it listens. Leave out --listen, "
                "or have the hub dial it: agenthub node join URL --token T --listen HOST:PORT."
            )
        is_configured = place is None and self._config.server.role == "node"
        known_as = self._config.node_name if is_configured else str(self._check_identity(place))
        self._lock = await asyncio.to_thread(self._home.take_over) if self._takes_over else self._home.lock()
        peer = NodePeer.prepare(self._config) if is_configured else None
        runs = HeldRuns(self._home.runs, self._starter, self._config.node.spool_bytes)
        desk = CommandDesk(runs, self._config.node.capacity)
        self._actors = ActorDoor(actor_directory(self._home.path), runs)
        await self._actors.start()
        self._parts = Parts(self._home, Facts(self._config, known_as), runs, desk, actors=self._actors)
        held = runs.take_back()
        address = await self._reach_hub(place, peer)
        listens = self._server is not None
        logger.info(
            "node.listening" if listens else "node.dialling",
            node=known_as, address=address, held_runs=held, pid=os.getpid(),
        )  # fmt: skip
        self._tasks = [
            asyncio.create_task(runs.keep_up(), name="upkeep"),
            asyncio.create_task(runs.say_link(), name="say-link"),
            asyncio.create_task(self._keep_facts(), name="facts"),
        ]
        return address

    async def _reach_hub(self, place: HubPlace | None, peer: NodePeer | None) -> str:
        """Wait to be dialled, or dial."""
        if peer is not None:
            server = configured_server(peer, self._home, self._serve)
            return await self._listen(server, self._config.internal_grpc.listen)
        pki_dir = self._config.pki_dir
        if place is None:
            # The hub of this home renews this node's certificate as well as its own.
            files = [pki_dir / name for name in ("ca.pem", "local.pem", "local.key")]
            renewed = reloading(
                lambda: Credentials.load(pki_dir, "local"), lambda: [stamp(file) for file in files], is_mutual=True
            )
            return await self._listen(node_server(renewed, self._serve), self._config.node.listen)
        self._tunnel = Tunnel(self._config.home, place, self._serve)
        self._renewal = Renewal(self._config.home, self._renewed)
        self._parts = replace(self._parts, hear_trust=self._renewal.hear_trust, hear_place=self._tunnel.hear)
        self._renewal.start()
        self._tunnel.start()
        if not place.listen:
            return place.addresses[0]
        files = [pki_dir / "node.pem", pki_dir / "ca.pem"]
        renewed = reloading(
            lambda: Credentials.load_joined(pki_dir), lambda: [stamp(file) for file in files], is_mutual=True
        )
        return await self._listen(node_server(renewed, self._serve), self._listen_at or place.listen)

    async def _listen(self, server: LinkServer, address: str) -> str:
        self._server = server
        await server.start(address)
        bound = f"{address.rpartition(':')[0]}:{server.port}"
        self._home.write_address(bound)
        return bound

    def _check_identity(self, place: HubPlace | None) -> UUID:
        """The node's id, which its certificate must name as well."""
        node_id = self._home.read_id()
        pki_dir = self._config.pki_dir
        credentials = Credentials.load_joined(pki_dir) if place else Credentials.load(pki_dir, "local")
        _check_certificate(credentials, node_id)
        return node_id

    async def stop(self) -> None:
        """Say goodbye to the hub and leave the runs to their supervisors. Bounded, about two seconds."""
        self._parts.desk.is_stopping = True
        if self._actors is not None:
            await self._actors.stop()
        if self._session is not None:
            await self._session.link.aclose("The node server is stopping.", "stopping")
        for part in (self._renewal, self._tunnel):
            if part is not None:
                await part.stop()
        if self._server is not None:
            await self._server.stop(STOP_SECONDS)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        live = self._parts.runs.live_count
        await self._parts.runs.aclose()
        if self._lock is not None:
            os.close(self._lock)
        logger.info("node.stopped", live_runs=live)

    async def _serve(self, link: NodeEnd) -> None:
        """One connection. A newer owner's session replaces the present one; an older one is sent away."""
        session = Session(link, self._parts)
        try:
            welcome = await session.greet()
        except StaleEpoch as error:
            logger.warning("link.stale_epoch", address=link.address, message=error.text)
            await link.aclose(error.text, error.code)
            return
        if not await self._replace(session, welcome.epoch):
            await link.aclose("A newer connection of the hub has taken over.", "superseded")
            return
        logger.info("link.up", address=link.address, epoch=welcome.epoch)
        self._home.clear_trouble()
        try:
            await session.run(welcome)
        except LinkError as error:
            logger.info("link.down", address=link.address, code=error.code, message=error.text)
        finally:
            if self._session is session:
                self._session = None
                self._session_over.set()

    async def _replace(self, session: Session, epoch: int) -> bool:
        """Close the session that is there and take its place; False if a newer one came meanwhile."""
        while self._session is not None and epoch >= self._home.epoch:
            self._session_over.clear()
            await self._session.link.aclose("Another connection of the hub has taken over.", "superseded")
            await self._session_over.wait()
        if epoch < self._home.epoch:
            return False
        self._session = session
        return True

    def _renewed(self) -> None:
        """Tell the hub whom this machine trusts now, or dial it with the new certificate."""
        if self._session is not None:
            with contextlib.suppress(LinkError):
                self._session.say_facts()
        elif self._tunnel is not None:
            self._tunnel.hurry()

    async def _keep_facts(self) -> None:
        """Look at the machine's runtimes now and then, and tell the hub when they have changed."""
        while True:
            try:
                if await self._parts.facts.refresh() and self._session is not None:
                    with contextlib.suppress(LinkError):
                        self._session.say_facts()
            except Exception:  # top of the loop: the old facts stay
                logger.exception("facts.failed")
            await asyncio.sleep(REFRESH_SECONDS)


def _check_certificate(credentials: Credentials, node_id: UUID) -> None:
    identity = pki.identity_of(credentials.certificate)
    if identity is None or identity.node_id != node_id:
        named = identity.node_id if identity else "no node"
        raise ConfigError(
            f"The node's certificate names {named}, but node/id says {node_id}. "
            "Run 'agenthub prepare' with this home to make a new certificate."
        )
