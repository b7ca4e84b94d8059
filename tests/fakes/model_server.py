"""A model server for real agents: one loopback port, three protocols, streamed, scripted by the prompt.

It speaks OpenAI chat completions (OpenCode), Anthropic messages (Claude Code) and OpenAI
responses (Codex). A prompt holds directives in double brackets; each model call of the
turn plays the next one, and when none is left the model says "All done.":

    [[write notes.txt some text]]   the runtime's own tool for writing a file
    [[shell echo hello]]            the runtime's own tool for running a command
    [[tool hub_status {}]]          a tool of an MCP server; "$name" in its arguments is what tools last told so named
    [[say some text]]               a text (ends the turn, as models do)
    [[slow 40]]                     a text of so many words, 20 a second
    [[hang]]                        the answer begins and never goes on
    [[error]]                       HTTP 400, which no client tries again

Requests without tools are the agents' own errands, such as naming a session: they get a word.
"""

import asyncio
import itertools
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import h11

DIRECTIVE = re.compile(r"\[\[(write|shell|tool|say|slow|hang|error)\s*(.*?)\]\]", re.DOTALL)
WORD_SECONDS = 0.05
WAITING = "WaitForMcpServers"
"""Claude Code's own tool, while servers of tools are on their way."""
_NUMBERS = itertools.count(1)
Json = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """What the model does next; ``tool`` and ``arguments`` are the runtime's own."""

    kind: str
    text: str = ""
    tool: str = ""
    namespace: str = ""
    arguments: Json = field(default_factory=dict)

    def words(self) -> list[str]:
        if self.kind == "slow":
            return [f"word{index} " for index in range(int(self.text or 20))]
        return [self.text[start : start + 12] for start in range(0, len(self.text), 12)]


@dataclass
class Ask:
    """One model call, whatever its protocol: the prompt's directives, and what tools have answered since."""

    prompt: str
    answers: list[str]
    """What tools have told since."""
    tools: dict[str, Json]

    def step(self, cwd: str) -> Step:
        directives = DIRECTIVE.findall(self.prompt)
        if not self.tools:
            return Step("say", "Errand")
        if len(self.answers) >= len(directives):
            return Step("say", "All done.")
        kind, argument = directives[len(self.answers)]
        if kind == "write":
            path, _, text = argument.partition(" ")
            return self._tool(WRITERS, f"{cwd}/{path}", text + "\n")
        if kind == "shell":
            return self._tool(SHELLS, argument, "")
        if kind == "tool":
            name, _, arguments = argument.partition(" ")
            given = re.sub(r'"\$(\w+)"', lambda found: json.dumps(self._told(found[1])), arguments)
            mine = next((tool for tool in self.tools if tool.endswith(f"_{name}")), "")
            if not mine and WAITING in self.tools:
                return Step("tool", tool=WAITING)
            space = self.tools[mine].get("namespace", "") if mine else ""
            mine = self.tools[mine].get("name", mine) if space else mine
            step = Step("tool", tool=mine, namespace=space, arguments=json.loads(given) if mine else {})
            return step if mine else self._missing(name)
        return Step(kind, argument)

    def _told(self, name: str) -> str:
        found = re.findall(rf'\b{name}\\*": *\\*"([^"\\]*)', "\n".join(self.answers))
        return str(found[-1]) if found else f"${name}"

    def _missing(self, name: str) -> Step:
        return Step("say", f"There is no tool {name} among {sorted(self.tools)}")

    def _tool(self, known: dict[str, Callable[[str, str], Json]], first: str, second: str) -> Step:
        name = next((name for name in known if name in self.tools), "")
        if not name:
            return self._missing("for this")
        return Step("tool", tool=name, arguments=known[name](first, second))


WRITERS: dict[str, Callable[[str, str], Json]] = {
    "write": lambda path, text: {"filePath": path, "content": text},
    "Write": lambda path, text: {"file_path": path, "content": text},
    "exec_command": lambda path, text: {
        "cmd": f"apply_patch <<'EOF'\n*** Begin Patch\n*** Add File: {path}\n+{text}*** End Patch\nEOF"
    },
}
SHELLS: dict[str, Callable[[str, str], Json]] = {
    "bash": lambda command, _: {"command": command, "description": "a command"},
    "Bash": lambda command, _: {"command": command, "description": "a command"},
    "exec_command": lambda command, _: {
        "cmd": command,
        "sandbox_permissions": "require_escalated",
        "justification": "to try it",
    },
    "shell_command": lambda command, _: {"command": command},
    "shell": lambda command, _: {"command": ["bash", "-c", command]},
}


