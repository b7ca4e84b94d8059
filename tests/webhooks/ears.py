"""The other end of a webhook: a real HTTP server on loopback that answers as a test wants, and keeps what it got."""

import base64
import hashlib
import hmac
import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Got:
    headers: dict[str, str]
    raw: bytes
    path: str

    @property
    def said(self) -> Any:
        return json.loads(self.raw)

    def is_signed_with(self, secret: str) -> bool:
        """As the specification has it, worked out here by itself."""
        key = base64.b64decode(secret.removeprefix("whsec_"))
        text = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode() + self.raw
        right = "v1," + base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
        is_fresh = abs(int(self.headers["webhook-timestamp"]) - time.time()) < 60
        return is_fresh and right in self.headers["webhook-signature"].split(" ")


@dataclass
class Ears:
    """``answers`` are given in order, the last one for ever: a status, or a status and headers; 0 hangs up."""

    address: str = ""
    answers: list[Any] = field(default_factory=lambda: [200])
    got: list[Got] = field(default_factory=list)
    drip_seconds: float = 0.0
    """Answers a byte at a time, with such pauses."""

    def next(self) -> tuple[int, dict[str, str]]:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return answer if isinstance(answer, tuple) else (answer, {})


@contextmanager
def listening(tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> Iterator[Ears]:
    """On loopback, whatever ``host`` its address names."""
    ears = Ears()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["content-length"]))
            ears.got.append(Got({name.lower(): value for name, value in self.headers.items()}, raw, self.path))
            status, headers = ears.next()
            if not status:
                self.connection.close()
                return
            if ears.drip_seconds:
                try:
                    while True:
                        self.wfile.write(b"HTTP/1.1 2" if not ears.got else b"x")
                        self.wfile.flush()
                        time.sleep(ears.drip_seconds)
                except OSError:
                    return
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    ears.address = f"{'https' if tls else 'http'}://{host}:{server.server_address[1]}/hooks?key=1"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield ears
    finally:
        server.shutdown()
        server.server_close()
