"""The page's modules by themselves, in the browser they are written for."""

import json
from typing import Any

import pytest
from playwright.sync_api import Page

from nodes.contract import events as contract

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]
MODULES = "/static/agenthub"


def call(page: Page, module: str, expression: str, argument: Any = None) -> Any:
    """The value of a JavaScript expression over the module's exports ``m`` and ``arg``."""
    return page.evaluate(
        f"async arg => {{ const m = await import('{MODULES}/{module}'); return ({expression}); }}", argument
    )


def envelopes(*payloads: contract.Payload) -> list[dict[str, Any]]:
    at = "2026-11-21T02:13:00.000000Z"
    return [
        {"seq": seq, "type": p.TYPE, "occurred_at": at, "recorded_at": at, "payload": json.loads(p.model_dump_json())}
        for seq, p in enumerate(payloads, 1)
    ]


def items(page: Page, *payloads: contract.Payload) -> Any:
    """The timeline's items after these events."""
    return call(
        page, "model.js",
        "(model => { for (const event of arg) model.apply(event); return model.items; })(new m.RunModel())",
        envelopes(*payloads),
    )  # fmt: skip


@pytest.mark.parametrize("step", [1, 2, 7, 1000])
def test_frames_are_found_however_they_are_cut(web: Page, step: int) -> None:
    text = 'retry: 9\n\n: hi\n\nid: 1\ndata: {"a":1}\n\nevent: state\r\ndata: {}\r\n\r\nid: 2\ndata: x\ndata: y\n\nrest'
    pieces = [text[start : start + step] for start in range(0, len(text), step)]
    frames = call(web, "stream.js", "(p => arg.flatMap(text => p.push(text)))(new m.FrameParser())", pieces)
    assert frames == [
        {"event": "message", "data": '{"a":1}'},
        {"event": "state", "data": "{}"},
        {"event": "message", "data": "x\ny"},
    ]


@pytest.mark.parametrize(
    ("raw", "plain"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("10%\r20%\rdone\nnext", "done\nnext"),
        ("line\r\nnext\r\n", "line\nnext\n"),
        ("bell\x07\x00 tab\t", "bell tab\t"),
        ("\x1b(B\x1b[?25lx", "x"),
    ],
)
def test_terminal_codes_are_not_shown(web: Page, raw: str, plain: str) -> None:
    assert call(web, "render/text.js", "m.stripTerminal(arg)", raw) == plain


def test_a_line_diff_keeps_what_is_the_same(web: Page) -> None:
    lines = call(web, "render/text.js", "m.lineDiff('a\\nb\\nc\\nd\\n', 'a\\nB\\nc\\nd\\ne\\n', 1)")
    assert [line["sign"] + line["text"] for line in lines] == [" a", "-b", "+B", " c", " d", "+e"]


def test_a_line_diff_of_a_new_file_only_adds(web: Page) -> None:
    assert call(web, "render/text.js", "m.lineDiff(null, 'x\\ny')") == [
        {"sign": "+", "text": "x"},
        {"sign": "+", "text": "y"},
    ]


def test_a_line_diff_of_long_files_stays_quick(web: Page) -> None:
    lines = call(web, "render/text.js", "m.lineDiff('a\\n'.repeat(5000) + 'x', 'b\\n'.repeat(5000)).length")
    assert lines == 10_001


def test_deltas_become_one_message_and_its_completion_has_the_last_word(web: Page) -> None:
    shown = items(
        web,
        contract.MessageDelta(message_id="1", text="Hel"),
        contract.MessageDelta(message_id="1", text="lo"),
        contract.MessageCompleted(message_id="1", text="Hello."),
        contract.MessageDelta(message_id="2", text="More"),
    )
    assert [(item["text"], item["done"]) for item in shown] == [("Hello.", True), ("More", False)]


def test_a_cut_completion_does_not_shorten_a_message(web: Page) -> None:
    shown = items(
        web,
        contract.MessageDelta(message_id="1", text="A long message"),
        contract.MessageCompleted(message_id="1", text="A long", truncated=True),
    )
    assert shown[0]["text"] == "A long message"


