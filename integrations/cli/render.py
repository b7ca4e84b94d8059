"""A run's events as lines for people. What an agent wrote is data: control characters do not reach a terminal."""

import re
import sys
from collections.abc import Sequence
from typing import IO, Any, Final, Protocol

from .client import Json

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_UNSEEN: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
_STYLES: Final = {"dim": "\033[2m", "bold": "\033[1m", "good": "\033[32m", "bad": "\033[31m", "ask": "\033[33m"}
_STATE_STYLES: Final = {"succeeded": "good", "failed": "bad", "timed_out": "bad", "cancelled": "ask"}
DETAIL_LINES: Final = 12
COMPARED_LINES: Final = 2_000
LINE_CHARS: Final = 400
CONTENTS: Final = 3


def clean(text: str) -> str:
    """Without control characters and direction overrides; tabs and line ends stay."""
    return _CONTROL.sub("", text.replace("\r\n", "\n"))


def visible(text: str) -> str:
    """With control characters written out, as ``\\x1b``: for what somebody is about to allow, nothing is left out."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text.replace("\r\n", "\n"))


def one_line(text: str, limit: int = LINE_CHARS) -> str:
    """On one line, and no longer than ``limit``: it cannot pass for a line of ours."""
    line = visible(" ".join(text.split()))
    return line if len(line) <= limit else f"{line[:limit]}… ({len(line) - limit} characters more)"


def counted(count: int, what: str) -> str:
    """``1 run``, ``2 runs``."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def short_id(run: str) -> str:
    """The end of an id: ids begin with the time, so beginnings are alike."""
    return run.replace("-", "")[-8:]


class Sink(Protocol):
    """Where lines go."""

    def text(self, text: str, style: str = "") -> None:
        """A piece of a text; a line may be made of several pieces."""
        ...

    def line(self, text: str, style: str = "") -> None:
        """One whole line; an unfinished one is finished first."""
        ...

    def status(self, text: str) -> None:
        """What is going on now, where there is a place for it."""
        ...

    def close(self) -> None:
        """Finish an unfinished line."""
        ...

    def pause(self) -> None:
        """Leave the terminal to a question."""
        ...

    def resume(self) -> None: ...

    def finish(self) -> None:
        """Nothing follows."""
        ...


class PlainSink:
    """Plain lines, for pipes and files; with ``colour`` for a terminal that has no place for a status line."""

    def __init__(self, stream: IO[str] | None = None, *, colour: bool = False) -> None:
        self._stream = stream or sys.stdout
        self._colour = colour
        self._is_open = False

    def text(self, text: str, style: str = "") -> None:
        if text:
            self._write(text, style)
            self._is_open = not text.endswith("\n")

    def line(self, text: str, style: str = "") -> None:
        self.close()
        self._write(text, style)
        self._stream.write("\n")
        self._stream.flush()

    def _write(self, text: str, style: str) -> None:
        before, after = (_STYLES[style], "\033[0m") if self._colour and style else ("", "")
        self._stream.write(f"{before}{text}{after}")
        self._stream.flush()

    def status(self, text: str) -> None:
        pass

    def close(self) -> None:
        if self._is_open:
            self._stream.write("\n")
            self._stream.flush()
        self._is_open = False

    def pause(self) -> None:
        self.close()

    def resume(self) -> None:
        pass

    def finish(self) -> None:
        self.close()


