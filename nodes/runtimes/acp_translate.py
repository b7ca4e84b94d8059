"""From ACP's session updates to a run's events. Synchronous, so that their order is the pipe's order."""

from pathlib import Path
from time import monotonic
from typing import Any

from acp import schema

from nodes.contract.events import MessageCompleted, PlanEntry, PlanUpdated, Usage
from nodes.contract.runtime import Host

from .acp_tools import Call, block_text, clip, json_bytes

MESSAGE_BYTES = 48_000
"""How much of a message its completion repeats; the deltas hold the rest."""
PLAN_ENTRIES = 50
PLAN_ENTRY_BYTES = 1_000
OPEN_CALLS = 500
"""Tool calls remembered at once; beyond that the oldest are closed and forgotten."""
CONTENT_SECONDS = 0.25
"""A call's growing content is shown at most so often; its end always."""


class Translator:
    """What the agent said so far in this turn, and what of it readers already know."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._messages = 0
        self._message: tuple[str, str | None] | None = None  # our kind, the agent's id
        self._message_id = ""
        self._text: list[str] = []
        self._text_bytes = 0
        self._is_cut = False
        self._calls: dict[str, Call] = {}
        self._usage = Usage()
        self.has_spoken = False
        """Whether this turn showed anything at all: a word, a thought, a plan or a tool call."""

    @property
    def _workspace(self) -> Path:
        return self._host.workspace

    def begin_turn(self) -> None:
        self.has_spoken = False

    def end_turn(self) -> None:
        """Complete the open message and close what is left of the tool calls."""
        self._complete_message()
        for call in self._calls.values():
            if not call.is_closed:
                self._host.emit(call.as_event(unfinished=True))
        self._calls.clear()

    def update(self, update: Any) -> None:
        """Emit what an update of the session says. Kinds that no reader needs are left out."""
        match update:
            case schema.AgentMessageChunk():
                self._speak("message", block_text(update.content), update.message_id)
            case schema.AgentThoughtChunk():
                self._speak("thought", block_text(update.content), update.message_id)
            case schema.ToolCallStart() | schema.ToolCallProgress():
                self.upsert(update)
            case schema.AgentPlanUpdate():
                self._plan(update.entries)
            case schema.AgentPlanContentUpdate() if isinstance(update.plan, schema.PlanUpdateItems):
                self._plan(update.plan.entries)
            case schema.UsageUpdate():
                cost = {"cost": update.cost.amount, "currency": update.cost.currency[:10]} if update.cost else {}
                self.usage(context_used=update.used, context_size=update.size, **cost)

    def upsert(self, update: schema.ToolCall | schema.ToolCallUpdate) -> Call:
        """The call of that id with ``update`` merged in, shown to readers where it changed."""
        self._complete_message()
        self.has_spoken = True
        call = self._calls.get(update.tool_call_id)
        if call is None:
            self._make_room()
            call = self._calls[update.tool_call_id] = Call(update.tool_call_id[:200])
        was_closed, before = call.is_closed, (call.content, call.output)
        call.merge(update, self._workspace)
        call.is_closed = call.status in {"completed", "failed"}
        visible = call.visible()
        has_content = (call.content, call.output) != before
        is_due = has_content and (call.is_closed or monotonic() - call.emitted_at >= CONTENT_SECONDS)
        if visible != call.emitted or is_due or was_closed != call.is_closed:
            call.emitted, call.emitted_at = visible, monotonic()
            self._host.emit(call.as_event())
        return call

    def usage(self, **known: Any) -> None:
        """Replace what is known of tokens and cost; readers get all of it when something changed."""
        usage = self._usage.model_copy(update=known)
        if usage != self._usage:
            self._usage = usage
            self._host.emit(usage)

    def turn_usage(self, usage: schema.Usage) -> None:
        """Add a turn's tokens to the run's. (The schema says *session*; the agents we drive count each turn anew.)"""
        known = self._usage
        self.usage(
            input_tokens=(known.input_tokens or 0) + usage.input_tokens,
            output_tokens=(known.output_tokens or 0) + usage.output_tokens,
            total_tokens=(known.total_tokens or 0) + usage.total_tokens,
        )

    def _speak(self, kind: str, text: str, agents_id: str | None) -> None:
        if not text:
            return
        self.has_spoken = True
        if self._message != (kind, agents_id):
            self._complete_message()
            self._messages += 1
            self._message, self._message_id = (kind, agents_id), f"m{self._messages}"
        if kind == "thought":
            self._host.emit_text("thought", text, self._message_id)
            return
        self._host.emit_text("message", text, self._message_id)
        if not self._is_cut:
            room = MESSAGE_BYTES - self._text_bytes
            size = json_bytes(text) if len(text) <= room else room + 1
            self._is_cut = size > room
            self._text.append(clip(text, room) if self._is_cut else text)
            self._text_bytes += min(size, room)

    def _complete_message(self) -> None:
        if self._message and self._message[0] == "message":
            text = "".join(self._text)
            self._host.emit(MessageCompleted(message_id=self._message_id, text=text, truncated=self._is_cut))
        self._message = None
        self._text.clear()
        self._text_bytes, self._is_cut = 0, False

    def _plan(self, entries: list[schema.PlanEntry]) -> None:
        self._complete_message()
        self.has_spoken = True
        shown = [
            PlanEntry(content=clip(entry.content, PLAN_ENTRY_BYTES), priority=entry.priority, status=entry.status)
            for entry in entries[:PLAN_ENTRIES]
        ]
        self._host.emit(PlanUpdated(entries=shown))

    def _make_room(self) -> None:
        while len(self._calls) >= OPEN_CALLS:
            oldest = self._calls.pop(next(iter(self._calls)))
            if not oldest.is_closed:
                self._host.emit(oldest.as_event(unfinished=True))
