"""Tool calls and questions in the agent's words: what is asked for, on which paths, shown within bounds."""

import json
import os.path
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from acp import schema

from nodes.contract.actions import Place, Request
from nodes.contract.events import ToolCall, ToolContent, ToolFailed, ToolResult
from nodes.contract.shell.globs import on_disk

TEXT_BYTES = 12_000
"""A text within an event at most, as JSON."""
TITLE_CHARS = 300
CONTENT_BYTES = 24_000
"""All contents of one event at most, as JSON."""
CONTENT_ITEMS = 20
PATHS = 20
PATH_BYTES = 300
LOCATIONS = 1_000


@dataclass(slots=True)
class Call:
    """A tool call as known so far. Updates may come before its creation, and in any order."""

    id: str
    title: str = ""
    kind: str = "other"
    status: str = "pending"
    paths: list[str] = field(default_factory=list)
    input: str = ""
    content: list[ToolContent] = field(default_factory=list)
    output: str = ""
    printed: str = ""
    raw_input: Any = None
    locations: list[str] = field(default_factory=list)
    """As they were sent, and the paths of the changes that it shows; ``paths`` are for people."""
    changed: list[str] = field(default_factory=list)
    tool: str = ""
    is_closed: bool = False
    emitted: object = None
    emitted_at: float = 0.0

    def merge(self, update: schema.ToolCall | schema.ToolCallUpdate, workspace: Path) -> None:
        """Take over what ``update`` says; what it leaves out stays."""
        self.title = shown_title(update.title, workspace) if update.title else self.title
        self.kind = update.kind or self.kind
        self.status = update.status or self.status
        if update.locations:
            self.locations = [location.path for location in update.locations[:LOCATIONS]]
            self.paths = shown_paths(self.locations, workspace)
        if update.raw_input is not None:
            self.raw_input = update.raw_input
            self.input = clip(as_text(update.raw_input), TEXT_BYTES)
        if update.content is not None:
            self.content = shown_content(update.content, workspace)
            edits = (item for item in update.content if isinstance(item, schema.FileEditToolCallContent))
            self.changed = [item.path for item in islice(edits, LOCATIONS)]
        if name := tool_name(update.field_meta):
            self.tool = name
        if update.raw_output is not None:
            self.output = clip(as_text(update.raw_output), TEXT_BYTES)
        if piece := terminal_output(update.field_meta):
            self.printed = clip(self.printed + piece, TEXT_BYTES)
            self.output = self.printed

    def visible(self) -> tuple[object, ...]:
        """What a reader would see change, but for streamed content."""
        return self.title, self.kind, self.status, tuple(self.paths), self.input

    def as_event(self, *, unfinished: bool = False) -> ToolCall | ToolResult | ToolFailed:
        shown: dict[str, Any] = {"tool_call_id": self.id, "title": self.title, "kind": self.kind}
        shown["content"] = self.content
        if unfinished or self.status == "failed":
            return ToolFailed(**shown, output=self.output, unfinished=unfinished)
        if self.status == "completed":
            return ToolResult(**shown, output=self.output)
        return ToolCall(**shown, status=self.status, paths=self.paths, input=self.input)


def request_of(call: Call, preset: str = "") -> Request:
    """What the classifier has to know of a call: everything as it was sent, nothing as it is shown."""
    return Request(
        kind=call.kind,
        title=call.title,
        raw_input=call.raw_input,
        paths=[*call.locations, *call.changed],
        has_changes=bool(call.changed),
        tool=call.tool,
        preset=preset,
    )


def place_of(workspace: Path) -> Place:
    """The workspace on this machine: links are followed and globs expanded as they are now."""
    return Place(str(workspace), home=str(Path.home()), real=os.path.realpath, matches=on_disk)


def command_of(raw_input: Any) -> str:
    """The command line in a call's input, or nothing."""
    if not isinstance(raw_input, Mapping):
        return ""
    command = raw_input.get("command") or raw_input.get("cmd") or ""
    if isinstance(command, list):
        return shlex.join(str(word) for word in command)
    return command if isinstance(command, str) else ""


