"""Nodes dial the hub: who is let in, who takes over from whom, and who is put out."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Event, Thread
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError, connection, transaction
from django.utils import timezone

from agenthub_site.accounts.actors import SYSTEM
from agenthub_site.database_threads import DatabaseThreads
from agenthub_site.tunnels import Tunnels, admit
from agents.ingest import Ingest
from agents.models import RunEvent
from agents.states import State
from audit.models import AuditEvent
from nodes import pki
from nodes.contract import events
from nodes.contract.config import Config, InternalGrpcConfig
from nodes.contract.errors import ConfigError
from nodes.contract.record import encode
from nodes.doors import hub_addresses, hub_url, reach_warning, tunnel_address_file
from nodes.evidence import health_of
from nodes.join import revoke_node
from nodes.leases import take_lease
from nodes.link.credentials import Credentials
from nodes.link.dial import dial_hub
from nodes.link.errors import LinkClosed, LinkError
from nodes.link.link import NodeEnd
from nodes.link.versions import PROTOCOL
from nodes.models import LinkLease, Node
from nodes.pb import link_pb2 as pb
from tests.factories import make_agent, make_node, make_run
from tests.support import eventually_async

pytestmark = pytest.mark.django_db(transaction=True)


def config_of(home: Path, listen: str = "127.0.0.1:0", **given: bool) -> Config:
    config = Config(internal_grpc=InternalGrpcConfig(listen=listen, **given))
    config.home = home
    return config


class Hub:
    """The listening end alone, on loopback."""

    def __init__(self, home: Path) -> None:
        self.config = config_of(home)
        self.authority = pki.load_authority(self.config.pki_dir)

    @property
    def address(self) -> str:
        return tunnel_address_file(self.config.home).read_text()

    def credentials(self, node: Node, generation: int = 0, authority: pki.Authority | None = None) -> Credentials:
        identity = pki.NodeIdentity(node.pk, generation or node.generation)
        pair = pki.issue_node(authority or self.authority, identity)
        return Credentials(self.authority.pem, pair.certificate, pair.key)

    async def dial(self, node: Node, *, says: Node | None = None, generation: int = 0, instance: str = "") -> NodeEnd:
        """A node's end that has said hello."""
        link = await dial_hub(self.address, self.credentials(node, generation))
        hello = pb.Hello(protocol=PROTOCOL, node_id=str((says or node).pk), instance=instance)
        await link.send(pb.NodeFrame(hello=hello))
        return link


@asynccontextmanager
async def listening(config: Config) -> AsyncIterator[Tunnels]:
    ingest, database = Ingest(), DatabaseThreads(2)
    tunnels = Tunnels(config, ingest, database)
    ingest.start()
    try:
        await tunnels.start("hub-a")
        yield tunnels
    finally:
        await tunnels.stop()
        await asyncio.to_thread(ingest.stop)
        await asyncio.to_thread(database.close)


@pytest.fixture
async def hub(home: Path) -> AsyncIterator[Hub]:
    pki.ensure_pki(home / "pki", UUID(int=7))
    hub = Hub(home)
    async with listening(hub.config):
        yield hub


@pytest.fixture
def tunnel() -> Node:
    return make_node("gpu-01", direction=Node.Direction.TUNNEL, last_heard_at=None)


async def first_refusal() -> AuditEvent:
    """What the trail says, once it does."""
    refusals = AuditEvent.objects.filter(name="node.refused")
    is_there: Callable[[], bool | Awaitable[bool]] = refusals.aexists
    await eventually_async(is_there)
    return await refusals.aget()


async def ending(link: NodeEnd) -> str:
    """The hub's own word for why a link is over."""
    error: LinkError = await asyncio.wait_for(link.wait_closed(), 30)
    return str(error.data.get("code", error.code))


async def test_a_node_that_dials_is_welcomed_in_a_new_epoch(hub: Hub, tunnel: Node) -> None:
    link = await hub.dial(tunnel)
    welcome = await link.welcome(30)
    lease = await LinkLease.objects.aget(node=tunnel)
    assert (welcome.epoch, lease.owner) == (lease.epoch, "hub-a")
    await tunnel.arefresh_from_db()
    assert tunnel.connected_at
    await link.aclose()