@dataclass
class ModelServer:
    """A running server. ``cwd`` is where the agent under test works."""

    cwd: str = "/"
    port: int = 0
    calls: list[tuple[str, Step]] = field(default_factory=list)
    bodies: list[Json] = field(default_factory=list)
    serving: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self.serving.add(task)
        task.add_done_callback(self.serving.discard)
        with suppress(ConnectionError, asyncio.CancelledError, h11.RemoteProtocolError):
            wire = Http(reader, writer)
            while request := await wire.request():
                await self.answer(wire, *request)
        writer.close()

    async def answer(self, wire: "Http", method: str, target: str, body: Json) -> None:
        path = target.partition("?")[0]
        dialect = next((dialect for end, dialect in DIALECTS.items() if path.endswith(end)), None)
        if method != "POST" or dialect is None:
            await wire.reply(404, {"error": {"message": f"no {method} {path} here", "type": "not_found"}})
            return
        step = dialect.ask(body).step(self.cwd)
        self.calls.append((path, step))
        self.bodies.append(body)
        if step.kind == "error":
            await wire.reply(
                400, {"type": "error", "error": {"type": "invalid_request_error", "message": "no model today"}}
            )
            return
        if not body.get("stream"):
            await wire.reply(200, dialect.whole(step))
            return
        await wire.begin_stream()
        async for name, event in paced(dialect.stream(step), step):
            await wire.event(name, event, has_names=dialect.has_names)
        await wire.end_stream()


async def paced(events: list[tuple[str, Json]], step: Step) -> AsyncIterator[tuple[str, Json]]:
    for index, event in enumerate(events):
        if step.kind == "hang" and index:
            await asyncio.sleep(3600)
        if step.kind == "slow":
            await asyncio.sleep(WORD_SECONDS)
        yield event


