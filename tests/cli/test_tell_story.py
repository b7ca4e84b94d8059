"""Events as lines: every type can be told, and what an agent wrote cannot drive the terminal."""

import io
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.cli.client import Json
from integrations.cli.render import PlainSink, Story, clean
from nodes.contract.events import PAYLOADS

from .small_hub import event

ESCAPES = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202egnp.exe\r"


def told(*events: Json) -> str:
    stream = io.StringIO()
    story = Story(PlainSink(stream))
    for item in events:
        story.tell(item)
    story.sink.finish()
    return stream.getvalue()


def sample(annotation: Any) -> Any:
    """A value for a field of this type, as JSON has it."""
    if hasattr(annotation, "model_fields"):
        return {name: sample(field.annotation) for name, field in annotation.model_fields.items()}
    if get_args(annotation):
        first = get_args(annotation)[0]
        return (
            [sample(first)]
            if str(annotation).startswith("list")
            else sample(first)
            if isinstance(first, type)
            else first
        )
    return {str: ESCAPES, int: 3, float: 1.5, bool: False}[annotation]


@pytest.mark.parametrize("kind", sorted(PAYLOADS))
def test_every_event_of_the_contract_can_be_told_without_control_characters(kind: str) -> None:
    text = told(event(1, kind, **sample(PAYLOADS[kind])))
    assert not [character for character in text if ord(character) < 32 and character not in "\n\t"]
    assert "\x9b" not in text and "\u202e" not in text


@pytest.mark.parametrize("kind", sorted(set(PAYLOADS) - {"run.thought.delta", "run.usage", "run.approval.decided"}))
def test_every_event_that_people_want_says_something(kind: str) -> None:
    values = sample(PAYLOADS[kind]) | ({"state": "waiting"} if kind == "run.state.changed" else {})
    assert told(event(1, kind, **values)).strip()


@given(st.text())
def test_cleaning_keeps_what_can_be_read(text: str) -> None:
    assert clean(clean(text)) == clean(text)
    assert [c for c in text if c.isalnum()] == [c for c in clean(text) if c.isalnum()]


def test_pieces_of_a_message_make_one_line() -> None:
    deltas = [
        event(n, "run.message.delta", message_id="m", text=text) for n, text in enumerate(("One ", "two", "\nthree"), 1)
    ]
    whole = event(9, "run.message.completed", message_id="m", text="One two\nthree")
    assert told(*deltas, whole) == "One two\nthree\n"


def test_a_message_that_came_without_pieces_is_told_whole() -> None:
    assert told(event(1, "run.message.completed", message_id="m", text="Hello.")) == "Hello.\n"


def test_what_interrupts_a_line_begins_a_new_one() -> None:
    delta = event(1, "run.message.delta", message_id="m", text="I will")
    tool = event(2, "run.tool.call", tool_call_id="t", title="Read README.md")
    again = event(3, "run.tool.call", tool_call_id="t", title="Read README.md", status="in_progress")
    done = event(4, "run.tool.result", tool_call_id="t")
    assert told(delta, tool, again, done) == "I will\ntool: Read README.md\ntool done: Read README.md\n"


def test_an_unknown_event_of_a_newer_hub_is_passed_over() -> None:
    assert told(event(1, "run.something.new", text="x")) == ""


def test_a_question_shows_what_would_change_and_its_answer_by_name() -> None:
    option = {"option_id": "x1", "name": "Allow once", "kind": "allow_once"}
    change = {"type": "diff", "path": "hello.py", "old_text": "a\nb\n", "new_text": "a\nc\n"}
    asked = {
        "approval_id": "1",
        "title": "Edit hello.py",
        "paths": ["hello.py"],
        "content": [change],
        "options": [option],
    }
    resolved = {"approval_id": "1", "result": "applied", "outcome": "selected", "option_id": "x1"}
    text = told(event(1, "run.approval.requested", **asked), event(2, "run.approval.resolved", **resolved))
    assert text.splitlines() == [
        "approval needed: Edit hello.py", "  hello.py", "  -b", "  +c", "approval applied: Allow once",
    ]  # fmt: skip


def test_what_is_told_again_is_printed_once() -> None:
    call = {"tool_call_id": "t", "title": "Read notes.md"}
    ended = event(3, "run.tool.result", tool_call_id="t")
    said = event(5, "run.message.completed", message_id="m", text="Done.")
    shown = told(event(1, "run.tool.call", **call), ended, event(2, "run.tool.call", **call), ended, said, said)
    assert shown.splitlines() == ["tool: Read notes.md", "tool done: Read notes.md", "Done."]
    turn = event(6, "run.turn.started", turn=2, input_id="i", text="Again")
    assert told(said, turn, said).splitlines() == ["Done.", "> Again", "Done."]


def test_a_state_that_both_hub_and_node_tell_is_told_once() -> None:
    asked = [event(seq, "run.state.changed", state="stopping", reason="cancel_requested") for seq in (1, 2)]
    assert told(*asked) == "stopping (cancel requested)\n"
    waits = [event(seq, "run.state.changed", state="waiting", reason="input") for seq in (1, 3)]
    goes_on = event(2, "run.state.changed", state="running")
    assert told(waits[0], goes_on, waits[1]) == "waiting (input)\n" * 2