class Story:
    """Tells a run: one call of ``tell`` per event, in order."""

    def __init__(self, sink: Sink, *, thoughts: bool = False) -> None:
        self.sink = sink
        self._thoughts = thoughts
        self._open = ""
        """What the unfinished line belongs to: a message's id, a stream's name."""
        self._heard: set[str] = set()
        self._last_message = ("", "")
        self._tools: dict[str, str] = {}
        """Titles of tool calls, by id; several runtimes tell a call and its end more than once."""
        self._ended_tools: dict[str, str] = {}
        self._options: dict[tuple[str, str], str] = {}
        """The names of the options of open questions, by approval and option."""
        self._state_said = ""

    def tell(self, envelope: Json) -> None:
        payload = envelope["payload"]
        name = "_on_" + envelope["type"].replace(".", "_")
        if handler := getattr(self, name, None):
            handler(payload)

    def _say(self, text: str, style: str = "") -> None:
        self._open = ""
        self.sink.line(clean(text), style)

    def _stream(self, belongs_to: str, text: str, style: str = "") -> None:
        if self._open and self._open != belongs_to:
            self.sink.close()
        self._open = belongs_to
        self.sink.text(clean(text), style)

    def _on_run_started(self, payload: Json) -> None:
        what = " ".join(
            filter(None, (payload.get("runtime_name") or payload["runtime"], payload.get("runtime_version")))
        )
        branch = f" on {payload['branch']}" if payload.get("branch") else ""
        session = ", in the session of the run before" if payload.get("has_resumed") else ""
        self._say(f"started {what} in {payload['workspace']}{branch}{session}", "dim")

    def _on_run_turn_started(self, payload: Json) -> None:
        self._tools.clear()  # ids of tool calls and messages may begin anew
        self._ended_tools.clear()
        self._last_message = ("", "")
        lines = payload["text"].strip().splitlines() or [""]
        self._say(f"> {lines[0]}{' …' if len(lines) > 1 or payload.get('truncated') else ''}", "bold")
        self.sink.status("working")

    def _on_run_turn_completed(self, payload: Json) -> None:
        if payload["stop_reason"] != "end_turn":
            self._say(f"the turn ended: {payload['stop_reason'].replace('_', ' ')}", "dim")

    def _on_run_message_delta(self, payload: Json) -> None:
        self._heard.add(payload["message_id"])
        self._stream(payload["message_id"], payload["text"])

    def _on_run_message_completed(self, payload: Json) -> None:
        told = (payload["message_id"], payload["text"])
        if payload["message_id"] not in self._heard and told != self._last_message:
            self._stream(*told)
        self._last_message = told
        self._heard.discard(payload["message_id"])
        self.sink.close()
        self._open = ""

    def _on_run_thought_delta(self, payload: Json) -> None:
        self.sink.status("thinking")
        if self._thoughts:
            self._stream(f"thought {payload['message_id']}", payload["text"], "dim")

    def _on_run_output(self, payload: Json) -> None:
        self._stream(payload["stream"], payload["text"], "dim" if payload["stream"] == "stderr" else "")

    def _on_run_plan_updated(self, payload: Json) -> None:
        entries = payload["entries"]
        done = sum(entry.get("status") == "completed" for entry in entries)
        now = next((entry["content"] for entry in entries if entry.get("status") == "in_progress"), "")
        self._say(f"plan: {done} of {len(entries)} done{f'; now: {now}' if now else ''}", "dim")

    def _on_run_tool_call(self, payload: Json) -> None:
        title = payload.get("title") or self._tools.get(payload["tool_call_id"]) or payload.get("kind") or "tool"
        if payload["tool_call_id"] in self._ended_tools:
            return
        if self._tools.get(payload["tool_call_id"]) != title:
            self._tools[payload["tool_call_id"]] = title
            self._say(f"tool: {title}", "dim")
        self.sink.status(clean(title))

    def _on_run_tool_result(self, payload: Json) -> None:
        self._end_tool(payload, "done", "dim")

    def _on_run_tool_failed(self, payload: Json) -> None:
        self._end_tool(payload, "unfinished" if payload.get("unfinished") else "failed", "bad")

    def _end_tool(self, payload: Json, how: str, style: str) -> None:
        call = payload["tool_call_id"]
        title = self._tools.get(call) or payload.get("title") or payload.get("kind") or "tool"
        if self._ended_tools.get(call) == how:
            return
        self._ended_tools[call] = how
        self._say(f"tool {how}: {title}", style)
        self.sink.status("working")

    def _on_run_approval_requested(self, payload: Json) -> None:
        self._say(f"approval needed: {one_line(payload['title'])}", "ask")
        for line in details_of(payload):
            self._say(f"  {line}", "ask")
        for option in payload["options"]:
            self._options[payload["approval_id"], option["option_id"]] = option["name"]
        self.sink.status("waiting for an answer")

    def _on_run_approval_resolved(self, payload: Json) -> None:
        option = payload.get("option_id") or ""
        answer = self._options.get((payload["approval_id"], option)) or option or payload["outcome"]
        self._say(f"approval {payload['result'].replace('_', ' ')}: {answer}", "ask")
        self.sink.status("working")

    def _on_run_policy_decided(self, payload: Json) -> None:
        said, style = ("allowed", "dim") if payload["verdict"] == "allow" else ("denied", "bad")
        self._say(f"policy {said}: {one_line(payload['title'])}", style)

    def _on_run_diff_ready(self, payload: Json) -> None:
        count = payload["files_changed"]
        files = "1 file" if count == 1 else f"{count} files"
        self._say(f"diff: {files}, +{payload['additions']} -{payload['deletions']}" if count else "diff: no changes")

    def _on_run_artifact_ready(self, payload: Json) -> None:
        self._say(f"artifact: {payload['name']} ({payload['blob']['size']} bytes)")

    def _on_run_state_changed(self, payload: Json) -> None:
        reason = payload.get("reason") or ""
        if payload["state"] == "waiting" and reason == "approval":
            return  # the question itself has been told
        if payload["state"] in ("running", "starting") and reason != "node_offline":
            self.sink.status(clean(payload["state"]))
            self._state_said = ""
            return
        said = _with_reason(payload["state"], reason, payload.get("message") or "")
        if said != self._state_said:  # the hub says that it asked, and the node that it obeys: in the same words
            self._say(said, "dim")
        self._state_said = said

    def _on_runtime_unavailable(self, payload: Json) -> None:
        self._say(payload["message"], "bad")

    def _on_runtime_timeout(self, payload: Json) -> None:
        self._say(f"out of time: the {payload['what']} took more than {payload['seconds']:g} s", "bad")

    def _on_schema_validation_failed(self, payload: Json) -> None:
        self._say(f"left out something that does not fit ({payload['source']}): {payload['error']}", "bad")

    def _on_run_gap_found(self, payload: Json) -> None:
        self._say(f"part of the record is lost: {payload['message'] or 'damaged on the node'}", "bad")

    def _on_run_completed(self, payload: Json) -> None:
        self._say("succeeded", "good")

    def _on_run_failed(self, payload: Json) -> None:
        self._say(_with_reason("failed", payload["reason"], payload.get("message") or ""), "bad")

    def _on_run_cancelled(self, payload: Json) -> None:
        reason = payload.get("reason") or ""
        self._say(
            _with_reason("cancelled", "" if reason == "cancelled" else reason, payload.get("message") or ""), "ask"
        )


