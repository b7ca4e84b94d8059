"""From session updates to events, one by one."""

from pathlib import Path
from typing import Any

import pytest
from acp import schema

from nodes.contract.commands import RuntimeSpec
from nodes.contract.events import MessageCompleted, MessageDelta, ToolCall, ToolFailed, ToolResult, Usage
from nodes.runtimes.acp_tools import shown_title
from nodes.runtimes.acp_translate import OPEN_CALLS, Translator
from tests.fakes.small_host import SmallHost, types


class Translating:
    def __init__(self, workspace: Path) -> None:
        self.host = SmallHost(workspace, RuntimeSpec(kind="acp"))
        self.translator = Translator(self.host)

    def update(self, session_update: str, **fields: Any) -> None:
        notification = {"sessionId": "s", "update": {"sessionUpdate": session_update, **fields}}
        self.translator.update(schema.SessionNotification.model_validate(notification).update)

    def say(self, text: str, **fields: Any) -> None:
        self.update("agent_message_chunk", content={"type": "text", "text": text}, **fields)

    def call(self, update: str = "tool_call_update", call_id: str = "c", **fields: Any) -> None:
        self.update(update, toolCallId=call_id, **fields)


@pytest.fixture
def one(tmp_path: Path) -> Translating:
    return Translating(tmp_path)


def test_a_message_ends_where_its_agent_begins_another(one: Translating) -> None:
    one.say("a", messageId="1")
    one.say("b", messageId="1")
    one.say("c", messageId="2")
    one.translator.end_turn()
    assert [(m.message_id, m.text) for m in one.host.of(MessageCompleted)] == [("m1", "ab"), ("m2", "c")]


def test_a_thought_between_two_messages_parts_them(one: Translating) -> None:
    one.say("a")
    one.update("agent_thought_chunk", content={"type": "text", "text": "hm"})
    one.say("b")
    one.translator.end_turn()
    assert types(one.host.events) == [
        "run.message.delta", "run.message.completed", "run.thought.delta", "run.message.delta", "run.message.completed",
    ]  # fmt: skip


def test_usage_does_not_part_a_message(one: Translating) -> None:
    one.say("a")
    one.update("usage_update", used=1, size=2)
    one.say("b")
    assert {delta.message_id for delta in one.host.of(MessageDelta)} == {"m1"}


@pytest.mark.parametrize(
    ("block", "shown"),
    [
        ({"type": "image", "data": "", "mimeType": "image/png"}, "[image/png]"),
        ({"type": "resource_link", "name": "a", "uri": "file:///a"}, "[a](file:///a)"),
        ({"type": "resource", "resource": {"uri": "file:///a", "text": "hello"}}, "hello"),
        ({"type": "resource", "resource": {"uri": "file:///a", "blob": "aGk="}}, "[file:///a]"),
    ],
)
def test_what_is_no_text_is_named(one: Translating, block: dict[str, Any], shown: str) -> None:
    one.update("agent_message_chunk", content=block)
    assert one.host.said() == shown


def test_updates_before_the_creation_are_the_same_call(one: Translating) -> None:
    one.call(status="in_progress")
    one.call("tool_call", title="Read a", kind="read")
    one.call(status="completed", rawOutput={"lines": 3})
    (result,) = one.host.of(ToolResult)
    assert (result.title, result.kind, result.output) == ("Read a", "read", '{"lines": 3}')


def test_an_update_that_changes_nothing_is_not_repeated(one: Translating) -> None:
    one.call("tool_call", title="Read a")
    one.call(title="Read a", status="pending")
    assert len(one.host.of(ToolCall)) == 1


def test_a_call_that_is_completed_twice_ends_once(one: Translating) -> None:
    one.call("tool_call", title="Read a", status="completed")
    one.call(status="completed")
    one.translator.end_turn()
    assert len(one.host.of(ToolResult)) == 1
    assert one.host.of(ToolFailed) == []


def test_growing_output_is_shown_now_and_then_and_whole_at_the_end(one: Translating) -> None:
    one.call("tool_call", title="make", status="in_progress")
    for _ in range(200):
        one.call(_meta={"terminal_output": {"data": "line\n", "terminal_id": "c"}})
    one.call(status="completed")
    assert len(one.host.of(ToolCall)) < 100
    assert one.host.of(ToolResult)[0].output == "line\n" * 200


def test_paths_in_the_workspace_are_relative(one: Translating) -> None:
    inside, outside = str(one.host.workspace / "src" / "a.py"), "/etc/hosts"
    one.call("tool_call", title="Read", locations=[{"path": inside}, {"path": outside}, {"path": inside}])
    assert one.host.of(ToolCall)[0].paths == ["src/a.py", "/etc/hosts"]


def test_calls_without_end_do_not_fill_the_memory(one: Translating) -> None:
    for number in range(OPEN_CALLS + 10):
        one.call("tool_call", f"c{number}", title="x")
    assert [call.tool_call_id for call in one.host.of(ToolFailed)] == [f"c{number}" for number in range(10)]
    one.translator.end_turn()
    assert len(one.host.of(ToolFailed)) == OPEN_CALLS + 10


def test_tokens_add_up_over_turns_and_stand_beside_the_context(one: Translating) -> None:
    one.update("usage_update", used=5, size=10)
    for _ in range(2):
        turn = schema.Usage(input_tokens=10, output_tokens=5, total_tokens=15)
        one.translator.turn_usage(turn)
    assert one.host.of(Usage)[-1] == Usage(
        input_tokens=20, output_tokens=10, total_tokens=30, context_used=5, context_size=10
    )


@pytest.mark.parametrize("kind", ["available_commands_update", "current_mode_update", "session_info_update"])
def test_what_no_reader_needs_is_left_out(one: Translating, kind: str) -> None:
    one.update(kind, availableCommands=[], currentModeId="x")
    assert one.host.events == []


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("Read /w/repo/src/a.py", "Read src/a.py"),
        ("`cat /w/repo/a /w/repo2/b`", "`cat a /w/repo2/b`"),
        ("ls /w/repo", "ls /w/repo"),
        ("cat /w/repo/../x file:///w/repo/y", "cat /w/repo/../x file:///w/repo/y"),
    ],
)
def test_a_title_names_files_of_the_workspace_as_people_know_them(title: str, shown: str) -> None:
    assert shown_title(title, Path("/w/repo")) == shown
