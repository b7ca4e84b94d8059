"""Evidence that the link's owner writes down: what a real link tells, and why there is none."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agenthub_site.database_threads import DatabaseThreads
from agenthub_site.heard import Heard, News, store_news
from agenthub_site.links import LinkKeeper, LinkSession, _store_measured
from agents.ingest import Ingest
from nodes.contract.errors import HubError
from nodes.contract.ids import now_us
from nodes.evidence import health_of
from nodes.health import Health
from nodes.leases import claim_lease, take_lease
from nodes.link.dial import dial
from nodes.link.errors import CertificateMismatch, LinkSilent, NodeMismatch, NodeUnreachable, PeerRefused, Unauthorized
from nodes.link.link import HubEnd, NodeEnd
from nodes.link.versions import PROTOCOL
from nodes.models import Node
from nodes.pb import link_pb2 as pb
from nodes.pki import NodeIdentity
from tests.factories import make_node
from tests.link.parts import Certificates, listening, make_certificates
from tests.support import eventually_async

pytestmark = pytest.mark.django_db(transaction=True)
WEB = "https://hub.example.com"


class Door:
    """How the hub gets to the node: by a real link, or not at all for the reason in ``shut``."""

    def __init__(self, address: str, certificates: Certificates, welcomes: list[pb.Welcome]) -> None:
        self.welcomes = welcomes
        self._address = address
        self._certificates = certificates
        self.shut: HubError | None = None
        self.link: HubEnd | None = None

    async def __call__(self, _: object) -> HubEnd:
        if self.shut:
            raise self.shut
        self.link = await dial(self._address, self._certificates.hub, self._certificates.node)
        return self.link


@pytest.fixture
def node() -> Node:
    return make_node("gpu-01", last_heard_at=None, connected_at=None)


@pytest.fixture
async def door(node: Node) -> AsyncIterator[Door]:
    """The control plane keeps the link to a node that beats fast and whose clock is a minute behind."""
    certificates = Certificates(make_certificates().authority, NodeIdentity(node.pk, 1))

    welcomes: list[pb.Welcome] = []

    async def beat(link: NodeEnd) -> None:
        hello = pb.Hello(protocol=PROTOCOL, node_id=str(node.pk), cpus=4)
        await link.send(pb.NodeFrame(hello=hello))
        welcomes.append(await link.welcome())
        while True:
            beat = pb.Heartbeat(clock_us=now_us() - 60_000_000, load=float("inf"), disk_free=30, disk_total=100)
            await link.send(pb.NodeFrame(heartbeat=beat))
            await asyncio.sleep(0.05)

    ingest, database = Ingest(), DatabaseThreads(2)
    ingest.start()
    async with listening(certificates.local, beat) as address:
        door = Door(address, certificates, welcomes)
        keeper = asyncio.create_task(LinkKeeper(node.pk, "hub-a", door, ingest, database, web=WEB).keep())
        yield door
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)
    await asyncio.to_thread(ingest.stop)
    await asyncio.to_thread(database.close)


async def test_a_node_that_is_dialled_is_told_where_people_open_the_hub(door: Door) -> None:
    await eventually_async(lambda: bool(door.welcomes))
    assert door.welcomes[0].web == WEB


async def health(node: Node) -> Health:
    await node.arefresh_from_db()
    found: dict[UUID, Health] = await sync_to_async(health_of)([node], timezone.now())
    return found[node.pk]


async def until(node: Node, is_so: Callable[[Health], Any]) -> Health:
    seen: list[Health] = []

    async def look() -> bool:
        seen.append(await health(node))
        return bool(is_so(seen[-1]))

    is_seen: Callable[[], bool | Awaitable[bool]] = look
    await eventually_async(is_seen)
    return seen[-1]


async def test_a_link_tells_its_latency_and_how_far_the_nodes_clock_is_off(door: Door, node: Node) -> None:
    found = await until(node, lambda health: health.latency_ms.value is not None)
    assert found.status == "degraded" and "Clock skew 60 s behind (warning)" in found.reason
    assert found.failure_rate.value in {None, 0} and found.disk_pct.value == 70
    assert (node.facts["cpus"], node.vitals["load"]) == (4, None)


async def test_links_that_break_are_failures(door: Door, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nodes.measured.BEAT_SECONDS", 0.0)
    monkeypatch.setattr("nodes.measured.HEARTBEAT_SECONDS", 0.0)
    assert (await until(node, lambda health: health.failure_rate.value is not None)).failure_rate.value == 0
    for _ in range(3):
        assert door.link
        door.link.cut(LinkSilent("The test cuts it."))
        await eventually_async(lambda: door.link and door.link.is_open)
    assert (await until(node, lambda health: health.failure_rate.value)).failure_rate.level in {"warning", "critical"}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (CertificateMismatch("certificate verify failed: that is Lima.", cause="wrong_node"), "mismatch"),
        (NodeMismatch("gpu-02 answers."), "mismatch"),
        (PeerRefused("unauthorized: the node does not take our word."), "unauthorized"),
        (Unauthorized("unauthorized: another secret."), "unauthorized"),
    ],
)
async def test_a_refusal_is_the_status_at_once_and_the_next_link_clears_it(
    door: Door, node: Node, error: HubError, status: str
) -> None:
    await until(node, lambda health: health.heard_at)
    door.shut = error
    assert door.link
    await door.link.aclose("The test cuts it.")
    found = await until(node, lambda health: health.status == status)
    assert error.text in found.reason and error.text not in found.summary
    door.shut = None
    assert (await until(node, lambda health: health.status == "degraded")).trouble == ""
    assert node.measured["trouble"] is None


async def test_a_node_that_nobody_reaches_says_why(door: Door, node: Node) -> None:
    door.shut = NodeUnreachable("failed to connect to remote node: nothing answers at gpu-01:50051.")
    if door.link:
        await door.link.aclose()
    found = await until(node, lambda _: (node.measured.get("trouble") or {}).get("code") == "node_unreachable")
    assert found.status in {"unknown", "online", "degraded", "stale"}  # as it was before, until it is silent
    await Node.objects.filter(pk=node.pk).aupdate(last_heard_at=None)
    assert (await health(node)).reason.endswith("nothing answers at gpu-01:50051.")


async def test_news_of_many_nodes_are_one_transaction(django_assert_num_queries: Any) -> None:
    nodes = [await sync_to_async(make_node)(f"node-{number}", last_heard_at=None) for number in range(5)]
    leases = [await sync_to_async(claim_lease)(node.pk, "hub-a") for node in nodes]
    database = DatabaseThreads(1)
    heard = Heard(database)
    for lease in leases:
        assert lease
        heard.note(lease, vitals={"load": 1})
        heard.note(lease, measured={"latency_ms": 2.0})
    await heard.flush()
    for node in nodes:
        await node.arefresh_from_db()
        assert node.last_heard_at and node.vitals == {"load": 1} and node.measured == {"latency_ms": 2.0}
    await heard.aclose()
    await asyncio.to_thread(database.close)


class SlowThreads(DatabaseThreads):
    """Somebody else is heard while the first news are being written, and the database is away at first."""

    def __init__(self) -> None:
        super().__init__(1)
        self.meanwhile: Callable[[], None] = lambda: None
        self.is_away = True

    async def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.meanwhile()
        if self.is_away:
            self.is_away = False
            raise OperationalError("the database is away")
        return await super().run(function, *args, **kwargs)


async def test_what_is_heard_while_others_are_written_is_written_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agenthub_site.heard.AWAY_SECONDS", 0.01)
    first, second = [await sync_to_async(make_node)(slug, last_heard_at=None) for slug in ("first", "second")]
    leases = [await sync_to_async(claim_lease)(node.pk, "hub-a") for node in (first, second)]
    assert leases[0] and leases[1]
    database = SlowThreads()
    heard = Heard(database)
    heard.note(leases[0], vitals={"load": 1})
    pending = [leases[1]]
    database.meanwhile = lambda: heard.note(pending.pop(), vitals={"load": 2}) if pending else None
    for node, load in ((first, 1), (second, 2)):
        is_written: Callable[[], bool | Awaitable[bool]] = Node.objects.filter(pk=node.pk, vitals__load=load).aexists
        await eventually_async(is_written)
    await heard.aclose()
    await asyncio.to_thread(database.close)


def test_what_a_former_owner_heard_is_not_written(node: Node) -> None:
    old = claim_lease(node.pk, "hub-a")
    assert old
    take_lease(node.pk, "hub-b")
    heard = Heard(DatabaseThreads(1))
    asyncio.run(noted(heard, old))
    store_news(list(heard._waiting.values()))
    node.refresh_from_db()
    assert node.last_heard_at is None


def statements_of(function: Callable[..., Any], *args: Any) -> list[str]:
    with CaptureQueriesContext(connection) as queries:
        function(*args)
    return [query["sql"] for query in queries if "nodes_" in query["sql"]]


def is_locking_nodes(sql: str) -> bool:
    locks = "FOR NO KEY UPDATE" in sql or not connection.features.has_select_for_no_key_update
    return sql.startswith("SELECT") and 'FROM "nodes_node"' in sql and locks


def test_nodes_that_were_heard_are_locked_in_the_order_of_their_ids_before_they_are_written() -> None:
    nodes = [make_node(f"node-{number}", last_heard_at=None) for number in range(3)]
    leases = [lease for node in reversed(nodes) if (lease := claim_lease(node.pk, "hub-a"))]
    first = statements_of(store_news, [News(lease, timezone.now(), {}) for lease in leases])[0]
    assert is_locking_nodes(first) and "ORDER BY 1 ASC" in first and first.startswith('SELECT "nodes_node"."id"')
    assert not Node.objects.filter(last_heard_at=None).exists()


def test_a_node_that_is_written_is_locked_before_its_lease(node: Node) -> None:
    lease = claim_lease(node.pk, "hub-a")
    assert lease
    session = LinkSession(cast(HubEnd, None), lease, cast(Ingest, None), cast(DatabaseThreads, None))
    hello = pb.Hello(protocol=PROTOCOL, node_id=str(node.pk), cpus=4)
    for statements in (
        statements_of(session._greet, hello),
        statements_of(_store_measured, lease, {"latency_ms": 2.0}),
    ):
        assert is_locking_nodes(statements[0]) and "nodes_linklease" in statements[1]
    node.refresh_from_db()
    assert (node.facts["cpus"], node.measured["latency_ms"]) == (4, 2.0)


async def noted(heard: Heard, lease: Any) -> None:
    heard.note(lease, vitals={"load": 1})
    await heard.aclose()
