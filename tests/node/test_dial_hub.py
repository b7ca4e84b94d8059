"""A joined node dials its hub: what it checks before it believes, what it writes, when it renews, how it waits."""

import asyncio
import base64
import http.server
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from nodes import pki
from nodes.contract.config import load_config
from nodes.contract.errors import ConfigError, HubError
from nodes.contract.ids import new_id
from nodes.link.joining import Enrolled, TokenText, authorities_message, derive_key, new_secret, request_proof
from nodes.link.link import NodeEnd
from nodes.server import joining
from nodes.server.home import AlreadyServed, NodeHome
from nodes.server.joining import (
    HomeHoldsRuns,
    HomeInUse,
    HubPlace,
    HubRefused,
    HubUnreachable,
    NotTheHub,
    join,
    renew,
    renews_in,
    trust_of,
)
from nodes.server.node import NodeServer
from nodes.server.rundir import RunDir
from nodes.server.tunnel import LONGEST_SECONDS, REFUSED_SECONDS, Tunnel, pause
from tests.node.parts import ROOT, start_of
from tests.support import eventually_async

NODE = UUID(int=7)
Answer = tuple[int, dict[str, Any]]


class FakeHub:
    """Enrols and renews as a hub does, over plain HTTP; ``change`` spoils what it would answer."""

    def __init__(self) -> None:
        self.authority = pki.make_authority()
        self.secret = new_secret()
        self.token = TokenText(uuid4(), self.secret, pki.fingerprint(self.authority.pem), ("127.0.0.1:1",))
        self.change: Callable[[dict[str, Any]], None] = lambda _: None
        self.refusal: Answer | None = None
        self.life = timedelta(hours=pki.JOINED_HOURS)
        self.node = NODE
        self.url = ""
        self.target = ""
        self.asked = ""
        self.looks_at_runs = True

    def answer(self, path: str, body: dict[str, Any]) -> Answer:
        if self.refusal:
            return self.refusal
        self.asked = body["csr"]
        public_key = pki.requested_key(body["csr"].encode())
        certificate = pki.certify_node(self.authority, pki.NodeIdentity(self.node, 2), public_key, life=self.life)
        said: dict[str, Any] = {"certificate": certificate.decode()}
        if path.endswith("/enroll"):
            if self.looks_at_runs and body.get("holds", str(self.node)) != str(self.node):
                return 409, {"error": {"code": "home_holds_runs", "message": "Of another.", "data": {}}}
            key = derive_key(self.token.id, self.secret)
            holds = UUID(body["holds"]) if "holds" in body else None
            target = body.get("target", "")
            assert body["proof"] == request_proof(key, self.token.id, "", body["csr"], target, holds=holds)
            self.target = body.get("target", "")
            assert self.token.encode() not in json.dumps(body)
            enrolled = Enrolled(
                self.node, "gpu-01", 2, said["certificate"], self.authority.pem.decode(), ("127.0.0.1:1",)
            )
            said |= {
                "node": str(self.node), "name": "gpu-01", "generation": 2, "authority": enrolled.authority,
                "addresses": list(enrolled.addresses), "proof": enrolled.proof(key, body["csr"]),
            }  # fmt: skip
        self.change(said)
        return 200, said


@contextmanager
def serving(hub: FakeHub) -> Iterator[None]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, said = hub.answer(self.path, body)
            content = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield
        finally:
            server.shutdown()
            thread.join(30)


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    hub = FakeHub()
    with serving(hub):
        yield hub


def test_joining_writes_a_private_home(hub: FakeHub, home: Path) -> None:
    place = join(home, hub.url, hub.token.encode())
    assert place == HubPlace.load(home / "node") == HubPlace(hub.url, ("127.0.0.1:1",), "gpu-01")
    assert pki.identity_of((home / "pki/node.pem").read_bytes()) == pki.NodeIdentity(NODE, 2)
    assert (home / "pki/node.pem").stat().st_mode & 0o777 == 0o600
    assert (home / "pki").stat().st_mode & 0o777 == 0o700
    assert (home / "config.toml").read_text() == '[server]\nrole = "node"\n'
    assert (home / "node/id").read_text().strip() == str(NODE)


@pytest.mark.parametrize(
    ("listen", "target"),
    [("10.0.0.7:50051", "https://10.0.0.7:50051"), ("0.0.0.0:50051", "https://127.0.0.1:50051"), ("", "")],
)
def test_a_machine_that_listens_says_where(hub: FakeHub, home: Path, listen: str, target: str) -> None:
    assert join(home, hub.url, hub.token.encode(), listen).listen == listen
    assert hub.target == target
    place = HubPlace.load(home / "node")
    assert place and place.listen == listen


