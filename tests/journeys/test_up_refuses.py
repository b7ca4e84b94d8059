"""What stands in the way of a start is said in one clear line, with what to do."""

import json
import socket
from pathlib import Path

import pytest

from integrations.cli.exits import Exit

from .hub import Hub

pytestmark = [pytest.mark.journey, pytest.mark.timeout(120)]


def test_a_taken_port(own_hub: Hub) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = own_hub.cli("up", "--json", AGENTHUB_SERVER__LISTEN=address)
    assert ended.returncode == Exit.USAGE and ended.stderr == ""
    error = json.loads(ended.stdout)["error"]
    assert error["code"] == "cannot_listen"
    assert "is taken" in error["message"] and "AGENTHUB_SERVER__LISTEN" in error["message"]


def test_a_section_that_does_not_exist_is_told_before_a_taken_port(own_hub: Hub, tmp_path: Path) -> None:
    (file := tmp_path / "mine.toml").write_text("[sever]\nlisten = '127.0.0.1:0'\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = own_hub.cli("-c", str(file), "up", AGENTHUB_SERVER__LISTEN=address)
    assert ended.returncode == Exit.USAGE
    assert "sever: there is no such setting" in ended.stderr and "is taken" not in ended.stderr


def test_a_home_that_cannot_be_written(own_hub: Hub) -> None:
    (own_hub.home / "file").write_text("")
    ended = own_hub.cli("up", AGENTHUB_HOME=str(own_hub.home / "file" / "home"))
    assert ended.returncode == Exit.USAGE
    assert "AGENTHUB_HOME" in ended.stderr and "Traceback" not in ended.stderr


def test_a_bad_setting(own_hub: Hub) -> None:
    (own_hub.home / "config.toml").write_text('[node]\ncapacity = "many"\n')
    ended = own_hub.cli("up")
    assert ended.returncode == Exit.USAGE
    assert "node.capacity" in ended.stderr and "Traceback" not in ended.stderr
    assert "home could not be prepared" not in ended.stderr


def test_a_root_of_worktrees_that_cannot_be_made(own_hub: Hub) -> None:
    ended = own_hub.cli("up", "--json", AGENTHUB_WORKTREE__DEFAULT_ROOT="/proc/x")
    assert ended.returncode == Exit.USAGE
    assert "worktree.default_root: /proc/x" in json.loads(ended.stdout)["error"]["message"]


def test_a_port_that_is_no_text(own_hub: Hub) -> None:
    (own_hub.home / "config.toml").write_text("[server]\nlisten = 8080\n")
    del own_hub.environ["AGENTHUB_SERVER__LISTEN"]
    ended = own_hub.cli("up")
    assert ended.returncode == Exit.USAGE
    assert "server.listen" in ended.stderr and len(ended.stderr.splitlines()) == 1


def test_a_setting_that_does_not_exist(own_hub: Hub) -> None:
    (own_hub.home / "config.toml").write_text("[server]\nport = 8080\n")
    ended = own_hub.cli("up")
    assert ended.returncode == Exit.USAGE and "server.port: there is no such setting" in ended.stderr


def test_certificates_without_their_key_stop_the_hub_and_say_why(own_hub: Hub) -> None:
    ended = own_hub.cli("up", AGENTHUB_SERVER__TLS_CERT=str(Path(__file__)))
    assert ended.returncode == Exit.USAGE
    assert "tls_key" in ended.stderr and "Traceback" not in ended.stderr