async def test_a_node_that_dials_is_told_where_to_dial_from_now_on(hub: Hub, tunnel: Node) -> None:
    for addresses in ([], ["hub-a:50051", "hub-b:50051"]):
        hub.config.internal_grpc.addresses = addresses
        link = await hub.dial(tunnel)
        assert list((await link.welcome(30)).addresses) == addresses
        await link.aclose()


async def test_a_node_that_dials_is_told_where_people_open_the_hub(hub: Hub, tunnel: Node) -> None:
    for url in ("", "https://hub.example.com"):
        hub.config.server.public_url = url
        link = await hub.dial(tunnel)
        assert (await link.welcome(30)).web == url
        await link.aclose()


async def test_the_older_of_two_connections_is_cut(hub: Hub, tunnel: Node) -> None:
    first = await hub.dial(tunnel)
    before = await first.welcome(30)
    second = await hub.dial(tunnel)
    after = await second.welcome(30)
    assert after.epoch > before.epoch
    assert await ending(first) == "superseded"
    assert second.is_open
    await second.aclose()


async def test_another_machine_with_the_node_s_certificate_is_refused_while_the_node_is_heard(
    hub: Hub, tunnel: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agenthub_site.tunnels.SETTLE_SECONDS", 0.5)
    first = await hub.dial(tunnel, instance="a")
    await first.welcome(30)
    for _ in range(2):
        second = asyncio.create_task(hub.dial(tunnel, instance="b"))
        while not (second.done() and second.result().cause):
            await first.send(pb.NodeFrame(heartbeat=pb.Heartbeat(number=1)))
            await asyncio.sleep(0.1)
        assert await ending(await second) == "node_duplicate"
    assert first.is_open
    await tunnel.arefresh_from_db()
    assert tunnel.duplicate_at
    audited = [event.data["code"] async for event in AuditEvent.objects.filter(name="node.refused")]
    assert audited == ["node_duplicate"]
    await first.aclose()


async def test_another_process_of_the_node_takes_the_place_of_one_that_is_gone(hub: Hub, tunnel: Node) -> None:
    first = await hub.dial(tunnel, instance="a")
    before = await first.welcome(30)
    dialling = asyncio.create_task(hub.dial(tunnel, instance="b"))
    await asyncio.sleep(0.1)
    first.cut(LinkClosed("It was killed."))
    after = await (await dialling).welcome(30)
    assert after.epoch > before.epoch


async def test_a_link_that_is_neither_heard_nor_dead_is_waited_for(
    hub: Hub, tunnel: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agenthub_site.tunnels.PLACE_SECONDS", 1.0)
    first = await hub.dial(tunnel, instance="a")
    await first.welcome(30)
    assert await ending(await hub.dial(tunnel, instance="b")) == "still_linked"
    assert not await AuditEvent.objects.filter(name="node.refused").aexists()
    await first.aclose()


async def test_the_lease_of_a_control_plane_that_died_under_the_same_name_is_no_link(hub: Hub, tunnel: Node) -> None:
    await sync_to_async(take_lease)(tunnel.pk, "hub-a", "before")
    link = await hub.dial(tunnel, instance="b")
    assert (await link.welcome(30)).epoch == 2
    await link.aclose()


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite's transactions take turns")
@pytest.mark.parametrize("model", [Node, LinkLease])
async def test_nobody_waits_for_ever_for_a_lock_of_an_owner_that_was_stopped(
    tunnel: Node, model: type[Node | LinkLease], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodes.leases._LOCK_SECONDS", 0.3)
    await sync_to_async(take_lease)(tunnel.pk, "stopped")
    locked, done = Event(), Event()

    def hold() -> None:
        with transaction.atomic():
            assert model.objects.select_for_update().get(pk=tunnel.pk)
            locked.set()
            done.wait(60)
        connection.close()

    holder = Thread(target=hold)
    holder.start()
    try:
        assert await asyncio.to_thread(locked.wait, 30)
        with pytest.raises(OperationalError, match="lock timeout"):
            await asyncio.wait_for(
                sync_to_async(admit)(pki.NodeIdentity(tunnel.pk, tunnel.generation), "new", "", False), 30
            )
    finally:
        done.set()
        holder.join()


async def test_a_revoked_node_is_cut_and_does_not_come_back(hub: Hub, tunnel: Node) -> None:
    link = await hub.dial(tunnel)
    await link.welcome(30)
    await sync_to_async(revoke_node)(tunnel, SYSTEM)
    assert await ending(link) == "node_revoked"
    await tunnel.arefresh_from_db()
    health = (await sync_to_async(health_of)([tunnel], timezone.now()))[tunnel.pk]
    assert health.status == "unauthorized" and "not accepted any more" in health.reason
    for _ in range(2):
        assert await ending(await hub.dial(tunnel, generation=1)) == "node_revoked"
    assert await AuditEvent.objects.filter(name="node.refused").acount() == 1


@pytest.mark.parametrize("changes", [{"generation": 2}, {"direction": Node.Direction.DIAL}])
async def test_a_certificate_that_does_not_fit_the_node_is_refused(
    hub: Hub, tunnel: Node, changes: dict[str, object]
) -> None:
    await Node.objects.filter(pk=tunnel.pk).aupdate(**changes)
    assert await ending(await hub.dial(tunnel)) == "node_revoked"


async def test_an_old_certificate_does_not_spoil_the_health_of_a_node_that_is_linked(hub: Hub, tunnel: Node) -> None:
    await Node.objects.filter(pk=tunnel.pk).aupdate(generation=2)
    await tunnel.arefresh_from_db()
    link = await hub.dial(tunnel)
    await link.welcome(30)
    assert await ending(await hub.dial(tunnel, generation=1)) == "node_revoked"
    await tunnel.arefresh_from_db()
    assert tunnel.measured["trouble"] is None
    await link.aclose()


async def test_a_certificate_of_another_authority_is_refused(hub: Hub, tunnel: Node) -> None:
    foreign = hub.credentials(tunnel, authority=pki.make_authority())
    with pytest.raises(LinkError):
        await dial_hub(hub.address, foreign)


async def test_a_node_speaks_under_its_own_name_alone(hub: Hub, tunnel: Node) -> None:
    oslo = await sync_to_async(make_node)("oslo", direction=Node.Direction.TUNNEL, last_heard_at=None)
    link = await hub.dial(tunnel, says=oslo)
    assert await ending(link) == "node_certificate_mismatch"
    refused = await first_refusal()
    assert (refused.node, refused.data["code"]) == (tunnel.pk, "node_certificate_mismatch")
    await oslo.arefresh_from_db()
    assert oslo.last_heard_at is None
    await tunnel.arefresh_from_db()
    assert tunnel.last_heard_at is None


async def test_a_nodes_own_word_for_its_goodbye_is_no_refusal(hub: Hub, tunnel: Node) -> None:
    link = await hub.dial(tunnel)
    await link.welcome(30)
    await link.aclose("Forged.", "node_certificate_mismatch")
    is_over: Callable[[], bool | Awaitable[bool]] = LinkLease.objects.filter(node=tunnel, owner="").aexists
    await eventually_async(is_over)
    link = await hub.dial(tunnel, says=await sync_to_async(make_node)("oslo"))
    assert await ending(link) == "node_certificate_mismatch"
    refused = await first_refusal()  # what the hub found itself, and that alone
    assert "Forged" not in str(refused.data)


async def test_records_of_another_nodes_run_are_refused(hub: Hub, tunnel: Node) -> None:
    run = await sync_to_async(lambda: make_run(agent=make_agent(node=make_node("oslo")), state=State.RUNNING))()
    link = await hub.dial(tunnel)
    await link.welcome(30)
    ended = encode(1, events.RunCompleted())
    part = pb.RunRecords(run_id=str(run.pk), generation=1, count=1, frames=ended)
    await link.send(pb.NodeFrame(records=pb.Records(batch=1, runs=[part])))
    acks: list[pb.RunAck] = []
    with contextlib.suppress(LinkClosed):
        async for frame in link.frames():
            if frame.WhichOneof("frame") == "ack":
                acks = list(frame.ack.runs)
                break
    assert [ack.refused for ack in acks] == ["unknown_run"]
    await run.arefresh_from_db()
    assert run.state == State.RUNNING
    assert not await RunEvent.objects.filter(run=run).aexists()
    await link.aclose()


async def test_a_taken_port_is_tried_again_unless_it_was_asked_for(home: Path) -> None:
    pki.ensure_pki(home / "pki", UUID(int=7))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        async with listening(config_of(home, listen)) as tunnels:
            assert tunnels.count == 0 and not tunnel_address_file(home).exists()
        with pytest.raises(ConfigError, match=r"internal_grpc\.listen"):
            async with listening(config_of(home, listen, enabled=True)):
                pass


async def test_a_port_that_gets_free_is_taken(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agenthub_site.tunnels.RETRY_SECONDS", 0.05)
    pki.ensure_pki(home / "pki", UUID(int=7))
    taken = socket.create_server(("127.0.0.1", 0))
    listen = f"127.0.0.1:{taken.getsockname()[1]}"
    async with listening(config_of(home, listen)):
        taken.close()
        await eventually_async(tunnel_address_file(home).exists)
        assert hub_addresses(config_of(home, listen)) == (listen,)


async def test_a_hub_that_wants_no_nodes_to_dial_does_not_listen_and_says_so(home: Path) -> None:
    tunnel_address_file(home).write_text("127.0.0.1:50051")  # where it listened before
    config = config_of(home, enabled=False)
    async with listening(config):
        assert not tunnel_address_file(home).exists()
        assert "internal_grpc.enabled is false" in reach_warning(config)


async def test_a_port_chosen_by_chance_is_kept_over_a_restart(home: Path) -> None:
    pki.ensure_pki(home / "pki", UUID(int=7))
    async with listening(config_of(home)):
        first = tunnel_address_file(home).read_text()
    async with listening(config_of(home)):
        assert tunnel_address_file(home).read_text() == first


def test_nodes_are_told_the_addresses_that_are_set(home: Path) -> None:
    config = config_of(home)
    config.internal_grpc.addresses = ["a.example.com:50051", "b.example.com:50051"]
    assert hub_addresses(config) == ("a.example.com:50051", "b.example.com:50051")


@pytest.mark.parametrize(
    ("listen", "told"),
    [
        ("0.0.0.0:50051", ("hub.example.com:50051", "localhost:50051")),
        ("[::]:50051", ("hub.example.com:50051", "localhost:50051")),
        ("127.0.0.1:50051", ("127.0.0.1:50051",)),
        ("10.0.0.5:50051", ("hub.example.com:50051", "10.0.0.5:50051")),
    ],
)
def test_only_a_door_on_loopback_hides_the_name_that_people_use(
    home: Path, monkeypatch: pytest.MonkeyPatch, listen: str, told: tuple[str, ...]
) -> None:
    monkeypatch.setattr("socket.getfqdn", lambda: "localhost")
    config = config_of(home, listen)
    config.server.public_url = "https://hub.example.com"
    assert hub_addresses(config) == told


@pytest.mark.parametrize(
    ("where", "told"),
    [
        (("localhost", "0.0.0.0:50051", "0.0.0.0:8080", ""), "localhost:50051 and http://localhost:8080 work on"),
        (("localhost.localdomain", "[::]:50051", "0.0.0.0:8080", ""), "set server.public_url"),
        (("localhost", "127.0.0.1:50051", "0.0.0.0:8080", ""), "set internal_grpc.listen"),
        (("box.lan", "127.0.0.1:50051", "0.0.0.0:8080", "https://hub.example.com"), "set internal_grpc.listen"),
        (("box.lan", "0.0.0.0:50051", "127.0.0.1:8080", ""), "http://127.0.0.1:8080, where machines join"),
        (("localhost", "0.0.0.0:50051", "127.0.0.1:8080", "https://hub.example.com"), ""),
        (("box.lan", "0.0.0.0:50051", "0.0.0.0:8080", ""), ""),
    ],
)
def test_an_address_that_works_on_this_machine_only_is_said_to(
    home: Path, monkeypatch: pytest.MonkeyPatch, where: tuple[str, str, str, str], told: str
) -> None:
    name, listen, web, public = where
    monkeypatch.setattr("socket.getfqdn", lambda: name)
    config = config_of(home, listen)
    config.server.listen, config.server.public_url = web, public
    tunnel_address_file(home).write_text(listen)
    assert told in reach_warning(config) and bool(told) == bool(reach_warning(config))


def test_the_web_door_that_is_printed_is_one_that_answers(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.getfqdn", lambda: "box.lan")
    config = config_of(home)
    config.server.listen = "0.0.0.0:8080"
    assert hub_url(config) == "http://box.lan:8080" and "box.lan" in config.allowed_hosts
