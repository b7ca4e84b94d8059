"""``doctor`` on a machine, on its home, and on a node: certificates, disk, git, clocks, the way to the hub."""

import fcntl
import shutil
import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agenthub_site.doctor import home as home_checks
from agenthub_site.doctor import hub, machine, this_node
from agenthub_site.doctor.findings import Case, Finding, Level
from integrations.cli.client import Client
from integrations.cli.where import Where
from nodes import pki
from nodes.contract.config import load_config
from nodes.server.home import NodeHome
from nodes.server.joining import HubPlace
from tests.link.parts import listening, make_certificates, until_cut

from .small_hub import SmallHub, serve


@pytest.fixture
def case(home: Path) -> Case:
    return Case(Where(home), load_config(environ={"AGENTHUB_HOME": str(home)}))


def codes(findings: Any) -> dict[str, Finding]:
    return {finding.code: finding for finding in findings}


def put_certificate(home: Path, begins: datetime, days: int, name: str = "node.pem") -> None:
    (home / "pki").mkdir(exist_ok=True)
    pair = pki.issue(pki.make_authority(), "oslo", server=True, now=begins, days=days)
    (home / "pki" / name).write_bytes(pair.certificate)


@pytest.mark.parametrize(
    ("begins", "days", "code", "level"),
    [
        (-30, 7, "certificate_expired", Level.PROBLEM),
        (-6, 7, "certificate_expires_soon", Level.WARNING),
        (2, 7, "certificate_not_yet_valid", Level.PROBLEM),
        (-1, 7, "", Level.OK),
        (-1, 90, "", Level.OK),
    ],
)
def test_a_certificate_is_judged_by_its_dates(case: Case, begins: int, days: int, code: str, level: Level) -> None:
    put_certificate(case.where.home, datetime.now(UTC) + timedelta(days=begins), days)
    assert codes(home_checks.check_certificates(case))[code].level is level


def test_an_expired_certificate_of_a_node_names_the_command(case: Case) -> None:
    put_certificate(case.where.home, datetime.now(UTC) - timedelta(days=30), 7)
    assert "agenthub node rotate" in codes(home_checks.check_certificates(case))["certificate_expired"].fix


def test_a_request_and_a_key_are_no_certificates(case: Case) -> None:
    (case.where.home / "pki").mkdir()
    for name, content in zip(("node-key.pem", "node-csr.pem"), pki.make_request(), strict=True):
        (case.where.home / "pki" / name).write_bytes(content)
    assert list(home_checks.check_certificates(case)) == []


def test_a_broken_certificate_is_a_problem(case: Case) -> None:
    (case.where.home / "pki").mkdir()
    (case.where.home / "pki/hub.pem").write_text("-----BEGIN CERTIFICATE-----\nfoo\n")
    assert codes(home_checks.check_certificates(case))["bad_certificates"].level is Level.PROBLEM


def test_a_secret_that_others_can_read_is_a_warning(case: Case) -> None:
    assert case.config
    case.config.cert_dir.mkdir(mode=0o700)
    (case.config.cert_dir / "auth_secret.txt").write_text("secret")
    (case.config.cert_dir / "auth_secret.txt").chmod(0o644)
    assert "chmod 600" in codes(home_checks.check_home(case))["open_to_everybody"].fix


