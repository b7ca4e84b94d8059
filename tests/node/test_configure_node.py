"""A node by configuration, as a process: started in each of the seeds' ways, and what it says when it cannot."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agenthub_site.main import main
from integrations.cli.exits import Exit
from nodes.link.gate import KnownHub
from nodes.server.home import NodeHome
from tests.node.parts import no_process_left
from tests.support import eventually

SECTION = "AGENTHUB_INTERNAL_GRPC"


@pytest.fixture
def here(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home that this process and its children take for theirs."""
    for name in [name for name in os.environ if name.startswith("AGENTHUB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AGENTHUB_HOME", str(home))
    with no_process_left(home):
        yield home


def start(home: Path, *arguments: str, **environment: str) -> "subprocess.Popen[bytes]":
    with (home / "log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "agenthub_site.main", *arguments],
            env={**os.environ, "AGENTHUB_LOG__FORMAT": "json", **environment}, stdout=log, stderr=log,
        )  # fmt: skip


def test_variables_alone_make_a_node(here: Path) -> None:
    node = start(here, "--node-mode", **{f"{SECTION}__ENABLED": "true", f"{SECTION}__LISTEN": "127.0.0.1:0"})
    log = here / "log"
    eventually(lambda: (here / "node/address").exists() or node.poll() is not None)
    assert node.poll() is None, log.read_text()
    eventually(lambda: f'"node": "{socket.gethostname()}"' in log.read_text())
    made = here / "internal-grpc"
    assert sorted(path.name for path in made.iterdir()) == ["auth_secret.txt", "node-cert.pem", "node-key.pem"]
    assert {path.stat().st_mode & 0o777 for path in made.iterdir()} == {0o600} and made.stat().st_mode & 0o777 == 0o700
    assert (here / "node").stat().st_mode & 0o777 == 0o700
    assert (made / "auth_secret.txt").read_text().strip() not in log.read_text()
    node.send_signal(signal.SIGTERM)
    assert node.wait(30) == 0


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({}, "internal_grpc.enabled is not true"),
        ({"ENABLED": "true", "SECURITY__MODE": "disabled", "LISTEN": "0.0.0.0:0"}, "allow_plaintext"),
        ({"ENABLED": "true", "SECURITY__MODE": "mtls"}, "node-cert.pem with node-key.pem"),
    ],
)
def test_a_node_that_cannot_be_reached_safely_does_not_start(
    here: Path, environment: dict[str, str], told: str
) -> None:
    node = start(here, "--node-mode", **{f"{SECTION}__{name}": value for name, value in environment.items()})
    assert node.wait(30) == Exit.USAGE
    assert told in (here / "log").read_text()
    assert not (here / "node/address").exists()


def test_the_bootstrap_token_is_printed_to_who_may_read_it(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["node", "bootstrap-token"]) == Exit.OK
    token = capsys.readouterr().out.strip()
    path = here / "internal-grpc/bootstrap_token.txt"
    assert path.read_text().strip() == token and path.stat().st_mode & 0o777 == 0o600
    assert main(["node", "bootstrap-token", "--json"]) == Exit.OK
    assert token in capsys.readouterr().out


def test_a_node_makes_no_bootstrap_token(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTHUB_SERVER__ROLE", "node")
    assert main(["node", "bootstrap-token"]) == Exit.USAGE
    assert "on the hub's machine" in capsys.readouterr().err
    assert not (here / "internal-grpc").exists()


def test_a_hub_is_forgotten_once(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "node").mkdir()
    home = NodeHome(here / "node")
    home.keep_hub(KnownHub(key="ab", node="x"))
    assert NodeHome(here / "node").known_hub() == KnownHub(key="ab", node="x")
    for said in ("is forgotten", "knew no hub"):
        assert main(["node", "forget-hub"]) == Exit.OK
        assert said in capsys.readouterr().err
    assert home.known_hub() == KnownHub()
