"""A hub small enough to hold in the hand: real HTTP on a real Unix socket (or TCP), answers set by the test."""

import json
import socketserver
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

RUN = "0199a1b2-0000-7000-8000-00000000abcd"
Json = dict[str, Any]
Answer = tuple[int, Any]


def event(seq: int, type_: str, /, **payload: object) -> Json:
    return {"id": f"{RUN}:{seq}", "type": type_, "version": 1, "run": RUN, "seq": seq, "payload": payload}


def story(*, ending: str = "run.completed") -> list[Json]:
    """A short run."""
    endings = {"run.completed": {"stop_reason": "end_turn"}, "run.failed": {"reason": "agent_exited", "message": ""}}
    return [
        event(1, "run.started", runtime="acp", workspace="/w/1", branch="agenthub/1"),
        event(2, "run.turn.started", turn=1, input_id="p", text="Say hello"),
        event(3, "run.message.delta", message_id="m", text="Hello, "),
        event(4, "run.message.delta", message_id="m", text="world."),
        event(5, "run.message.completed", message_id="m", text="Hello, world."),
        event(6, ending, **endings.get(ending, {"reason": "cancelled"})),
    ]


@dataclass
class Seen:
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: Any


@dataclass
class SmallHub:
    """``routes`` maps (method, path) to an answer or to a function of the request."""

    routes: dict[tuple[str, str], Answer | Callable[[Seen], Answer]] = field(default_factory=dict)
    events: list[Json] = field(default_factory=list)
    state: str = "running"
    reason: str = ""
    seen: list[Seen] = field(default_factory=list)
    cut_every: int = 0
    """Cut each SSE connection after so many events."""
    holds_open: bool = False
    """Keep SSE connections open for events that come later, by ``add``."""
    news: threading.Condition = field(default_factory=threading.Condition)
    drop_answers: int = 0
    """Take so many requests and cut the connection instead of answering."""

    def add(self, item: Json) -> None:
        with self.news:
            self.events.append(item)
            self.news.notify_all()

    def asked(self, method: str, path: str) -> list[Seen]:
        return [seen for seen in self.seen if (seen.method, seen.path) == (method, path)]

    def answer(self, seen: Seen) -> Answer:
        found = self.routes.get((seen.method, seen.path))
        if found is None:
            return 404, {"error": {"code": "not_found", "message": "There is no such thing.", "data": {}}}
        return found(seen) if callable(found) else found


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: SmallHub

    def _handle(self) -> None:
        hub = self.hub
        url = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        seen = Seen(self.command, url.path, parse_qs(url.query), dict(self.headers), body)
        hub.seen.append(seen)
        self.close_connection = True
        if hub.drop_answers:
            hub.drop_answers -= 1
            return
        if url.path == f"/api/v1/runs/{RUN}/events/stream":
            self._stream(int(self.headers.get("Last-Event-ID") or 0))
            return
        status, content = hub.answer(seen)
        data = b"" if content is None else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, after: int) -> None:
        hub = self.hub
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self._frame("state", {"state": hub.state, "reason": hub.reason, "last_seq": len(hub.events)})
        for sent, item in enumerate(self._events_after(after)):
            if hub.cut_every and sent >= hub.cut_every:
                self.wfile.write(f'id: {item["seq"]}\ndata: {{"half'.encode())  # torn in the middle of a frame
                return
            self.wfile.write(f"id: {item['seq']}\ndata: {json.dumps(item)}\n\n".encode())

    def _events_after(self, after: int) -> Iterator[Json]:
        sent = 0
        while True:
            ready = self.hub.events[sent:]
            yield from (item for item in ready if item["seq"] > after)
            sent += len(ready)
            if not self.hub.holds_open:
                return
            with self.hub.news:
                if len(self.hub.events) == sent and not self.hub.news.wait(timeout=20):
                    return

    def _frame(self, name: str, data: Json) -> None:
        self.wfile.write(f"event: {name}\ndata: {json.dumps(data)}\n\n".encode())

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle

    def log_message(self, format: str, *args: object) -> None:
        pass

    def address_string(self) -> str:
        return "local"


class _UnixServer(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


class _TcpServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


@contextmanager
def serve(hub: SmallHub, at: Path | None = None) -> Iterator[str]:
    """Serve on the socket ``at``, or on loopback; yields the URL."""
    handler = cast(type[BaseHTTPRequestHandler], type("Handler", (_Handler,), {"hub": hub}))
    server = _UnixServer(str(at), handler) if at else _TcpServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield "" if at else f"http://127.0.0.1:{cast(Sequence[Any], server.server_address)[1]}"
    finally:
        server.shutdown()
        server.server_close()
        if at:
            at.unlink(missing_ok=True)