def test_a_tool_call_is_one_item_whatever_comes_first(web: Page) -> None:
    shown = items(
        web,
        contract.ToolResult(tool_call_id="1", output="ok"),
        contract.ToolCall(tool_call_id="2", title="Run", kind="execute"),
        contract.ToolFailed(tool_call_id="2", unfinished=True),
    )
    assert [(i["key"], i["status"]) for i in shown] == [("tool:1", "completed"), ("tool:2", "failed")]
    assert shown[1]["title"] == "Run" and shown[1]["unfinished"] is True


def test_ten_megabytes_of_output_are_bounded(web: Page) -> None:
    size = call(
        web, "model.js",
        """(() => { const model = new m.RunModel(), payload = {stream: 'stdout', text: 'x'.repeat(50000)};
        for (let seq = 1; seq <= 200; seq += 1) model.apply({seq, type: 'run.output', payload});
        const [item] = model.items;
        return [item.chars <= 100000, item.chars + item.dropped, model.items.length]; })()""",
    )  # fmt: skip
    assert size == [True, 10_000_000, 1]


def test_an_unknown_type_is_shown_by_its_name(web: Page) -> None:
    event = {"seq": 1, "type": "run.of.tomorrow", "payload": {}}
    title = call(web, "model.js", "(model => (model.apply(arg), model.items[0].title))(new m.RunModel())", event)
    assert title == "run.of.tomorrow"


def test_an_interrupted_stream_of_markdown_equals_a_whole_one(web: Page) -> None:
    text = "# Title\n\nSome *text*.\n\n- one\n- two\n\n```py\nx = 1\n\ny = 2\n```\n\nThe end with `code`."
    web.goto(f"{web.url.partition('/runs')[0]}/runs/new/")
    web.add_script_tag(url="/static/vendor/dompurify/purify.min.js")
    grown, whole = call(
        web, "render/markdown.js",
        """(() => { const a = document.createElement('div'), b = document.createElement('div');
        const growing = new m.GrowingMarkdown(a);
        for (let end = 1; end <= arg.length; end += 1) growing.update(arg.slice(0, end), false);
        new m.GrowingMarkdown(b).update(arg, true); return [a.innerText, b.innerText]; })()""",
        text,
    )  # fmt: skip
    assert grown == whole


def test_counts_are_shown_only_where_lines_were_counted(web: Page) -> None:
    files = [
        {"additions": 3, "deletions": 1, "binary": False, "status": "modified"},
        {"additions": 0, "deletions": 0, "binary": True, "status": "modified"},
        {"additions": 0, "deletions": 0, "binary": False, "status": "modified"},
        {"additions": 0, "deletions": 0, "binary": False, "status": "renamed"},
        {"additions": 0, "deletions": 0, "binary": False, "status": "added"},
        {"additions": 0, "deletions": 0},
    ]
    shown = call(web, "dom.js", "arg.map(file => m.counts(file)?.textContent ?? null)", files)
    assert shown == ["+3 \N{MINUS SIGN}1", "binary", "mode", "renamed", "empty", None]


def test_what_was_under_way_at_the_end_is_unfinished(web: Page) -> None:
    shown = items(
        web,
        contract.ToolCall(tool_call_id="1", title="Run", kind="execute", status="in_progress"),
        contract.ToolResult(tool_call_id="2"),
        contract.RunFailed(reason="agent_exited"),
    )
    assert [item.get("unfinished", False) for item in shown[:2]] == [True, False]


def test_a_stop_that_two_tell_of_is_one_line(web: Page) -> None:
    stopping = contract.StateChanged(state="stopping", reason="cancel_requested")
    shown = items(web, stopping, stopping, contract.RunCancelled())
    assert [item["kind"] for item in shown] == ["state", "ending"]


def test_what_is_to_come_is_told_to_the_nearest_unit(web: Page) -> None:
    in_days, in_minutes, past = 90 * 86_400_000 - 5_000, 3_595_000, -89_900_000
    told = call(web, "times.js", "arg.map(ms => m.ago(ms, 0))", [in_days, in_minutes, past])
    assert told == ["in 90 d", "in 1 h", "1 d ago"]