def paths_of(raw_input: Any) -> list[str]:
    """Paths named in a call's input, as the agent spells them."""
    if not isinstance(raw_input, Mapping):
        return []
    named = (raw_input.get(key) for key in ("file_path", "filePath", "filepath", "path", "abs_path", "notebook_path"))
    return [path for path in named if isinstance(path, str)]


def shown_paths(paths: Iterable[str], workspace: Path) -> list[str]:
    """Paths relative to the workspace where they lie in it, each once."""
    return list(dict.fromkeys(shown_path(path, workspace) for path in paths if path))[:PATHS]


def shown_path(path: str, workspace: Path) -> str:
    inside = Path(path)
    if inside.is_relative_to(workspace):
        path = str(inside.relative_to(workspace))
    return clip(path, PATH_BYTES)


def shown_title(title: str, workspace: Path) -> str:
    """With paths in the workspace relative to it, which people know them by; what is cut off is no path any more."""
    inside = rf"(?<![\w/.~\-]){re.escape(str(workspace))}/+(?!\.\.(?:/|$))"
    return clip(re.sub(inside, "", title), TITLE_CHARS)


def shown_content(items: Sequence[Any], workspace: Path) -> list[ToolContent]:
    """A call's contents within the bounds of an event."""
    budget = CONTENT_BYTES
    shown = []
    for item in items[:CONTENT_ITEMS]:
        share = min(budget, TEXT_BYTES)
        match item:
            case schema.ContentToolCallContent():
                content = ToolContent(type="text", text=clip(block_text(item.content), share))
                budget -= json_bytes(content.text)
            case schema.FileEditToolCallContent():
                old = None if item.old_text is None else clip(item.old_text, share // 2)
                new = clip(item.new_text, share // 2)
                path = shown_path(item.path, workspace)
                content = ToolContent(type="diff", path=path, old_text=old, new_text=new)
                budget -= json_bytes(old or "") + json_bytes(new)
            case schema.TerminalToolCallContent():
                content = ToolContent(type="terminal", text=clip(item.terminal_id, TITLE_CHARS))
            case _:
                content = ToolContent(type="other")
        shown.append(content)
    return shown


def terminal_output(meta: Mapping[str, Any] | None) -> str:
    """What a command printed, as several agents send it to those who say ``terminal_output`` in their capabilities."""
    piece = (meta or {}).get("terminal_output")
    data = piece.get("data") if isinstance(piece, dict) else None
    return data if isinstance(data, str) else ""


def tool_name(meta: Mapping[str, Any] | None) -> str:
    """The runtime's own name of its tool, where it tells one."""
    told = (meta or {}).get("claudeCode")
    name = told.get("toolName") if isinstance(told, dict) else None
    return name[:TITLE_CHARS] if isinstance(name, str) else ""


def block_text(block: Any) -> str:
    """A content block as text: its text, or what it is."""
    match block:
        case schema.TextContent():
            return block.text
        case schema.ImageContent() | schema.AudioContent():
            return f"[{block.mime_type}]"
        case schema.ResourceLink():
            return f"[{block.name}]({block.uri})"
        case schema.EmbeddedResource():
            resource = block.resource
            return resource.text if isinstance(resource, schema.TextResourceContents) else f"[{resource.uri}]"
        case _:
            return ""


def as_text(value: Any) -> str:
    """A raw input or output for people: text as it is, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def canonical(value: Any) -> str:
    """The one JSON text of ``value``, to make a hash over."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)


def json_bytes(text: str) -> int:
    """How long ``text`` is as JSON in UTF-8."""
    return len(json.dumps(text, ensure_ascii=False).encode("utf-8", "replace")) - 2


def clip(text: str, limit: int) -> str:
    """The longest beginning of ``text`` that fits ``limit`` bytes as JSON, with an ellipsis if it was cut."""
    if len(text) * 6 <= limit or (len(text) <= limit and json_bytes(text) <= limit):
        return text
    room = max(0, limit - 3)
    cut = text[:room]
    while (size := json_bytes(cut)) > room:
        cut = cut[: min(len(cut) - 1, len(cut) * room // size)]
    return cut + "…" if limit >= 3 else ""
