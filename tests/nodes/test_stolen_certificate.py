"""Whoever steals a node's certificate and key speaks for that node alone, and what else is tried is refused."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async

from agents.models import Blob, Run, RunEvent
from agents.states import State
from audit.models import AuditEvent
from nodes import pki
from nodes.contract import events
from nodes.contract.record import encode
from nodes.link.credentials import Credentials
from nodes.link.dial import dial, dial_hub
from nodes.link.errors import LinkClosed, LinkError
from nodes.link.link import NodeEnd
from nodes.link.serve import node_server
from nodes.models import Command, Node
from nodes.pb import link_pb2 as pb
from tests.factories import make_agent, make_node, make_run
from tests.nodes.test_accept_tunnels import Hub, ending, first_refusal, listening
from tests.support import eventually_async

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
async def hub(home: Path) -> AsyncIterator[Hub]:
    pki.ensure_pki(home / "pki", UUID(int=7))
    hub = Hub(home)
    async with listening(hub.config):
        yield hub


@pytest.fixture
def stolen() -> Node:
    """Whose certificate and key somebody has."""
    return make_node("gpu-01", direction=Node.Direction.TUNNEL)


@pytest.fixture
def other() -> Node:
    return make_node("gpu-02", direction=Node.Direction.TUNNEL)


@pytest.fixture
def run(other: Node) -> Run:
    """A run on the other node, and a command that waits for it there."""
    run = make_run(agent=make_agent(node=other), state=State.RUNNING)
    Command.objects.create(node=other, run=run.pk, kind="cancel_run", body="{}")
    return run


async def heard(link: NodeEnd, kind: str) -> Any:
    """The next frame of that kind; ``None`` if the link ends without one."""
    with contextlib.suppress(LinkClosed):
        async for frame in link.frames():
            if frame.WhichOneof("frame") == kind:
                return getattr(frame, kind)
    return None


async def welcomed(hub: Hub, node: Node) -> NodeEnd:
    link = await hub.dial(node)
    await link.welcome(30)
    return link


async def test_it_sends_no_records_of_another_nodes_run(hub: Hub, stolen: Node, run: Run) -> None:
    link = await welcomed(hub, stolen)
    part = pb.RunRecords(run_id=str(run.pk), generation=1, count=1, frames=encode(1, events.RunCompleted()))
    await link.send(pb.NodeFrame(records=pb.Records(batch=1, runs=[part])))
    ack = await asyncio.wait_for(heard(link, "ack"), 30)
    assert [each.refused for each in ack.runs] == ["unknown_run"]
    assert not await RunEvent.objects.filter(run=run).aexists()
    await link.aclose()


async def test_it_is_told_nothing_of_another_nodes_runs(hub: Hub, stolen: Node, run: Run) -> None:
    link = await dial_hub(hub.address, hub.credentials(stolen))
    held = pb.HeldRun(run_id=str(run.pk), generation=1, last_origin_seq=10**9, live=True)
    await link.send(pb.NodeFrame(hello=pb.Hello(protocol=1, node_id=str(stolen.pk), runs=[held])))
    welcome = await link.welcome(30)
    assert [(ack.refused, ack.origin_seq) for ack in welcome.acked] == [("unknown_run", 0)]
    await run.arefresh_from_db()
    assert run.state == State.RUNNING
    await link.aclose()


async def test_it_neither_gets_nor_answers_another_nodes_commands(hub: Hub, stolen: Node, run: Run) -> None:
    command = await Command.objects.aget(run=run.pk)
    mine = await sync_to_async(_own_command)(stolen)
    link = await welcomed(hub, stolen)
    await link.send(pb.NodeFrame(result=pb.CommandResult(id=str(command.pk), accepted=False, code="unknown_run")))
    got = await asyncio.wait_for(heard(link, "command"), 30)
    assert got.id == str(mine.pk)  # its own, and not the other's, which is older
    await link.send(pb.NodeFrame(result=pb.CommandResult(id=str(mine.pk), accepted=True)))
    is_taken: Callable[[], bool | Awaitable[bool]] = Command.objects.filter(pk=mine.pk, state="accepted").aexists
    await eventually_async(is_taken)
    await command.arefresh_from_db()
    assert command.state == Command.State.PENDING
    await run.arefresh_from_db()
    assert run.state == State.RUNNING
    await link.aclose()


def _own_command(node: Node) -> Command:
    own = make_run(agent=make_agent(node=node, name="own"), state=State.RUNNING)
    return Command.objects.create(node=node, run=own.pk, kind="cancel_run", body="{}")


async def test_it_uploads_nothing_for_another_nodes_run(hub: Hub, stolen: Node, run: Run) -> None:
    link = await welcomed(hub, stolen)
    data = b"forged"
    chunk = pb.FileChunk(
        run_id=str(run.pk), digest=hashlib.sha256(data).hexdigest(), size=len(data), offset=0, data=data
    )
    await link.send(pb.NodeFrame(chunk=chunk))
    ack = await asyncio.wait_for(heard(link, "file_ack"), 30)
    assert ack.refused == "not_found"
    assert not await Blob.objects.aexists()
    await link.aclose()


async def test_it_does_not_say_that_it_is_another_node(hub: Hub, stolen: Node, other: Node) -> None:
    assert await ending(await hub.dial(stolen, says=other)) == "node_certificate_mismatch"
    refused = await first_refusal()
    assert (refused.node, refused.data["code"]) == (stolen.pk, "node_certificate_mismatch")
    assert str(other.pk) in refused.data["message"]
    assert await AuditEvent.objects.filter(node=other.pk, name="node.refused").acount() == 0


async def test_it_is_not_the_hub_to_another_node(hub: Hub, stolen: Node, other: Node) -> None:
    reached = asyncio.Event()

    async def serve(link: NodeEnd) -> None:
        reached.set()

    server = node_server(hub.credentials(other), serve)
    await server.start("127.0.0.1:0")
    try:
        with pytest.raises(LinkError, match="Only the hub"):
            await dial(f"127.0.0.1:{server.port}", hub.credentials(stolen), pki.NodeIdentity(other.pk, 1))
        assert not reached.is_set()
    finally:
        await server.stop(0.1)


async def test_it_is_neither_the_hub_nor_another_node_to_those_who_dial(hub: Hub, stolen: Node, other: Node) -> None:
    async def serve(link: NodeEnd) -> None:
        await link.wait_closed()

    impostor = node_server(hub.credentials(stolen), serve)
    await impostor.start("127.0.0.1:0")
    address = f"127.0.0.1:{impostor.port}"
    try:
        shown = Credentials.load(hub.config.pki_dir, "hub")
        with pytest.raises(LinkError) as refused:
            await dial(address, shown, pki.NodeIdentity(other.pk, other.generation))
        assert refused.value.code == "node_certificate_mismatch"
        with pytest.raises(LinkError):
            await dial_hub(address, hub.credentials(other))
    finally:
        await impostor.stop(0.1)


async def test_the_hubs_own_certificate_is_no_nodes(hub: Hub) -> None:
    with pytest.raises(LinkError, match="Only a node"):
        await dial_hub(hub.address, Credentials.load(hub.config.pki_dir, "hub"))