@pytest.mark.parametrize("listen", ["50051", ":50051", "10.0.0.7:0", "10.0.0.7:x", "10.0.0.7:65536"])
def test_an_address_to_listen_at_that_is_none_is_said(hub: FakeHub, home: Path, listen: str) -> None:
    with pytest.raises(ConfigError, match="--listen"):
        join(home, hub.url, hub.token.encode(), listen)


def test_a_configuration_that_is_there_is_kept(hub: FakeHub, home: Path) -> None:
    (home / "config.toml").write_text('safe_paths = ["/srv"]\n')
    join(home, hub.url, hub.token.encode())
    assert (home / "config.toml").read_text() == 'safe_paths = ["/srv"]\n'


@pytest.mark.parametrize("field", ["certificate", "authority", "node", "name", "generation", "addresses", "proof"])
def test_an_answer_that_was_changed_on_the_way_is_not_believed(hub: FakeHub, home: Path, field: str) -> None:
    other = pki.make_authority().pem.decode()
    changed: dict[str, Any] = {
        "certificate": other, "authority": other, "node": str(uuid4()), "name": "gpu-02", "generation": 3,
        "addresses": ["192.0.2.1:50051"], "proof": "0" * 64,
    }  # fmt: skip
    hub.change = lambda said: said.update({field: changed[field]})
    with pytest.raises(NotTheHub):
        join(home, hub.url, hub.token.encode())
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("field", ["certificate", "node", "proof"])
def test_an_answer_that_lacks_a_part_is_none(hub: FakeHub, home: Path, field: str) -> None:
    hub.change = lambda said: said.pop(field)
    with pytest.raises(NotTheHub):
        join(home, hub.url, hub.token.encode())


def test_the_hubs_refusal_is_told_with_its_code(hub: FakeHub, home: Path) -> None:
    hub.refusal = (409, {"error": {"code": "join_token_used", "message": "Used.", "data": {}}})
    with pytest.raises(HubRefused, match="Used") as refused:
        join(home, hub.url, hub.token.encode())
    assert refused.value.data["code"] == "join_token_used"


@pytest.mark.parametrize("url", ["", "hub", "ftp://hub", "http://127.0.0.1:port", "http://"])
def test_an_address_that_is_none_is_said(hub: FakeHub, home: Path, url: str) -> None:
    with pytest.raises(ConfigError):
        join(home, url, hub.token.encode())


