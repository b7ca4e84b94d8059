"""Permission requests of all shapes, through the client."""

import asyncio
import json
from pathlib import Path
from typing import Any, cast

import pytest
from acp import schema

from nodes.contract.actions import Place, Request, actions_of, gravest
from nodes.contract.commands import RuntimeSpec
from nodes.contract.events import ToolCall, ToolContent, ValidationFailed
from nodes.contract.policy import ActionKind
from nodes.contract.runtime import AgentProcess
from nodes.runtimes.acp_client import AcpClient
from nodes.runtimes.acp_tools import Call, clip, json_bytes
from nodes.runtimes.lines import Faults, Lines
from tests.fakes.small_host import SmallHost, allow
from tests.runtimes.test_filter_lines import Pipe
from tests.support import eventually_async

YES = {"optionId": "1", "name": "Yes", "kind": "allow_once"}
NO = {"optionId": "2", "name": "No", "kind": "reject_once"}


async def answer(workspace: Path, *before: dict[str, Any], **params: Any) -> tuple[dict[str, Any], SmallHost]:
    """What the client answers to a request, after some updates, when people allow what they can."""
    pipe = Pipe()
    host = SmallHost(workspace, RuntimeSpec(kind="acp"), allow)
    faults = Faults(host.emit)
    client = AcpClient(host, Lines(cast(AgentProcess, pipe), faults), faults)
    client.session_id = "s"
    for update in before:
        message = {"jsonrpc": "2.0", "method": "session/update", "params": {"sessionId": "s", "update": update}}
        pipe.stdout.feed_data(json.dumps(message).encode() + b"\n")
    request = {
        "jsonrpc": "2.0",
        "id": 7,
        "method": "session/request_permission",
        "params": {"sessionId": "s", **params},
    }
    pipe.stdout.feed_data(json.dumps(request).encode() + b"\n")
    await eventually_async(lambda: pipe.written)
    await client.close()
    return pipe.written[0], host


def chosen(answered: dict[str, Any]) -> str:
    outcome = answered["result"]["outcome"]
    return str(outcome.get("optionId", outcome["outcome"]))


async def test_the_option_is_chosen_by_its_kind_whatever_its_id(tmp_path: Path) -> None:
    options = [NO, {"optionId": "allow_once", "name": "For ever", "kind": "allow_always"}, YES]
    answered, host = await answer(tmp_path, toolCall={"toolCallId": "c"}, options=options)
    assert chosen(answered) == "1"
    assert [option.option_id for option in host.questions[0].options] == ["2", "allow_once", "1"]


async def test_a_request_that_names_only_an_id_is_filled_from_earlier_updates(tmp_path: Path) -> None:
    path = str(tmp_path / "a.txt")
    update = {
        "sessionUpdate": "tool_call", "toolCallId": "c", "title": "Change a", "kind": "edit",
        "locations": [{"path": path}], "rawInput": {"file_path": path, "content": "new"},
    }  # fmt: skip
    _, host = await answer(tmp_path, update, toolCall={"toolCallId": "c"}, options=[YES, NO])
    (question,) = host.questions
    assert (question.kind, question.title, question.paths) == (ActionKind.WRITE, "Change a", ["a.txt"])
    assert path in question.action


async def test_a_request_without_title_or_kind_is_still_a_question(tmp_path: Path) -> None:
    _, host = await answer(tmp_path, toolCall={"toolCallId": "c"}, options=[YES])
    assert (host.questions[0].kind, host.questions[0].title) == (ActionKind.OTHER, "An unnamed action")
    assert [call.tool_call_id for call in host.of(ToolCall)] == ["c"]


@pytest.mark.parametrize("change", [{"kind": "allow_sometimes"}, {"optionId": "x" * 300}, {"name": None}])
async def test_an_option_that_cannot_be_used_is_left_out_and_reported(tmp_path: Path, change: dict[str, Any]) -> None:
    odd = {**NO, **change}
    answered, host = await answer(tmp_path, toolCall={"toolCallId": "c"}, options=[odd, YES])
    assert chosen(answered) == "1"
    assert len(host.of(ValidationFailed)) == 1


@pytest.mark.parametrize("options", [[], None, "all", [{"optionId": 5}]])
async def test_a_request_that_nobody_can_answer_is_cancelled(tmp_path: Path, options: Any) -> None:
    answered, host = await answer(tmp_path, toolCall={"toolCallId": "c"}, options=options)
    assert chosen(answered) == "cancelled"
    assert host.questions == []


