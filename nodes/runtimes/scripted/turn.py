"""What the agent can do within a turn: speak, plan, call tools, ask."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .wire import Cancelled, Wire

OPTIONS = [
    {"optionId": "yes", "name": "Allow once", "kind": "allow_once"},
    {"optionId": "yes-always", "name": "Always allow in this session", "kind": "allow_always"},
    {"optionId": "no", "name": "Reject", "kind": "reject_once"},
]
KINDS = {option["optionId"]: option["kind"] for option in OPTIONS}
WORDS_PER_DELTA = 3
DELTA_SECONDS = 0.06


@dataclass
class Session:
    """What lasts from turn to turn."""

    id: str
    cwd: Path
    servers: list[dict[str, Any]] = field(default_factory=list)
    """The MCP servers that the client named."""
    tools: dict[str, Any] = field(default_factory=dict)
    """Those of them that were started: ``ToolServer`` by name."""
    told: str = ""
    """What tools have answered, one after the other."""
    always: set[str] = field(default_factory=set)
    calls: int = 0
    turns: int = 0
    remembered: list[str] = field(default_factory=list)
    """The prompts of the process that had this session before."""


@dataclass
class Turn:
    """One prompt under way. ``pace`` stretches all pauses; 0 leaves none."""

    wire: Wire
    session: Session
    pace: float = 1.0
    asks: bool = True
    stop_reason: str = "end_turn"
    usage: dict[str, int] | None = None

    def pause(self, seconds: float) -> None:
        """Wait, unless the turn is cancelled."""
        if self.wire.cancelled.wait(seconds * self.pace) or self.wire.cancelled.is_set():
            raise Cancelled

    def update(self, session_update: str, **fields: Any) -> None:
        update = {"sessionUpdate": session_update, **fields}
        self.wire.notify("session/update", {"sessionId": self.session.id, "update": update})

    def chunk(self, text: str, kind: str = "agent_message_chunk") -> None:
        self.update(kind, content={"type": "text", "text": text})

    def say(self, text: str, kind: str = "agent_message_chunk") -> None:
        """A message in several deltas, a few words each."""
        words = text.split(" ")
        for start in range(0, len(words), WORDS_PER_DELTA):
            last = start + WORDS_PER_DELTA >= len(words)
            self.chunk(" ".join(words[start : start + WORDS_PER_DELTA]) + ("" if last else " "), kind)
            self.pause(DELTA_SECONDS)

    def think(self, text: str) -> None:
        self.say(text, "agent_thought_chunk")

    def plan(self, *steps: str, done: int) -> None:
        """The whole plan, with ``done`` of its steps completed and the next one begun."""
        states = ["completed"] * done + ["in_progress"] + ["pending"] * len(steps)
        entries = [
            {"content": step, "priority": "medium", "status": state} for step, state in zip(steps, states, strict=False)
        ]
        self.update("plan", entries=entries)

    def begin(self, title: str, kind: str, path: Path | None = None, **fields: Any) -> str:
        """Announce a tool call; its id is unique in the session."""
        self.session.calls += 1
        number = f"call-{self.session.calls}"
        if path:
            fields["locations"] = [{"path": str(path)}]
        self.update("tool_call", toolCallId=number, title=title, kind=kind, status="pending", **fields)
        return number

    def end(self, number: str, text: str = "", *, failed: bool = False, **fields: Any) -> None:
        if text:
            fields["content"] = [{"type": "content", "content": {"type": "text", "text": text}}]
        self.update("tool_call_update", toolCallId=number, status="failed" if failed else "completed", **fields)

    def ask(self, number: str, title: str, kind: str, **fields: Any) -> str:
        """The kind of the option that the client chose, or ``cancelled``. After *always* it no longer asks."""
        if not self.asks or kind in self.session.always:
            return "allow_always"
        call = {"toolCallId": number, "title": title, "kind": kind, "status": "pending", **fields}
        params = {"sessionId": self.session.id, "toolCall": call, "options": OPTIONS}
        outcome = self.wire.request("session/request_permission", params).get("result", {}).get("outcome", {})
        chosen = KINDS.get(outcome.get("optionId", ""), "cancelled")
        if chosen == "allow_always":
            self.session.always.add(kind)
        if self.wire.cancelled.is_set():
            raise Cancelled
        return chosen

    def read(self, name: str) -> str:
        """Read a file of the workspace, as a tool call."""
        path = self.session.cwd / name
        number = self.begin(f"Read {name}", "read", path, rawInput={"file_path": str(path)})
        self.pause(0.2)
        try:
            text = path.read_text("utf-8", "replace")[:4000]
        except OSError as error:
            self.end(number, f"{name}: {error.strerror}", failed=True)
            return ""
        self.end(number, text)
        return text

    def write(self, name: str, text: str) -> bool:
        """Append to a file of the workspace, if that is allowed. The change is shown before and after."""
        path = self.session.cwd / name
        old = path.read_text("utf-8", "replace") if path.is_file() else None
        new = (old or "") + text
        diff = {"type": "diff", "path": str(path), "oldText": old, "newText": new}
        details = {"content": [diff], "rawInput": {"file_path": str(path), "content": new}}
        number = self.begin(f"Write {name}", "edit", path, **details)
        chosen = self.ask(number, f"Write {name}", "edit", locations=[{"path": str(path)}], **details)
        if not chosen.startswith("allow"):
            self.end(number, f"Not written: {chosen}", failed=True)
            return False
        self.update("tool_call_update", toolCallId=number, status="in_progress")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(new, "utf-8")
        except OSError as error:
            self.end(number, f"{name}: {error.strerror}", failed=True)
            return False
        self.end(number, content=[diff], rawOutput={"lines_added": len(text.splitlines())})
        return True

    def tool(self, server: str, tool: str, arguments: dict[str, Any]) -> str:
        """Call a tool of an MCP server, if that is allowed."""
        from .tools import ToolServer  # few turns need one

        name = f"mcp__{server}__{tool}"
        given = {"server": server, "tool": tool, "arguments": arguments}
        number = self.begin(name, "other", rawInput=given)
        chosen = self.ask(number, name, "other", rawInput=given)
        if not chosen.startswith("allow"):
            self.end(number, f"Not called: {chosen}", failed=True)
            return ""
        if server not in self.session.tools:
            spec = next((each for each in self.session.servers if each["name"] == server), None)
            if spec is None:
                self.end(number, f"There is no server {server}", failed=True)
                return ""
            self.session.tools[server] = ToolServer(spec, self.session.cwd, self.wire)
        text: str
        text, is_error = self.session.tools[server].call(tool, arguments)
        self.session.told += text + "\n"
        self.end(number, text, failed=is_error)
        return text

    def shell(self, command: str, *, ask: bool = True) -> bool:
        """Run a command in the workspace, if that is allowed. A cancel kills it."""
        import subprocess  # a fifth of the agent's start, and most turns run no command

        number = self.begin(command, "execute", rawInput={"command": command})
        if ask:
            chosen = self.ask(number, command, "execute", rawInput={"command": command})
            if not chosen.startswith("allow"):
                self.end(number, f"Not run: {chosen}", failed=True)
                return False
        self.update("tool_call_update", toolCallId=number, status="in_progress")
        with subprocess.Popen(  # noqa: S602 - it is what a shell tool does
            command, shell=True, cwd=self.session.cwd, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as process:  # fmt: skip
            while True:
                try:
                    output = process.communicate(timeout=0.05)[0]
                    break
                except subprocess.TimeoutExpired:
                    if self.wire.cancelled.is_set():
                        process.kill()
                        raise Cancelled from None
        text = output.decode("utf-8", "replace")[:16_000]
        self.end(number, text, failed=process.returncode != 0, rawOutput={"exit_code": process.returncode})
        return process.returncode == 0