class Http:
    """A little HTTP/1.1 over h11: one request after the other, replies whole or as server-sent events."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._state = h11.Connection(h11.SERVER)
        self._method = b""

    async def request(self) -> tuple[str, str, Json] | None:
        if self._state.our_state is h11.DONE:
            self._state.start_next_cycle()
        head: h11.Request | None = None
        body = b""
        while True:
            event = self._state.next_event()
            match event:
                case h11.NEED_DATA:
                    self._state.receive_data(await self._reader.read(65536))
                case h11.Request():
                    head = event
                    self._method = event.method
                case h11.Data():
                    body += event.data
                case h11.EndOfMessage() if head:
                    return head.method.decode(), head.target.decode(), json.loads(body or b"{}")
                case _:
                    return None

    async def reply(self, status: int, body: Json) -> None:
        data = json.dumps(body).encode()
        headers = [("content-type", "application/json"), ("content-length", str(len(data)))]
        await self._send(h11.Response(status_code=status, headers=headers))
        if self._method != b"HEAD":
            await self._send(h11.Data(data=data))
        await self._send(h11.EndOfMessage())

    async def begin_stream(self) -> None:
        headers = [("content-type", "text/event-stream"), ("transfer-encoding", "chunked")]
        await self._send(h11.Response(status_code=200, headers=headers))

    async def event(self, name: str, event: Json, *, has_names: bool) -> None:
        head = f"event: {name}\n" if has_names else ""
        await self._send(h11.Data(data=f"{head}data: {json.dumps(event)}\n\n".encode()))

    async def end_stream(self) -> None:
        await self._send(h11.Data(data=b"data: [DONE]\n\n"))
        await self._send(h11.EndOfMessage())

    async def _send(self, event: Any) -> None:
        self._writer.write(self._state.send(event) or b"")
        await self._writer.drain()


class Chat:
    """OpenAI chat completions."""

    has_names = False

    @staticmethod
    def ask(body: Json) -> Ask:
        tools = {tool["function"]["name"]: tool for tool in body.get("tools") or []}
        return scan(((m.get("role") == "tool", text_of(m.get("content"))) for m in body["messages"]), tools)

    @staticmethod
    def stream(step: Step) -> list[tuple[str, Json]]:
        deltas: list[Json] = [{"role": "assistant", "content": ""}]
        if step.kind == "tool":
            function = {"name": step.tool, "arguments": json.dumps(step.arguments)}
            deltas.append({"tool_calls": [{"index": 0, "id": call_id(), "type": "function", "function": function}]})
        else:
            deltas += [{"content": word} for word in step.words()]
        number = f"chat-{next(_NUMBERS)}"
        events = [Chat._chunk(number, delta, None) for delta in deltas]
        last = Chat._chunk(number, {}, "tool_calls" if step.kind == "tool" else "stop")
        last["usage"] = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        return [("", event) for event in [*events, last]]

    @staticmethod
    def _chunk(number: str, delta: Json, reason: str | None) -> Json:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return {"id": number, "object": "chat.completion.chunk", "created": 1, "model": "stub", "choices": [choice]}

    @staticmethod
    def whole(step: Step) -> Json:
        message = {"role": "assistant", "content": "".join(step.words())}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        return {
            "id": f"chat-{next(_NUMBERS)}",
            "object": "chat.completion",
            "model": "stub",
            "choices": [choice],
            "usage": usage,
        }


class Messages:
    """Anthropic messages."""

    has_names = True

    @staticmethod
    def ask(body: Json) -> Ask:
        tools = {tool["name"]: tool for tool in body.get("tools") or [] if "name" in tool}
        parts = []
        waits: set[str] = set()
        for message in body["messages"]:
            content = message["content"]
            for block in content if isinstance(content, list) else [{"type": "text", "text": content}]:
                said = block.get("text", "") if message["role"] == "user" else ""
                if block.get("name") == WAITING:
                    waits.add(block["id"])
                if block.get("tool_use_id") in waits:
                    continue  # no directive's tool
                is_answer = block["type"] == "tool_result"
                parts.append((is_answer, text_of(block.get("content")) if is_answer else said))
        return scan(parts, tools)

    @staticmethod
    def stream(step: Step) -> list[tuple[str, Json]]:
        block: Json = {"type": "text", "text": ""}
        deltas: list[Json] = [{"type": "text_delta", "text": word} for word in step.words()]
        if step.kind == "tool":
            block = {"type": "tool_use", "id": call_id(), "name": step.tool, "input": {}}
            deltas = [{"type": "input_json_delta", "partial_json": json.dumps(step.arguments)}]
        reason = {"stop_reason": "tool_use" if step.kind == "tool" else "end_turn", "stop_sequence": None}
        message = {**Messages.whole(step), "content": [], "stop_reason": None}
        events: list[Json] = [
            {"type": "message_start", "message": message},
            {"type": "content_block_start", "index": 0, "content_block": block},
            *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": reason, "usage": {"output_tokens": 5}},
            {"type": "message_stop"},
        ]
        return [(event["type"], event) for event in events]

    @staticmethod
    def whole(step: Step) -> Json:
        return {
            "id": f"msg_{next(_NUMBERS)}", "type": "message", "role": "assistant", "model": "stub",
            "stop_reason": "end_turn", "stop_sequence": None,
            "content": [{"type": "text", "text": "".join(step.words())}],
            "usage": {"input_tokens": 10, "output_tokens": 5},
        }  # fmt: skip


class CountTokens(Messages):
    @staticmethod
    def whole(step: Step) -> Json:
        return {"input_tokens": 10}


class Responses:
    """OpenAI responses."""

    has_names = True

    @staticmethod
    def ask(body: Json) -> Ask:
        tools = {tool.get("name", tool["type"]): tool for tool in body.get("tools") or []}
        for space in [tool for tool in tools.values() if tool["type"] == "namespace"]:
            tools |= {f"{space['name']}_{each['name']}": each | {"namespace": space["name"]} for each in space["tools"]}
        items = body["input"] if isinstance(body["input"], list) else [{"role": "user", "content": body["input"]}]
        return scan(
            ((i.get("type") == "function_call_output", text_of(i.get("content") or i.get("output"))) for i in items),
            tools,
        )

    @staticmethod
    def stream(step: Step) -> list[tuple[str, Json]]:
        item: Json
        middle: list[Json] = []
        if step.kind == "tool":
            arguments = json.dumps(step.arguments)
            item = {"type": "function_call", "call_id": call_id(), "name": step.tool, "arguments": arguments}
            item |= {"namespace": step.namespace} if step.namespace else {}
        else:
            content = [{"type": "output_text", "text": "".join(step.words()), "annotations": []}]
            item = {"type": "message", "role": "assistant", "status": "completed", "content": content}
            middle = [
                {
                    "type": "response.output_text.delta",
                    "item_id": "item-1",
                    "output_index": 0,
                    "content_index": 0,
                    "delta": word,
                }
                for word in step.words()
            ]
        item["id"] = "item-1"
        response = {
            "id": f"resp-{next(_NUMBERS)}",
            "object": "response",
            "created_at": 1,
            "model": "stub",
            "output": [],
        }
        usage = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
        begun = {**item, "content": []} if item["type"] == "message" else item
        events: list[Json] = [
            {"type": "response.created", "response": {**response, "status": "in_progress"}},
            {"type": "response.output_item.added", "output_index": 0, "item": begun},
            *middle,
            {"type": "response.output_item.done", "output_index": 0, "item": item},
            {
                "type": "response.completed",
                "response": {**response, "status": "completed", "output": [item], "usage": usage},
            },
        ]
        return [(event["type"], event) for event in events]

    @staticmethod
    def whole(step: Step) -> Json:
        return dict(Responses.stream(step)[-1][1]["response"])


DIALECTS: dict[str, Any] = {
    "/chat/completions": Chat,
    "/messages/count_tokens": CountTokens,
    "/messages": Messages,
    "/responses": Responses,
}


def scan(parts: Any, tools: dict[str, Json]) -> Ask:
    """The last text that holds directives, and the tools' answers after it."""
    prompt = ""
    answers: list[str] = []
    for is_answer, text in parts:
        if is_answer:
            answers.append(text)
        elif DIRECTIVE.search(text):
            prompt, answers = text, []
    return Ask(prompt, answers, tools)


def text_of(content: Any) -> str:
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def call_id() -> str:
    return f"call_{next(_NUMBERS)}"


@asynccontextmanager
async def model_server(cwd: str) -> AsyncIterator[ModelServer]:
    model = ModelServer(cwd)
    server = await asyncio.start_server(model.serve, "127.0.0.1", 0)
    model.port = server.sockets[0].getsockname()[1]
    try:
        yield model
    finally:
        server.close()
        for task in model.serving:
            task.cancel()
        await asyncio.gather(*model.serving, return_exceptions=True)
