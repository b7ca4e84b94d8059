import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, ParamSpec, TypeVar, cast

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError

from agenthub_site.accounts.actors import SYSTEM
from agenthub_site.database_threads import DatabaseThreads
from agenthub_site.links import LinkSession
from agents.ingest import Batch, Ingest
from agents.models import Run
from agents.services.runs import send_input, start_run
from agents.states import State
from nodes.contract.limits import CREDIT_BATCHES
from nodes.leases import claim_lease
from nodes.link.errors import FrameTooLarge, LinkProtocolError
from nodes.models import Command, LinkLease, Node
from nodes.pb import link_pb2 as pb
from tests.factories import make_agent, make_run, node_of
from tests.support import eventually_async

P = ParamSpec("P")
T = TypeVar("T")

pytestmark = pytest.mark.django_db(transaction=True)


class SmallLink:
    """A link's hub end: takes frames of up to ``most`` bytes, and hands out what ``heard`` holds."""

    def __init__(self, most: int = 10_000, epoch: int = 0) -> None:
        self.heard: asyncio.Queue[pb.NodeFrame] = asyncio.Queue()
        self.sent: list[pb.HubFrame] = []
        self.protocol = 1
        self._most = most
        self._epoch = epoch

    async def hello(self, timeout: float) -> pb.Hello:
        return pb.Hello(protocol=1, epoch=self._epoch)

    async def send(self, frame: pb.HubFrame) -> None:
        if frame.ByteSize() > self._most:
            raise FrameTooLarge
        self.sent.append(frame)

    async def frames(self) -> AsyncIterator[pb.NodeFrame]:
        while True:
            yield await self.heard.get()

    async def aclose(self, reason: str = "", code: str = "") -> None: ...


class StandingIngest(Ingest):
    """The database stands still: nothing is ever committed."""

    def submit(self, batch: Batch) -> Any:
        return batch.done


class Outage(DatabaseThreads):
    """The database is away while ``is_on``: whatever asks it is told so."""

    def __init__(self) -> None:
        super().__init__(1)
        self.is_on = False
        self.refused: list[str] = []

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self.is_on:
            self.refused.append(function.__name__)
            raise OperationalError("the database is away")
        return await super().run(function, *args, **kwargs)


async def serve(run: Run, link: SmallLink, database: DatabaseThreads | None = None) -> None:
    lease = await sync_to_async(claim_lease)(node_of(run).pk, "hub-a")
    assert lease
    database = database or DatabaseThreads(1)
    try:
        await LinkSession(cast("Any", link), lease, StandingIngest(), database).run()
    finally:
        database.close()


async def test_a_command_that_fits_no_frame_ends_its_run_and_holds_up_no_other() -> None:
    agent = await sync_to_async(make_agent)()
    large = await sync_to_async(start_run)(agent, by=SYSTEM, prompt="\x01" * 20_000)
    small = await sync_to_async(start_run)(agent, by=SYSTEM, prompt="Go.")
    link = SmallLink()
    serving = asyncio.create_task(serve(small, link))
    try:
        has_failed: Callable[[], bool | Awaitable[bool]] = Run.objects.filter(pk=large.pk, state=State.FAILED).aexists
        await eventually_async(has_failed)
        assert [frame.command.run_id for frame in link.sent if frame.HasField("command")] == [str(small.pk)]
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def test_a_hub_restored_from_a_backup_comes_with_an_epoch_that_its_node_takes() -> None:
    run = await sync_to_async(make_run)()
    await sync_to_async(send_input)(run, by=SYSTEM, text="Go.", input_id="i-1")
    link = SmallLink(epoch=70)
    serving = asyncio.create_task(serve(run, link))
    try:
        welcomes = await eventually_async(lambda: [f.welcome for f in link.sent if f.HasField("welcome")])
        assert [welcome.epoch for welcome in welcomes] == [71]
        assert (await LinkLease.objects.aget(node=node_of(run))).epoch == 71
        commands = await eventually_async(lambda: [f.command for f in link.sent if f.HasField("command")])
        assert {command.epoch for command in commands} == {71}
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def test_a_node_that_names_an_epoch_which_no_hub_gave_is_refused_and_not_heard() -> None:
    run = await sync_to_async(make_run)()
    node = node_of(run)
    with pytest.raises(LinkProtocolError, match="no hub gave"):
        await serve(run, SmallLink(epoch=2**63 - 1))
    assert (await Node.objects.aget(pk=node.pk)).last_heard_at == node.last_heard_at
    assert (await LinkLease.objects.aget(node=node)).epoch == 1


async def test_a_link_outlives_an_outage_of_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agenthub_site.links._PUMP_SECONDS", 0.2)
    run = await sync_to_async(make_run)()
    link, outage = SmallLink(), Outage()
    await sync_to_async(send_input)(run, by=SYSTEM, text="Go.", input_id="i-1")
    serving = asyncio.create_task(serve(run, link, outage))
    try:
        await eventually_async(lambda: [f.command for f in link.sent if f.HasField("command")])
        outage.is_on = True
        (sent,) = [frame.command for frame in link.sent if frame.HasField("command")]
        link.heard.put_nowait(pb.NodeFrame(result=pb.CommandResult(id=sent.id, accepted=True)))
        link.heard.put_nowait(pb.NodeFrame(chunk=chunk_of(run)))
        wanted = {"_store_answers", "take_commands", "renew_leases", "store_blob"}
        await eventually_async(lambda: wanted <= set(outage.refused), timeout=30)
        assert not serving.done()
        outage.is_on = False
        is_stored: Callable[[], bool | Awaitable[bool]] = Command.objects.filter(pk=sent.id, state="accepted").aexists
        await eventually_async(is_stored, timeout=30)
        await eventually_async(lambda: [f.file_ack.refused for f in link.sent if f.HasField("file_ack")], timeout=30)
        assert [f.file_ack.refused for f in link.sent if f.HasField("file_ack")] == ["unavailable"]
        assert not serving.done()
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


def chunk_of(run: Run) -> pb.FileChunk:
    data = b"a patch"
    return pb.FileChunk(
        run_id=str(run.pk), digest=hashlib.sha256(data).hexdigest(), size=len(data), offset=0, data=data
    )


async def test_a_node_that_ignores_its_credit_is_cut() -> None:
    run = await sync_to_async(make_run)()
    link = SmallLink()
    for number in range(10 * CREDIT_BATCHES):
        link.heard.put_nowait(pb.NodeFrame(records=pb.Records(batch=number)))
    with pytest.raises(LinkProtocolError):
        await asyncio.wait_for(serve(run, link), 20)