@contextmanager
def trickling(beginning: bytes) -> Iterator[str]:
    """Whoever connects is sent this, and then a byte now and then for as long as they stay."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def trickle() -> None:
            caller, _ = server.accept()
            with caller, suppress(OSError):
                caller.sendall(beginning)
                while True:
                    caller.sendall(b" ")
                    time.sleep(0.02)

        thread = threading.Thread(target=trickle, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        thread.join(30)
        assert not thread.is_alive(), "the connection was not closed"


@pytest.mark.parametrize("beginning", [b"", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\n\r\n{"], ids=str)
def test_an_answer_that_never_ends_is_given_up(
    hub: FakeHub, home: Path, beginning: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "SECONDS", 0.3)
    with trickling(beginning) as url, pytest.raises((HubUnreachable, NotTheHub)):
        join(home, url, hub.token.encode())
    assert list(home.iterdir()) == []


def server_of(home: Path, monkeypatch: pytest.MonkeyPatch, listen_at: str) -> NodeServer:
    monkeypatch.setenv("AGENTHUB_HOME", str(home))
    return NodeServer(load_config(), cast(Any, None), listen_at=listen_at)


async def test_a_joined_machine_listens_where_it_is_told_to_now(
    hub: FakeHub, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.to_thread(join, home, hub.url, hub.token.encode(), "192.0.2.1:50051")
    server = server_of(home, monkeypatch, "127.0.0.1:0")
    try:
        address = await server.start()
    finally:
        await server.stop()
    assert address.startswith("127.0.0.1:") and not address.endswith(":0")


async def test_a_machine_that_dials_is_not_told_to_listen(
    hub: FakeHub, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.to_thread(join, home, hub.url, hub.token.encode())
    with pytest.raises(ConfigError, match="joined to dial its hub"):
        await server_of(home, monkeypatch, "127.0.0.1:0").start()


def test_a_hub_that_is_not_there_is_said(hub: FakeHub, home: Path) -> None:
    with pytest.raises(HubUnreachable):
        join(home, "http://127.0.0.1:1", hub.token.encode())


def test_a_hubs_home_is_left_alone(hub: FakeHub, home: Path) -> None:
    pki.ensure_pki(home / "pki", NODE)
    with pytest.raises(HomeInUse):
        join(home, hub.url, hub.token.encode())


@pytest.fixture
def live_run(home: Path) -> Iterator[RunDir]:
    """As its supervisor has it."""
    directory = RunDir(home / "node/runs", str(new_id()))
    directory.write_spec(start_of(directory.run_id, home))
    lock = directory.take_lock()
    lock.sign()
    yield directory
    lock.release()


def joined_as(home: Path, node: UUID) -> dict[Path, bytes]:
    """A home that belongs to a node already; its files."""
    (home / "pki").mkdir()
    (home / "node/id").write_text(f"{node}\n")
    return {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}


@pytest.mark.parametrize("is_older_hub", [False, True])
def test_a_home_with_live_runs_of_another_node_is_left_alone(
    hub: FakeHub, home: Path, live_run: RunDir, is_older_hub: bool
) -> None:
    before = joined_as(home, uuid4())
    hub.looks_at_runs = not is_older_hub
    with pytest.raises(HomeHoldsRuns, match="another home") as refused:
        join(home, hub.url, hub.token.encode())
    assert refused.value.data["runs"] == [live_run.run_id]
    assert {path: path.read_bytes() for path in before} == before
    assert not (home / "node/hub.json").exists()


def test_a_home_with_live_runs_of_no_known_node_asks_no_hub(hub: FakeHub, home: Path, live_run: RunDir) -> None:
    with pytest.raises(HomeHoldsRuns, match=live_run.run_id):
        join(home, hub.url, hub.token.encode())
    assert not hub.asked


def test_a_home_with_live_runs_of_the_same_node_joins_again(hub: FakeHub, home: Path, live_run: RunDir) -> None:
    joined_as(home, NODE)
    join(home, hub.url, hub.token.encode())
    assert live_run.is_locked() and (home / "node/hub.json").exists()


def test_a_home_whose_runs_are_over_joins_as_another_node(hub: FakeHub, home: Path) -> None:
    directory = RunDir(home / "node/runs", str(new_id()))
    directory.write_spec(start_of(directory.run_id, home))
    directory.take_lock().release()
    joined_as(home, uuid4())
    assert join(home, hub.url, hub.token.encode()).slug == "gpu-01"


def test_another_nodes_epoch_is_forgotten_and_ones_own_is_not(hub: FakeHub, home: Path) -> None:
    join(home, hub.url, hub.token.encode())
    (home / "node/epoch").write_text("9")
    join(home, hub.url, hub.token.encode())
    assert (home / "node/epoch").exists()
    hub.node = uuid4()
    join(home, hub.url, hub.token.encode())
    assert not (home / "node/epoch").exists()


def test_renewing_replaces_key_and_certificate_together(hub: FakeHub, home: Path) -> None:
    join(home, hub.url, hub.token.encode())
    before = (home / "pki/node.pem").read_bytes()
    assert renew(home) > datetime.now(UTC) + timedelta(days=6)
    after = (home / "pki/node.pem").read_bytes()
    assert pki.identity_of(after) == pki.identity_of(before)
    assert after.partition(b"-----BEGIN PRIVATE")[2] != before.partition(b"-----BEGIN PRIVATE")[2]


def test_a_certificate_of_another_authority_is_not_taken(hub: FakeHub, home: Path) -> None:
    join(home, hub.url, hub.token.encode())
    before = (home / "pki/node.pem").read_bytes()
    hub.authority = pki.make_authority()
    with pytest.raises(HubError):
        renew(home)
    assert (home / "pki/node.pem").read_bytes() == before


def test_a_certificate_is_renewed_at_half_its_life(hub: FakeHub, home: Path) -> None:
    join(home, hub.url, hub.token.encode())
    now = datetime.now(UTC)
    assert renews_in(home, now + timedelta(days=3)) > timedelta()
    assert renews_in(home, now + timedelta(days=4)) <= timedelta()


def test_pauses_grow_to_a_bound_and_are_longer_when_the_hub_does_not_want_the_node() -> None:
    assert all(pause(0, "") <= 0.25 for _ in range(50))
    assert all(pause(1000, "link_closed") <= LONGEST_SECONDS for _ in range(50))
    assert all(0.3 * REFUSED_SECONDS <= pause(0, "node_revoked") <= REFUSED_SECONDS for _ in range(50))


def rotated(hub: FakeHub, by: pki.Authority) -> pki.Authority:
    """The hub answers renewals with a new authority beside its own, as ``by`` signs it."""
    new, old = pki.make_authority("new"), hub.authority

    def change(said: dict[str, Any]) -> None:
        hub.authority = new
        trusted = (new.pem + old.pem).decode()
        said |= {
            "authorities": trusted,
            "proof": base64.b64encode(by.sign(authorities_message(hub.asked, trusted))).decode(),
        }  # fmt: skip
        public_key = pki.requested_key(hub.asked.encode())
        said["certificate"] = pki.certify_node(new, pki.NodeIdentity(hub.node, 2), public_key).decode()

    hub.change = change
    return new


def test_a_new_authority_is_learned_by_renewing(hub: FakeHub, home: Path) -> None:
    join(home, hub.url, hub.token.encode())
    before = trust_of(home / "pki")
    new = rotated(hub, by=hub.authority)
    renew(home)
    assert new.certificate in pki.trusted((home / "pki/ca.pem").read_bytes())
    assert trust_of(home / "pki") != before
    assert renews_in(home) > timedelta()


def test_an_authority_that_none_of_ours_has_signed_is_not_learned(hub: FakeHub, home: Path) -> None:
    join(home, hub.url, hub.token.encode())
    before = {path: path.read_bytes() for path in (home / "pki").iterdir()}
    rotated(hub, by=pki.make_authority())
    with pytest.raises(NotTheHub):
        renew(home)
    assert {path: path.read_bytes() for path in (home / "pki").iterdir()} == before


def test_a_signature_for_an_earlier_request_is_not_taken_again(hub: FakeHub, home: Path) -> None:
    join(home, hub.url, hub.token.encode())
    rotated(hub, by=hub.authority)
    said_then: dict[str, Any] = {}
    change = hub.change
    hub.change = lambda said: (change(said), said_then.update(said))[0]
    renew(home)
    hub.change = lambda said: said.update(proof=said_then["proof"], authorities=said_then["authorities"])
    with pytest.raises(NotTheHub):
        renew(home)


def test_who_serves_a_home_is_asked_to_leave_and_not_forced(home: Path) -> None:
    (home / "node").mkdir()
    script = "import signal, sys, time; from pathlib import Path; from nodes.server.home import NodeHome\n"
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    serve = "held = NodeHome(Path(sys.argv[1])).lock(); print('has it', flush=True); time.sleep(300)"
    for before, is_left in (("", True), (deaf, False)):
        command = [sys.executable, "-c", (script + before + serve).replace("\\\\n", "\\n"), str(home / "node")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as holder:
            assert holder.stdout and holder.stdout.readline()
            try:
                if is_left:
                    os.close(NodeHome(home / "node").take_over(30))
                else:
                    with pytest.raises(AlreadyServed, match=str(holder.pid)):
                        NodeHome(home / "node").take_over(1)
                    assert holder.poll() is None
            finally:
                holder.kill()


@pytest.fixture
def tunnel(hub: FakeHub, home: Path) -> Tunnel:
    async def serve(_: object) -> None: ...

    return Tunnel(home, join(home, hub.url, hub.token.encode()), serve)


def dialled(home: Path) -> tuple[str, ...]:
    place = HubPlace.load(home / "node")
    assert place
    return place.addresses


FIRST = "127.0.0.1:1"


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (["hub-a:50051", FIRST], ("hub-a:50051", FIRST)),
        (["hub-a:50051", "[::1]:50051"], ("hub-a:50051", "[::1]:50051", FIRST)),
        (["hub-a:50051", "hub-a", ":1", "hub-b:0", "hub b:1", "hub-c:99999", "x" * 300 + ":1"], ("hub-a:50051", FIRST)),
        (["hub"], (FIRST,)),
        ([], (FIRST,)),
        ([f"hub:{port}" for port in range(1, 100)], (*(f"hub:{port}" for port in range(1, 33)), FIRST)),
    ],
)
async def test_addresses_that_the_hub_names_are_kept_and_that_which_works_behind_them(
    tunnel: Tunnel, home: Path, said: list[str], kept: tuple[str, ...]
) -> None:
    await tunnel.hear(said)
    assert dialled(home) == kept


async def test_a_machine_that_joined_elsewhere_meanwhile_does_not_lose_its_new_hub(
    tunnel: Tunnel, hub: FakeHub, home: Path
) -> None:
    HubPlace("http://127.0.0.1:2", ("hub-z:50051",), "gpu-02").write(home / "node")
    await tunnel.hear(["hub-a:50051"])
    assert dialled(home) == ("hub-z:50051",)


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ([], ()),
        (["https://b.example.com"], ("https://b.example.com",)),
        (["https://b.example.com/", "https://b.example.com"], ("https://b.example.com",)),
        (["https://b.example.com", "http://c:8080"], ("http://c:8080", "https://b.example.com")),
        (["ftp://b", "b.example.com", "https://", "https://b:x", "https://u@b", "https://b/?q=1", "https://b c"], ()),
        ([f"https://{name}" for name in "bcdef"], ("https://f", "https://e", "https://d", "https://c")),
    ],
)
async def test_the_web_door_that_the_hub_names_comes_before_those_that_it_had(
    tunnel: Tunnel, hub: FakeHub, home: Path, said: list[str], kept: tuple[str, ...]
) -> None:
    for url in said:
        await tunnel.hear([], url)
    place = HubPlace.load(home / "node")
    assert place and (place.addresses, place.slug) == ((FIRST,), "gpu-01")
    assert place.urls == (*kept, hub.url)[:4]


async def test_a_machine_that_waits_to_be_dialled_hears_of_the_web_door_too(hub: FakeHub, home: Path) -> None:
    async def serve(_: object) -> None: ...

    tunnel = Tunnel(home, join(home, hub.url, hub.token.encode(), "10.0.0.7:50051"), serve)
    await tunnel.hear(["hub-a:50051"], "https://b.example.com")
    assert dialled(home) == (FIRST,)
    place = HubPlace.load(home / "node")
    assert place and place.urls == ("https://b.example.com", hub.url)


def moved(home: Path, url: str) -> None:
    place = HubPlace.load(home / "node")
    assert place
    place.moved_to(url).write(home / "node")


def test_a_renewal_goes_to_where_the_hub_is_now(hub: FakeHub, home: Path) -> None:
    join(home, hub.url, hub.token.encode())
    new = FakeHub()
    new.authority = hub.authority
    with serving(new):
        moved(home, new.url)
        hub.refusal = 500, {}
        renew(home)
    assert new.asked


@pytest.mark.parametrize(
    "answer",
    [(400, {"error": {"code": "wrong_host", "message": "No.", "data": {}}}), (200, {}), (502, {}), None],
)
def test_a_renewal_goes_to_where_the_hub_was_if_it_is_not_where_it_says(
    hub: FakeHub, home: Path, answer: Answer | None
) -> None:
    join(home, hub.url, hub.token.encode())
    other = FakeHub()
    other.refusal = answer
    with serving(other):
        moved(home, other.url if answer else "http://127.0.0.1:1")
        assert renew(home) > datetime.now(UTC)


def test_what_the_hub_itself_refuses_is_not_asked_again_elsewhere(hub: FakeHub, home: Path) -> None:
    join(home, hub.url, hub.token.encode())
    new = FakeHub()
    new.refusal = 403, {"error": {"code": "node_revoked", "message": "Revoked.", "data": {}}}
    with serving(new), pytest.raises(HubRefused, match="Revoked"):
        moved(home, new.url)
        hub.asked = ""
        renew(home)
    assert not hub.asked


def test_if_no_address_is_the_hubs_the_first_is_told(hub: FakeHub, home: Path) -> None:
    join(home, hub.url, hub.token.encode())
    hub.refusal = 404, {}
    moved(home, "http://127.0.0.1:1")
    with pytest.raises(HubUnreachable, match=r"127\.0\.0\.1:1 "):
        renew(home)


async def test_the_next_attempt_is_at_the_addresses_that_were_named(
    tunnel: Tunnel, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    async def dial(address: str, _: object) -> NodeEnd:
        tried.append(address)
        if len(tried) == 1:
            await tunnel.hear(["hub-a:1", "hub-b:1"])
        raise HubUnreachable("Nobody is there.")

    monkeypatch.setattr("nodes.server.tunnel.dial_hub", dial)
    monkeypatch.setattr("nodes.server.tunnel.pause", lambda *_: 0.01)
    tunnel.start()
    await eventually_async(lambda: len(tried) >= 4)
    await tunnel.stop()
    assert tried[0] == FIRST and set(tried[1:4]) == {FIRST, "hub-a:1", "hub-b:1"}
