"""A machine joins by the printed command, works, and is revoked; with real processes on two homes."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from integrations.cli.exits import Exit
from nodes import pki
from tests.support import eventually

from .hub import Hub, running_hub
from .machine import SECONDS, Machine, client_of, command_of, is_online, node_of, workdir

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with running_hub(AGENTHUB_INTERNAL_GRPC__LISTEN="127.0.0.1:0") as hub:
        yield hub


@pytest.fixture
def machine(home: Path) -> Iterator[Machine]:
    machine = Machine(home)
    yield machine
    machine.close()


def refused(machine: Machine, command: list[str]) -> tuple[int, str]:
    ended = machine.cli(*command, "--no-start", "--json")
    return ended.returncode, json.loads(ended.stdout)["error"]["code"]


def test_a_machine_joins_works_and_is_revoked(hub: Hub, machine: Machine) -> None:
    command = command_of(hub, "gpu-01")
    machine.serve(*command)
    eventually(lambda: is_online(hub, "gpu-01"), SECONDS)
    assert (machine.home / "pki/node.pem").stat().st_mode & 0o777 == 0o600
    assert not (machine.home / "node/address").exists()  # it listens nowhere

    agent = client_of(hub).post(
        "/api/v1/agents/",
        {
            "project": "demo", "name": "far", "node": "gpu-01", "runtime": "acp", "preset": "scripted",
            "workspace_mode": "use_existing", "workdir": str(workdir(machine)),
        },
    )  # fmt: skip
    follower = hub.follow(hub.start_run("Say hello", agent["id"]))
    assert follower.wait() == 0, machine.log.read_text() + hub.logs()

    rotated = machine.cli("node", "rotate", "--json")
    assert rotated.returncode == 0, rotated.stderr
    machine.stop()
    machine.serve("node", "run")  # with the certificate that it got just now
    run = hub.start_run("@events 2000 rate 20", agent["id"])
    eventually(lambda: hub.run_of(run)["state"] == "running", SECONDS)

    before = pki.identity_of((machine.home / "pki/node.pem").read_bytes())
    assert hub.cli("node", "revoke", "gpu-01").returncode == Exit.USAGE
    assert hub.cli("node", "revoke", "gpu-01", "--yes").returncode == 0
    eventually(lambda: "node_revoked" in machine.log.read_text(), SECONDS)
    ended = machine.cli("node", "rotate", "--json")
    assert (ended.returncode, json.loads(ended.stdout)["error"]["code"]) == (Exit.REFUSED, "node_revoked")
    assert node_of(hub, "gpu-01")["state"] != "online"
    doctor = {finding["code"]: finding for finding in json.loads(machine.cli("doctor", "--json").stdout)}
    assert doctor["node_revoked"]["level"] == "problem" and "agenthub node token" in doctor["node_revoked"]["fix"]

    machine.stop()
    machine.serve(*command_of(hub, "gpu-01"))  # a new token lets it back in, and it still has its run
    eventually(lambda: is_online(hub, "gpu-01"), SECONDS)
    after = pki.identity_of((machine.home / "pki/node.pem").read_bytes())
    assert before and after and after.node_id == before.node_id and after.generation > before.generation
    assert hub.cli("cancel", run).returncode == 0
    eventually(lambda: hub.run_of(run)["state"] == "cancelled", SECONDS)


def test_a_token_is_good_for_one_machine(hub: Hub, machine: Machine) -> None:
    command = command_of(hub, "gpu-02")
    assert machine.cli(*command, "--no-start").returncode == 0
    assert refused(machine, command) == (Exit.REFUSED, "join_token_used")


def test_a_forged_or_foreign_token_is_refused(hub: Hub, machine: Machine) -> None:
    *_, token = command_of(hub, "gpu-03")
    assert refused(machine, ["node", "join", hub.told["address"], "--token", token[:-9]])[0] == Exit.USAGE
    assert refused(machine, ["node", "join", "http://127.0.0.1:1", "--token", token]) == (
        Exit.UNREACHABLE, "hub_unreachable",
    )  # fmt: skip
    assert not (machine.home / "node").exists()


def test_a_hubs_own_home_does_not_join(hub: Hub) -> None:
    ended = hub.cli(*command_of(hub, "gpu-04"), "--no-start", "--json")
    assert (ended.returncode, json.loads(ended.stdout)["error"]["code"]) == (Exit.REFUSED, "home_in_use")