@pytest.mark.parametrize("params", [{}, {"toolCall": None}, {"toolCall": {"title": "no id"}}])
async def test_a_request_without_a_call_is_refused_and_reported(tmp_path: Path, params: dict[str, Any]) -> None:
    answered, host = await answer(tmp_path, options=[YES], **params)
    assert answered["error"]["code"] == -32602
    assert len(host.of(ValidationFailed)) == 1


async def test_what_we_do_not_offer_is_refused_without_a_word(tmp_path: Path) -> None:
    pipe = Pipe()
    host = SmallHost(tmp_path, RuntimeSpec(kind="acp"))
    faults = Faults(host.emit)
    client = AcpClient(host, Lines(cast(AgentProcess, pipe), faults), faults)
    for number, method in enumerate(("fs/read_text_file", "terminal/create", "_vendor/thing")):
        pipe.stdout.feed_data(json.dumps({"id": number, "method": method, "params": {}}).encode() + b"\n")
    pipe.stdout.feed_data(b'{"method": "_vendor/note"}\n')
    await eventually_async(lambda: len(pipe.written) == 3)
    await asyncio.sleep(0)
    await client.close()
    assert {message["error"]["code"] for message in pipe.written} == {-32601}
    assert [fault.error for fault in host.of(ValidationFailed)] == ["An unknown request: _vendor/thing"]


DIFF = [ToolContent(type="diff", path="a", new_text="x")]


@pytest.mark.parametrize(
    ("kind", "title", "raw_input", "content", "action"),
    [
        ("read", "Read a", {"file_path": "a"}, [], ActionKind.READ),
        ("read", "Read a", {"command": ["cat", "a"]}, [], ActionKind.READ),
        ("read", "Read a", {"command": ["./cat", "a"]}, [], ActionKind.SHELL),
        ("read", "Read a", None, DIFF, ActionKind.WRITE),
        ("read", "Read a", {"file_path": "a", "content": "x"}, [], ActionKind.WRITE),
        ("search", "Find", {"url": "https://example.org"}, [], ActionKind.NETWORK),
        ("think", "Think", {"command": {"argv": ["rm", "a"]}}, [], ActionKind.SHELL),
        ("search", "Find", {}, [], ActionKind.READ),
        ("edit", "Edit", {}, [], ActionKind.WRITE),
        ("delete", "Delete", {}, [], ActionKind.WRITE),
        ("execute", "ls", {"command": "ls"}, [], ActionKind.READ),
        ("execute", "make", {"command": "make"}, [], ActionKind.SHELL),
        ("execute", "push", {"command": "cd x && git  push origin"}, [], ActionKind.PUBLISH),
        ("other", "npm", {"cmd": "npm publish"}, [], ActionKind.PUBLISH),
        ("fetch", "Get", {"url": "https://example.org"}, [], ActionKind.NETWORK),
        ("other", "WebFetch https://example.org", {}, [], ActionKind.NETWORK),
        ("other", "bash", {}, [], ActionKind.SHELL),
        (None, "Write notes", None, [], ActionKind.WRITE),
        ("other", "read everything", {}, [], ActionKind.OTHER),
        ("switch_mode", "Leave plan mode", {}, [], ActionKind.OTHER),
    ],
)
def test_an_action_is_taken_for_what_it_does(
    kind: str | None, title: str, raw_input: Any, content: list[ToolContent], action: ActionKind
) -> None:
    request = Request(kind or "other", title, raw_input, has_changes=bool(content))
    assert gravest(actions_of(request, Place("/w"))) is action


@pytest.mark.parametrize("text", ["", "short", "x" * 1000, "\x00" * 1000, "ü" * 1000, "\U0001f600" * 1000, '"' * 1000])
@pytest.mark.parametrize("limit", [0, 3, 50, 999])
def test_a_clipped_text_fits_as_json(text: str, limit: int) -> None:
    clipped = clip(text, limit)
    assert json_bytes(clipped) <= limit
    assert clipped == text or json_bytes(text) > limit


def test_the_largest_call_fits_an_event(tmp_path: Path) -> None:
    text = {"type": "content", "content": {"type": "text", "text": "\x01" * 50_000}}
    diff = {"type": "diff", "path": "/" + "p" * 9000, "oldText": "\x01" * 50_000, "newText": "\x01" * 50_000}
    update = schema.ToolCallUpdate.model_validate({
        "toolCallId": "c", "title": "\x01" * 9000, "content": [diff, text] * 100, "status": "in_progress",
        "locations": [{"path": "/" + str(n) * 900} for n in range(500)],
        "rawInput": {"x": "\x01" * 50_000}, "rawOutput": "\x01" * 50_000,
    })  # fmt: skip
    call = Call("c")
    call.merge(update, tmp_path)
    for status in ("in_progress", "completed", "failed"):
        call.status = status
        assert len(call.as_event().model_dump_json()) <= 64 * 1024
