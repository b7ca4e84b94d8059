"""F24: a new hub with an old node, an old hub with a new node. Served, or refused with the reason on both sides."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from agenthub_site.database_threads import DatabaseThreads
from agenthub_site.tunnels import Tunnels
from agents.ingest import Ingest
from audit.models import AuditEvent
from nodes import pki
from nodes.evidence import health_of
from nodes.health import Status
from nodes.link.dial import dial_hub
from nodes.link.link import NodeEnd
from nodes.link.versions import Spoken
from nodes.models import Node
from nodes.pb import link_pb2 as pb
from nodes.server.joining import HubPlace
from nodes.server.tunnel import REFUSED_SECONDS, Tunnel, pause
from tests.factories import make_node
from tests.nodes.test_accept_tunnels import Hub, config_of, ending
from tests.support import eventually_async

pytestmark = pytest.mark.django_db(transaction=True)
NEW, OLD = Spoken(2, 3), Spoken(1, 1)


@asynccontextmanager
async def hub_that(home: Path, speaks: Spoken) -> AsyncIterator[Hub]:
    pki.ensure_pki(home / "pki", UUID(int=7))
    ingest, database = Ingest(), DatabaseThreads(2)
    tunnels = Tunnels(config_of(home), ingest, database, speaks=speaks)
    ingest.start()
    try:
        await tunnels.start("hub-a")
        yield Hub(home)
    finally:
        await tunnels.stop()
        await asyncio.to_thread(ingest.stop)
        await asyncio.to_thread(database.close)


@pytest.fixture
def node() -> Node:
    return make_node("gpu-01", direction=Node.Direction.TUNNEL, last_heard_at=None)


async def greet(link: NodeEnd, node: Node, speaks: Spoken) -> None:
    link.speaks = speaks
    hello = pb.Hello(protocol=speaks.newest, oldest_protocol=speaks.oldest, node_id=str(node.pk), version="0.9")
    await link.send(pb.NodeFrame(hello=hello))


def says(node: Node, words: str) -> bool:
    """Whether the node's health is a mismatch, in these words."""
    now = health_of([Node.objects.get(pk=node.pk)], timezone.now())[node.pk]
    return now.status is Status.MISMATCH and words in now.reason


@pytest.mark.parametrize(("hub_speaks", "node_speaks"), [(Spoken(1, 2), OLD), (OLD, Spoken(1, 2))])
async def test_one_version_apart_they_work_together(
    home: Path, node: Node, hub_speaks: Spoken, node_speaks: Spoken
) -> None:
    async with hub_that(home, hub_speaks) as hub:
        link = await dial_hub(hub.address, hub.credentials(node))
        await greet(link, node, node_speaks)
        welcome = await link.welcome(30)
        assert (welcome.protocol, link.protocol, link.is_open) == (1, 1, True)
        await link.aclose()


@pytest.mark.parametrize(("hub_speaks", "node_speaks", "older"), [(NEW, OLD, "node"), (OLD, NEW, "hub")])
async def test_too_far_apart_they_say_so_on_both_sides(
    home: Path, node: Node, hub_speaks: Spoken, node_speaks: Spoken, older: str
) -> None:
    async with hub_that(home, hub_speaks) as hub:
        for _ in range(2):
            link = await dial_hub(hub.address, hub.credentials(node))
            await greet(link, node, node_speaks)
            assert await ending(link) == "protocol_unsupported"
            assert f"upgrade the {older}" in (await link.wait_closed()).text
        refusals = AuditEvent.objects.filter(name="node.refused", node=node.pk)
        is_audited: Callable[[], bool | Awaitable[bool]] = refusals.aexists
        await eventually_async(is_audited)
        assert [event.data["code"] async for event in refusals] == ["protocol_unsupported"]

        is_said: Callable[[], bool | Awaitable[bool]] = partial(sync_to_async(says), node, f"upgrade the {older}")
        await eventually_async(is_said)


async def test_the_nodes_log_says_why_once_and_it_waits(
    home: Path, node: Node, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with hub_that(home, NEW) as hub:
        far = home / "far"
        (far / "pki").mkdir(parents=True)
        shown = hub.credentials(node)
        (far / "pki/ca.pem").write_bytes(shown.authority)
        (far / "pki/node.pem").write_bytes(shown.certificate + shown.key)

        async def serve(link: NodeEnd) -> None:
            await greet(link, node, OLD)
            await link.welcome(30)

        waits: list[float] = []

        def hurried(failures: int, code: str) -> float:
            waits.append(pause(failures, code))
            return 0.01

        monkeypatch.setattr("nodes.server.tunnel.pause", hurried)
        tunnel = Tunnel(far, HubPlace("http://127.0.0.1:1", (hub.address,), "gpu-01"), serve)
        tunnel.start()
        try:
            await eventually_async(lambda: len(waits) >= 3)
        finally:
            await tunnel.stop()
        assert min(waits) >= 0.3 * REFUSED_SECONDS
        said = [record.message for record in caplog.records if "tunnel.refused" in record.message]
        assert len(said) == 1 and "upgrade the node" in said[0]
