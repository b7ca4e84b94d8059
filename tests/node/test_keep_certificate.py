"""A joined node whose hub, or whoever answers in its place, answers nonsense: it says so, and tries again."""

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

import pytest

from nodes import pki
from nodes.server import joining
from nodes.server.renewal import Renewal
from tests.node.odd import of_no_known_key, with_an_extension_twice
from tests.support import eventually_async


class Answering(ThreadingHTTPServer):
    """Answers every request with the same."""

    daemon_threads = True
    content = b"{}"
    asked = 0


class _Handler(BaseHTTPRequestHandler):
    server: Answering

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked += 1
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        self.wfile.write(self.server.content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[Answering]:
    server = Answering(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def joined(tmp_path: Path, hub: Answering) -> Path:
    """The home of a node whose certificate is to be renewed."""
    authority = pki.make_authority()
    key, csr = pki.make_request()
    began = datetime.now(UTC) - timedelta(hours=20)
    identity = pki.NodeIdentity(uuid4(), 1)
    life = timedelta(hours=24)
    certificate = pki.certify_node(authority, identity, pki.requested_key(csr), now=began, life=life)
    for part in ("node", "pki"):
        (tmp_path / part).mkdir()
    (tmp_path / "pki/ca.pem").write_bytes(authority.pem)
    (tmp_path / "pki/node.pem").write_bytes(certificate + key)
    place = {"url": f"http://127.0.0.1:{hub.server_port}", "addresses": [], "slug": "gpu-01"}
    (tmp_path / "node/hub.json").write_text(json.dumps(place))
    return tmp_path


def certificate_of(home: Path) -> bytes:
    return (home / "pki/node.pem").read_bytes()


def test_an_answer_without_a_bottom_is_not_the_hubs(joined: Path, hub: Answering) -> None:
    hub.content = b"[" * 200_000
    with pytest.raises(joining.NotTheHub):
        joining.renew(joined)


@pytest.mark.parametrize("odd", [of_no_known_key, with_an_extension_twice])
def test_an_odd_certificate_is_not_the_hubs(joined: Path, hub: Answering, odd: Callable[[bytes], bytes]) -> None:
    held = certificate_of(joined)
    hub.content = json.dumps({"certificate": odd(held).decode()}).encode()
    with pytest.raises(joining.NotTheHub):
        joining.renew(joined)
    assert certificate_of(joined) == held


async def test_renewing_goes_on_after_what_nobody_expected(
    joined: Path, hub: Answering, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("nodes.server.renewal.RETRY_SECONDS", (0.05,))
    held = certificate_of(joined)
    key = held[held.index(b"-----BEGIN PRIVATE") :]
    (joined / "pki/node.pem").write_bytes(with_an_extension_twice(held) + key)
    renewal = Renewal(joined, lambda: None)
    renewal.start()
    try:
        await eventually_async(lambda: "certificate.not_renewed" in caplog.text)
        assert hub.asked == 0
        (joined / "pki/node.pem").write_bytes(held)
        await eventually_async(lambda: hub.asked > 0)
    finally:
        await renewal.stop()