def details_of(request: Json) -> list[str]:
    """What an approval is about, beyond its title: command, paths, texts, and what an edit would change.

    Bounded in lines and in their length, and says what it leaves out.
    """
    lines = _bounded([f"$ {line}" for line in (request.get("command") or "").splitlines()])
    content = request.get("content") or []
    changed_paths = {part.get("path") for part in content if part["type"] == "diff"}
    lines += _bounded([path for path in request.get("paths") or [] if path not in changed_paths])
    for part in content[:CONTENTS]:
        if part["type"] == "diff":
            lines.append(part.get("path") or "")
            lines += _bounded(_changed_lines(part.get("old_text") or "", part.get("new_text") or ""))
        elif part.get("text") and part["text"] != request.get("command"):
            lines += _bounded(part["text"].splitlines())
    if len(content) > CONTENTS:
        lines.append(f"… and {len(content) - CONTENTS} parts more")
    return [_cut(visible(line)) for line in lines]


def _bounded(lines: list[str]) -> list[str]:
    left = len(lines) - DETAIL_LINES
    return lines if left <= 0 else [*lines[:DETAIL_LINES], f"… and {left} lines more"]


def _cut(line: str) -> str:
    return line if len(line) <= LINE_CHARS else f"{line[:LINE_CHARS]}… ({len(line) - LINE_CHARS} characters more)"


def _changed_lines(old: str, new: str) -> list[str]:
    import difflib

    compared = difflib.unified_diff(old.splitlines()[:COMPARED_LINES], new.splitlines()[:COMPARED_LINES], n=0)
    return [line for line in list(compared)[2:] if not line.startswith("@@")]


def _with_reason(state: str, reason: str, message: str) -> str:
    text = state.replace("_", " ")
    if reason and reason != state:
        text += f" ({reason.replace('_', ' ')})"
    return f"{text}: {message}" if message else text


def state_style(state: str) -> str:
    return _STATE_STYLES.get(state, "")


def table(rows: Sequence[Sequence[Any]], heads: Sequence[str], stream: IO[str]) -> None:
    """Aligned columns; the last one takes what is left of a terminal's line."""
    texts = [[clean(str(cell)).replace("\n", " ") for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in [list(heads), *texts]) for column in range(len(heads) - 1)]
    limit = _columns(stream)
    for row in [list(heads), *texts]:
        line = "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]).rstrip()
        stream.write((line if limit is None or len(line) <= limit else line[: limit - 1] + "…") + "\n")


def _columns(stream: IO[str]) -> int | None:
    if not stream.isatty():
        return None
    import shutil

    return shutil.get_terminal_size().columns