def test_a_missing_git_is_a_problem(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert codes(machine.check_git(case))["git_missing"].fix == "Install git."


@pytest.mark.parametrize(
    ("free", "code", "level"),
    [(2, "disk_full", Level.PROBLEM), (15, "disk_nearly_full", Level.WARNING), (50, "", Level.OK)],
)
def test_the_disk_is_judged_by_the_thresholds_of_a_nodes_health(
    case: Case, monkeypatch: pytest.MonkeyPatch, free: int, code: str, level: Level
) -> None:
    size = 1024**4
    usage = shutil._ntuple_diskusage(size, size - size * free // 100, size * free // 100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert codes(machine.check_disk(case))[code].level is level


# The hub's own doors.


def test_a_door_behind_an_untrusted_proxy_is_a_warning(case: Case) -> None:
    assert case.config
    case.config.server.public_url = "https://hub.example.com"
    assert "the API is unauthorized" in codes(hub.check_web_door(case))["proxy_not_trusted"].message
    case.config.server.trusted_proxies = ["10.0.0.1"]
    assert list(hub.check_web_door(case)) == []


def test_grpc_that_is_off_is_said(case: Case) -> None:
    assert case.config
    case.hub = Client.over_socket(case.where.socket)
    case.config.internal_grpc.enabled = False  # said, not left out
    assert codes(hub.check_link_door(case)).keys() == {"grpc_off"}


def test_grpc_that_does_not_listen_is_a_problem(case: Case) -> None:
    case.hub = Client.over_socket(case.where.socket)
    assert "ss -tlnp" in codes(hub.check_link_door(case))["grpc_not_listening"].fix


# A node.


@pytest.fixture
def joined(case: Case) -> Iterator[tuple[Case, SmallHub]]:
    """A home that joined a small hub, whose gRPC door nobody has opened."""
    small = SmallHub()
    node_dir = case.where.home / "node"
    node_dir.mkdir()
    (case.where.home / "pki").mkdir()
    (case.where.home / "pki/ca.pem").write_bytes(pki.make_authority().pem)
    with serve(small) as url, socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        taken.close()
        (node_dir / "hub.json").write_text(f'{{"url": "{url}", "addresses": ["{address}"], "slug": "oslo"}}')
        yield case, small


def test_a_home_that_joined_is_a_node(joined: tuple[Case, SmallHub]) -> None:
    assert joined[0].is_node and HubPlace.load(joined[0].where.home / "node")


@pytest.mark.parametrize(("ahead", "found"), [(3600, {"", "clock_skew"}), (-3600, {"", "clock_skew"}), (0, {""})])
def test_clocks_are_compared_with_the_hubs(joined: tuple[Case, SmallHub], ahead: int, found: set[str]) -> None:
    case, small = joined
    time = (datetime.now(UTC) + timedelta(seconds=ahead)).isoformat()
    small.routes["GET", "/healthz"] = (200, {"status": "ok", "time": time})
    told = codes(this_node.check_hub_web(case))
    assert told.keys() == found
    if ahead:
        assert ("behind the hub's" if ahead > 0 else "ahead of the hub's") in told["clock_skew"].message


def test_an_older_hubs_date_does_as_well(joined: tuple[Case, SmallHub]) -> None:
    case, small = joined
    small.routes["GET", "/healthz"] = (200, {"status": "ok"})
    assert codes(this_node.check_hub_web(case)).keys() == {""}


def test_a_hub_that_is_away_is_a_problem(joined: tuple[Case, SmallHub]) -> None:
    case, _ = joined
    (case.where.home / "node/hub.json").write_text('{"url": "http://127.0.0.1:1", "addresses": [], "slug": "oslo"}')
    assert "Connection refused" in codes(this_node.check_hub_web(case))["hub_unreachable"].message


def test_a_web_door_that_moved_where_the_node_cannot_go_is_told(joined: tuple[Case, SmallHub]) -> None:
    case, small = joined
    small.routes["GET", "/healthz"] = (200, {"time": datetime.now(UTC).isoformat()})
    node_dir = case.where.home / "node"
    place = HubPlace.load(node_dir)
    assert place
    place.moved_to("http://127.0.0.1:1").write(node_dir)
    found = codes(this_node.check_hub_web(case))
    assert found.keys() == {"", "hub_moved"} and "server.public_url" in found["hub_moved"].fix


def test_a_closed_grpc_door_is_said_in_the_links_own_words(joined: tuple[Case, SmallHub]) -> None:
    found = codes(this_node.check_hub_link(joined[0]))["connection_refused"]
    assert found.message.startswith("failed to connect to the hub: ")


def test_what_the_node_server_met_with_is_told_until_there_is_a_link(joined: tuple[Case, SmallHub]) -> None:
    case, _ = joined
    node_home = NodeHome(case.where.home / "node")
    node_home.write_trouble("node_revoked", "It is not accepted any more.", "Join again.")
    found = codes(this_node.check_hub_link(case))["node_revoked"]
    assert "not accepted any more" in found.message and found.fix == "Join again."
    node_home.clear_trouble()
    assert "node_revoked" not in codes(this_node.check_hub_link(case))


async def test_the_hubs_door_is_known_by_its_certificate(case: Case) -> None:
    from nodes.link.diagnose import look

    certificates = make_certificates()
    pair = pki.issue_hub_server(certificates.authority)
    async with listening(certificates.credentials(pair), until_cut) as address:
        assert await look(address, certificates.authority.pem, pki.HUB_SERVER_NAME, None) is None


def test_a_node_server_that_is_not_running_is_a_problem(joined: tuple[Case, SmallHub]) -> None:
    case, _ = joined
    lock = case.where.home / "node/lock"
    lock.touch()
    assert codes(this_node.check_server(case))["node_not_running"].level is Level.PROBLEM
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert codes(this_node.check_server(case))[""].level is Level.OK


def test_a_node_by_configuration_is_told_that_grpc_is_off(case: Case) -> None:
    assert case.config
    case.config.server.role = "node"
    assert case.is_node
    assert codes(this_node.check_listener(case)).keys() == {"grpc_off"}


def test_a_node_by_configuration_is_told_whether_it_listens(case: Case) -> None:
    assert case.config
    case.config.server.role, case.config.internal_grpc.enabled = "node", True
    with socket.create_server(("127.0.0.1", 0)) as listener:
        case.config.internal_grpc.listen = f"127.0.0.1:{listener.getsockname()[1]}"
        assert codes(this_node.check_listener(case)).keys() == {"", "loopback_only"}
    found = codes(this_node.check_listener(case))["grpc_not_listening"]
    assert "Connection refused" in found.message and "ss -tlnp" in found.fix


def test_a_hub_that_was_refused_is_told_until_there_is_a_link(case: Case) -> None:
    assert case.config
    case.config.server.role, case.config.internal_grpc.enabled = "node", True
    node_dir = case.where.home / "node"
    node_dir.mkdir(parents=True)
    node_home = NodeHome(node_dir)
    node_home.write_refusal("unauthorized", "unauthorized: the token is signed with another shared_secret")
    found = codes(this_node.check_listener(case))["hub_refused"]
    assert "another shared_secret." in found.message and "[internal_grpc.auth]" in found.fix
    node_home.clear_trouble()
    assert "hub_refused" not in codes(this_node.check_listener(case))


def test_a_node_that_joined_to_be_dialled_is_looked_at_where_it_listens(joined: tuple[Case, SmallHub]) -> None:
    case, _ = joined
    node_dir = case.where.home / "node"
    place = HubPlace.load(node_dir)
    assert place
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        replace(place, listen=address).write(node_dir)
        assert codes(this_node.check_listener(case)).keys() == {"", "loopback_only"}
    assert address in codes(this_node.check_listener(case))["grpc_not_listening"].message
    assert list(this_node.check_hub_link(case)) == []


def test_where_a_node_server_listens_is_its_own_word(joined: tuple[Case, SmallHub]) -> None:
    case, _ = joined
    place = HubPlace.load(case.where.home / "node")
    assert place
    replace(place, listen="127.0.0.1:1").write(case.where.home / "node")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        NodeHome(case.where.home / "node").write_address(f"127.0.0.1:{listener.getsockname()[1]}")
        assert "grpc_not_listening" not in codes(this_node.check_listener(case))


def test_a_user_for_agents_that_is_not_there_is_named(home: Path) -> None:
    (home / "config.toml").write_text('[isolation]\nrun_as = "no-such-user"\n')
    config = load_config(environ={"AGENTHUB_HOME": str(home)})
    found = codes(machine.check_isolation(Case(Where(home), config)))["run_as_unavailable"]
    assert found.level is Level.WARNING and "no-such-user" in found.message and found.fix
