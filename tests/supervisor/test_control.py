"""The control socket: hello, announcements, commands, and clients that misbehave."""

import asyncio
import json
import os
import select
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nodes.server import proc, unixsocket
from nodes.server.commandlog import Accepted
from nodes.server.control import (
    CLIENTS,
    LINE_BYTES,
    Applied,
    ControlServer,
    Ended,
    Hello,
    NoSupervisor,
    Pong,
    Spooled,
    SupervisorClient,
)
from tests.support import eventually_async

HELLO = Hello("run", 7, 1, Spooled(1, 28, 0))


class Side:
    """A supervisor's end, which keeps what it is told."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "control.sock"
        self.commands: list[Accepted] = []
        self.acked: list[int] = []
        self.held: list[bool] = []
        self.linked: list[bool] = []
        self.server = ControlServer(
            lambda: HELLO, self.commands.append, self.acked.append, self.held.append, self.linked.append
        )


@pytest.fixture
async def side(tmp_path: Path) -> AsyncIterator[Side]:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    side = Side(deep)
    await side.server.start(side.path)
    yield side
    await side.server.aclose()


async def test_a_client_hears_hello_under_a_path_longer_than_an_address(side: Side) -> None:
    client = await SupervisorClient.connect(side.path)
    assert client.hello == HELLO
    await client.aclose()


async def test_who_stops_waiting_for_a_hello_leaves_no_connection(tmp_path: Path) -> None:
    hangs_up = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connecting.cancel()
        await reader.read()
        hangs_up.set()
        writer.close()

    path = tmp_path / "control.sock"
    server = await asyncio.start_unix_server(say_nothing, sock=unixsocket.listen(path))
    connecting = asyncio.create_task(SupervisorClient.connect(path))
    with pytest.raises(asyncio.CancelledError):
        await connecting
    await asyncio.wait_for(hangs_up.wait(), 30)
    server.close()


async def test_announcements_answers_and_the_end_arrive(side: Side) -> None:
    client = await SupervisorClient.connect(side.path)
    side.server.applied("c1", "expired")
    for number in range(1, 2_001):
        side.server.announce(Spooled(1, 28 + number, number))
    await side.server.ended(2_000)
    heard = []
    async for message in client:
        heard.append(message)
        if isinstance(message, Ended):
            break
    assert heard == [Applied("c1", "expired"), Spooled(1, 2_028, 2_000), Ended(2_000)]
    await client.aclose()


async def test_commands_and_acknowledgements_reach_the_supervisor(side: Side) -> None:
    client = await SupervisorClient.connect(side.path)
    command = Accepted("c1", "send_input", {"text": "\x00" * 128 * 1024})
    await client.send_command(command)
    await client.send_acked(41)
    await client.send_hold(True)
    await eventually_async(lambda: (side.acked, side.held) == ([41], [True]))
    assert side.commands == [command]
    await client.aclose()


async def test_a_line_without_end_costs_only_its_connection(side: Side) -> None:
    def flood() -> None:
        with unixsocket.connect(side.path) as bad, pytest.raises(OSError):
            for _ in range(100):
                bad.sendall(b"x" * LINE_BYTES)

    await asyncio.to_thread(flood)
    client = await SupervisorClient.connect(side.path)
    await client.aclose()


async def test_garbage_is_ignored(side: Side) -> None:
    client = await SupervisorClient.connect(side.path)
    await client._send(b'{"type": 3}\n[]\n\xff\n{"type": "policy"}\n')
    await client.send_acked(1)
    await eventually_async(lambda: side.acked == [1])
    await client.aclose()


async def test_however_many_clients_there_are_the_newest_gets_in(side: Side) -> None:
    clients = [await SupervisorClient.connect(side.path) for _ in range(3 * CLIENTS)]
    side.server.announce(Spooled(1, 99, 3))
    heard = [[message async for message in client] for client in clients[: 2 * CLIENTS]]
    assert heard == [[]] * (2 * CLIENTS)
    for client in clients[2 * CLIENTS :]:
        assert await anext(aiter(client)) == Spooled(1, 99, 3)
    for client in clients:
        await client.aclose()


KNOCK = "import os, socket, sys; os.chdir(sys.argv[1]); s = socket.socket(socket.AF_UNIX); s.connect('control.sock')"


@pytest.mark.parametrize("marker", ["", "019a0000-0000-7000-8000-000000000001"], ids=["own_child", "other_run"])
async def test_what_a_run_has_started_is_not_served(side: Side, marker: str) -> None:
    environment = {"PATH": os.environ["PATH"], **({proc.RUN_MARKER: marker} if marker else {})}
    knock = f"{KNOCK}; print(s.recv(100))"
    command = [sys.executable, "-c", knock, str(side.path.parent)]
    said = await asyncio.to_thread(subprocess.check_output, command, env=environment)
    assert said == b"b''\n"


async def test_who_shares_the_supervisors_own_marker_is_served(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nodes.server.proc.marker_of", lambda _: "outer")
    monkeypatch.setattr("nodes.server.unixsocket.peer_of", lambda _: os.getppid())
    monkeypatch.setenv(proc.RUN_MARKER, "outer")
    client = await SupervisorClient.connect(side.path)
    await client.aclose()
    monkeypatch.setenv(proc.RUN_MARKER, "another")
    with pytest.raises(NoSupervisor):
        await SupervisorClient.connect(side.path)


async def test_a_ping_is_answered(side: Side) -> None:
    client = await SupervisorClient.connect(side.path)
    assert client.hello.pings
    await client.send_ping()
    assert await anext(aiter(client)) == Pong()
    await client.aclose()


async def test_a_client_that_comes_after_the_end_hears_of_it(side: Side) -> None:
    await side.server.ended(7)
    client = await SupervisorClient.connect(side.path)
    assert await anext(aiter(client)) == Ended(7)
    await client.aclose()


async def test_a_supervisor_that_reads_nothing_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nodes.server.control.SEND_SECONDS", 0.2)
    frozen = unixsocket.listen(tmp_path / "control.sock")
    connecting = asyncio.create_task(SupervisorClient.connect(tmp_path / "control.sock"))
    await eventually_async(lambda: bool(select.select([frozen], [], [], 0)[0]))
    connection, _ = frozen.accept()
    with connection, frozen:
        connection.sendall(
            b'{"type": "hello", "run": "r", "pid": 1, "generation": 1,'
            b' "spooled": {"segment": 1, "offset": 28, "origin_seq": 0}}\n'
        )
        client = await connecting
        with pytest.raises(NoSupervisor):
            await client.send_command(Accepted("c1", "send_input", {"text": "x" * 4_000_000}))
        await client.aclose()


async def test_closing_leaves_no_task_to_be_cut_off_with_the_loop(side: Side) -> None:
    before = asyncio.all_tasks()
    client = await SupervisorClient.connect(side.path)
    await side.server.aclose()
    assert asyncio.all_tasks() == before
    await client.aclose()


async def test_a_missing_supervisor_is_said(tmp_path: Path) -> None:
    with pytest.raises(NoSupervisor):
        await SupervisorClient.connect(tmp_path / "control.sock")


async def test_the_supervisor_hears_whether_the_hub_is_there_and_when_nobody_is_left_to_say(side: Side) -> None:
    first = await SupervisorClient.connect(side.path)
    await first.send_link(True)
    await first.send_ping()
    await eventually_async(lambda: side.linked == [True])
    second = await SupervisorClient.connect(side.path)
    await first.aclose()
    await second.send_link(False)
    await eventually_async(lambda: side.linked == [True, False])
    await second.aclose()
    await eventually_async(lambda: side.linked == [True, False, False])


async def test_a_node_server_that_says_nothing_of_the_hub_speaks_for_it_by_being_there(side: Side) -> None:
    client = await SupervisorClient.connect(side.path)
    await client.send_ping()
    await eventually_async(lambda: side.linked == [True])
    await client.aclose()


@pytest.mark.parametrize(
    ("hello", "pings"),
    [
        ({"version": 1}, False),  # as supervisors said it before there were pings
        ({"version": 2, "pings": True, "later": [1, 2]}, True),  # as one may say it that a newer node server started
    ],
)
async def test_supervisors_of_other_versions_are_understood(
    tmp_path: Path, hello: dict[str, object], pings: bool
) -> None:
    spooled = {"segment": 1, "offset": 28, "origin_seq": 5, "later": True}
    lines = [
        {"type": "hello", "run": "run", "pid": 7, "generation": 1, "spooled": spooled, **hello},
        {"type": "of_a_later_version", "what": 1},
        {"type": "spooled", **spooled},
        {"type": "ended", "origin_seq": 6, "later": True},
    ]

    async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
        await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(speak, sock=unixsocket.listen(tmp_path / "control.sock"))
    try:
        client = await SupervisorClient.connect(tmp_path / "control.sock")
        assert client.hello.pings is pings
        assert [message async for message in client] == [Spooled(1, 28, 5), Ended(6)]
        await client.aclose()
    finally:
        server.close()
