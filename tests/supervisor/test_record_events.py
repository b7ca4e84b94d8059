"""On the way to the spool: gathered, cut to size, held when there is no room."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from nodes.contract.events import MessageCompleted, PlanEntry, PlanUpdated, ToolResult, TurnCompleted
from nodes.contract.limits import EVENT_BYTES
from nodes.server.control import Spooled
from nodes.server.recorder import Recorder
from nodes.server.redaction import SLICE_CHARS, Redactor
from nodes.server.spool import SpoolWriter
from tests.supervisor.test_read_spool import read_all
from tests.support import eventually_async

SECRET = "known-secret-value"


class Desk:
    def __init__(self, directory: Path, run_bytes: int = 1 << 30) -> None:
        self.directory = directory
        self.announced: list[Spooled] = []
        self.full: list[bool] = []
        writer = SpoolWriter(directory, 1, run_bytes=run_bytes, segment_bytes=2_000)
        self.recorder = Recorder(writer, Redactor([SECRET]), self.announced.append, self.full.append)

    def records(self) -> list[tuple[str, str]]:
        return [(found.type, found.payload.decode()) for found in read_all(self.directory)]


async def test_what_came_together_is_written_and_announced_together(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    for turn in range(1, 101):
        desk.recorder.emit(TurnCompleted(turn=turn, stop_reason="end_turn"))
    assert desk.announced == []
    await eventually_async(lambda: desk.announced)
    assert [spooled.origin_seq for spooled in desk.announced] == [100]
    desk.recorder.close()


async def test_pending_text_comes_before_the_next_event(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    for word in ("one ", "two ", "three "):
        desk.recorder.emit_text("message", word, "m1")
    desk.recorder.emit(PlanUpdated(entries=[]))
    desk.recorder.close()
    assert [type_ for type_, _ in desk.records()] == ["run.message.delta", "run.message.delta", "run.plan.updated"]


async def test_a_secret_cut_by_another_event_does_not_come_out(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.recorder.emit_text("message", f"it is {SECRET[:8]}", "m1")
    desk.recorder.emit(PlanUpdated(entries=[]))
    desk.recorder.emit_text("stderr", "between")
    desk.recorder.emit_text("message", f"{SECRET[8:]} so", "m1")
    desk.recorder.emit(MessageCompleted(message_id="m1", text=f"it is {SECRET} so"))
    desk.recorder.close()
    written = "".join(payload for _, payload in desk.records())
    assert SECRET[:8] not in written and SECRET[8:] not in written and written.count("[secret]") == 2


async def test_what_was_held_back_of_an_agent_that_left_comes_before_what_is_said_of_it(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.recorder.emit_text("stdout", f"refused: {SECRET[:1]}")
    desk.recorder.end_texts()
    desk.recorder.emit_text("stderr", "no diff")
    desk.recorder.close()
    texts = [json.loads(payload)["text"] for _, payload in desk.records()]
    assert "".join(texts) == f"refused: {SECRET[:1]}no diff"


@pytest.mark.parametrize("held", [SECRET[:1], SECRET[:2]])
async def test_the_end_of_a_text_is_shown_when_nothing_follows_though_a_secret_begins_alike(
    held: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodes.server.recorder.PAUSE_SECONDS", 0.05)
    desk = Desk(tmp_path)

    def said() -> str:
        return "".join(json.loads(payload)["text"] for _, payload in desk.records())

    desk.recorder.emit_text("message", f"I wait {held}", "m1")
    await eventually_async(lambda: said() == f"I wait {held}")
    desk.recorder.emit_text("message", SECRET[len(held) : 9], "m1")
    await eventually_async(lambda: desk.recorder._pause_handle is None)
    await eventually_async(lambda: said() == f"I wait {SECRET[:2]}")
    desk.recorder.emit_text("message", f"{SECRET[9:]} so", "m1")
    await eventually_async(lambda: said() == f"I wait {SECRET[:2]}[secret] so")
    desk.recorder.close()


async def test_another_text_after_it_does_not_keep_the_end_of_one_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodes.server.recorder.PAUSE_SECONDS", 0.05)
    desk = Desk(tmp_path)
    desk.recorder.emit_text("message", f"I wait {SECRET[:1]}", "m1")
    desk.recorder.emit_text("stderr", "Compiling …")

    def said() -> str:
        found = (json.loads(payload) for type_, payload in desk.records() if type_ == "run.message.delta")
        return "".join(payload["text"] for payload in found)

    await eventually_async(lambda: said() == f"I wait {SECRET[:1]}")
    desk.recorder.close()


async def test_a_long_text_lets_others_have_their_turn_and_what_follows_it_comes_after_it(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(others())
    text = f"{'x ' * (SLICE_CHARS // 2 - 4)}{SECRET} " * 8  # across the edges of slices
    desk.recorder.emit_text("message", text, "m1")
    desk.recorder.emit(PlanUpdated(entries=[]))
    await eventually_async(lambda: any(type_ == "run.plan.updated" for type_, _ in desk.records()))
    other.cancel()
    desk.recorder.close()
    said = "".join(json.loads(payload)["text"] for type_, payload in desk.records() if type_ == "run.message.delta")
    assert turns > 8 and said == text.replace(SECRET, "[secret]")
    assert [type_ for type_, _ in desk.records()][-1] == "run.plan.updated"


async def test_a_payload_that_is_too_large_is_cut_and_says_so(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.recorder.emit(ToolResult(tool_call_id="t", output="\x01" * 500_000))
    desk.recorder.emit(MessageCompleted(message_id="m", text="é" * 500_000))
    desk.recorder.emit(PlanUpdated(entries=[PlanEntry(content="x" * 300) for _ in range(5_000)]))
    desk.recorder.close()
    records = desk.records()
    assert [type_ for type_, _ in records] == ["run.tool.result", "run.message.completed", "run.plan.updated"]
    assert all(len(payload.encode()) <= EVENT_BYTES for _, payload in records)
    assert '"truncated":true' in records[1][1] and "characters left out" in records[0][1]


async def test_a_full_spool_holds_and_lets_go(tmp_path: Path) -> None:
    desk = Desk(tmp_path, run_bytes=10_000)
    for _ in range(30):
        desk.recorder.emit(ToolResult(tool_call_id="t", output="x" * 500))
        desk.recorder.flush()
    assert desk.full == [True]
    desk.recorder.acknowledge(desk.announced[-1].origin_seq)
    assert desk.full == [True, False]
    desk.recorder.close()


async def test_a_disk_without_room_is_tried_again(
    tmp_path: Path, refuse_writes: Callable[[], Callable[[], None]]
) -> None:
    desk = Desk(tmp_path)
    relent = refuse_writes()
    desk.recorder.emit(TurnCompleted(turn=1, stop_reason="end_turn"))
    await eventually_async(lambda: desk.full == [True])
    relent()
    await eventually_async(lambda: desk.full == [True, False])
    assert [spooled.origin_seq for spooled in desk.announced] == [1]
    desk.recorder.close()
