"""Between an agent's pipe and the SDK."""

import asyncio
import json
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodes.contract.events import ValidationFailed
from nodes.contract.limits import EXCERPT_CHARS
from nodes.contract.runtime import AgentProcess
from nodes.runtimes.lines import OPEN_REQUESTS, REPORTED_EACH, Faults, Lines, Message


class Pipe:
    """A process of which only the pipes and the end are there."""

    def __init__(self) -> None:
        self.stdout = asyncio.StreamReader()
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.written: list[Message] = []
        self.stdin = self

    def write(self, data: bytes) -> None:
        self.written.append(json.loads(data))

    async def drain(self) -> None:
        """It takes all."""


class Reading:
    """A filter over ``data``, and what it reported."""

    def __init__(self, data: bytes = b"", limit: int = 1000) -> None:
        self.pipe = Pipe()
        self.reported: list[ValidationFailed] = []
        self.lines = Lines(cast(AgentProcess, self.pipe), Faults(self.reported.append), limit)
        self.pipe.stdout.feed_data(data)

    async def all(self) -> list[Message]:
        self.pipe.stdout.feed_eof()
        messages = []
        while (message := await self.lines.receive()) is not None:
            messages.append(message)
        await asyncio.sleep(0)
        return messages


def note(number: int, text: str = "") -> bytes:
    return json.dumps({"method": "x", "params": [number, text]}).encode() + b"\n"


def numbers(messages: list[Message]) -> list[int]:
    return [message["params"][0] for message in messages]


async def test_messages_come_in_order_and_blank_lines_count_for_nothing() -> None:
    reading = Reading(note(1) + b"\n  \r\n" + note(2) + note(3).rstrip())
    assert numbers(await reading.all()) == [1, 2, 3]
    assert reading.reported == []


async def test_a_line_over_the_limit_is_dropped_alone() -> None:
    reading = Reading(note(1) + note(2, "x" * 2000) + note(3))
    assert numbers(await reading.all()) == [1, 3]
    assert [fault.dropped_bytes for fault in reading.reported] == [len(note(2, "x" * 2000)) - 1]


async def test_a_line_at_the_limit_is_kept() -> None:
    line = note(1, "x" * 100)
    assert numbers(await Reading(line, limit=len(line) - 1).all()) == [1]
    assert numbers(await Reading(line, limit=len(line) - 2).all()) == []


async def test_an_endless_line_is_not_held_in_memory() -> None:
    reading = Reading(limit=10_000)
    receiving = asyncio.create_task(reading.lines.receive())
    for _ in range(100):
        reading.pipe.stdout.feed_data(b"x" * 60_000)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(reading.lines._buffer) <= 10_000 + 64 * 1024
    reading.pipe.stdout.feed_data(b"\n" + note(7))
    assert numbers([await receiving or {}]) == [7]
    assert reading.reported[0].dropped_bytes == 6_000_000


async def test_an_over_long_line_without_an_end_is_reported_at_the_end() -> None:
    reading = Reading(b"x" * 5000)
    assert await reading.all() == []
    assert reading.reported[0].dropped_bytes == 5000


@pytest.mark.parametrize(
    "line",
    [
        b"[]", b"1", b"null", b'"text"', b"{}", b'{"id": 1}', b'{"id": true, "result": 1}',
        b'{"id": {}, "method": "x"}', b'{"method": 1}', b'{"id": 1, "error": "text"}',
        b'{"id": 1, "error": {"message": []}}',
        b"[" * 5000, b'{"method": "x", "params": ' + b"[" * 800 + rb'"\ud83d"' + b"]" * 800 + b"}",
        b'{"method": "x", "params": ' + b"9" * 5000 + b"}",
    ],
)  # fmt: skip
async def test_what_is_no_message_is_reported_and_bounded(line: bytes) -> None:
    reading = Reading(line + b"\n" + note(2), limit=20_000)
    assert numbers(await reading.all()) == [2]
    (fault,) = reading.reported
    assert len(fault.excerpt) <= EXCERPT_CHARS
    assert fault.dropped_bytes == len(line)


async def test_bad_utf8_is_replaced_and_the_message_kept() -> None:
    reading = Reading(b'{"method": "x", "params": [1, "\xff"]}\n')
    (message,) = await reading.all()
    assert message["params"] == [1, "\ufffd"]
    assert len(reading.reported) == 1


async def test_whole_pairs_of_surrogates_are_text_and_halves_are_replaced() -> None:
    (message,) = await Reading(rb'{"method": "x", "params": ["\ud83d\ude00", "\ud83d", {"\ude00": 1}]}' + b"\n").all()
    assert message["params"] == ["\U0001f600", "\ufffd", {"\ufffd": 1}]


async def test_a_flood_of_faults_is_a_few_reports_that_lose_no_count() -> None:
    reading = Reading()
    reading.pipe.stdout.feed_data(b"noise\n" * 10_000)
    assert await reading.all() == []
    assert len(reading.reported) < REPORTED_EACH + 20
    assert sum(fault.dropped_bytes for fault in reading.reported) == 8192 * len(b"noise")


async def test_too_many_open_requests_stop_the_reading_until_one_is_answered() -> None:
    requests = b"".join(json.dumps({"id": n, "method": "x"}).encode() + b"\n" for n in range(OPEN_REQUESTS + 1))
    reading = Reading(requests)
    for _ in range(OPEN_REQUESTS):
        await reading.lines.receive()
    waiting = asyncio.create_task(reading.lines.receive())
    await asyncio.sleep(0)
    assert not waiting.done()
    await reading.lines.send({"id": 0, "result": {}})
    assert (await waiting or {})["id"] == OPEN_REQUESTS


async def test_the_end_of_the_process_frees_a_reader_that_waits() -> None:
    requests = b"".join(json.dumps({"id": n, "method": "x"}).encode() + b"\n" for n in range(OPEN_REQUESTS))
    reading = Reading(requests)
    for _ in range(OPEN_REQUESTS):
        await reading.lines.receive()
    waiting = asyncio.create_task(reading.lines.receive())
    reading.pipe.exited.set_result(0)
    assert await asyncio.wait_for(waiting, 10) is None


async def test_what_lies_in_the_pipe_is_read_after_the_process_has_ended() -> None:
    reading = Reading(note(1) + note(2))
    reading.pipe.exited.set_result(0)
    assert numbers([await reading.lines.receive() or {}, await reading.lines.receive() or {}]) == [1, 2]
    assert await reading.lines.receive() is None


@settings(deadline=None)
@given(st.binary(max_size=400), st.integers(min_value=1, max_value=40))
def test_no_bytes_however_cut_keep_the_next_message_from_coming(noise: bytes, size: int) -> None:
    async def read() -> list[Message]:
        reading = Reading(limit=100)
        data = noise + b"\n" + note(41)
        for start in range(0, len(data), size):
            reading.pipe.stdout.feed_data(data[start : start + size])
        return await reading.all()

    assert asyncio.run(read())[-1]["params"][0] == 41
