"""The seeds' way with real processes: two files, registered by REST, a run on it; and a joined node that is dialled."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.link.configured import COMMANDS, NAME, SEED, make_files
from tests.support import eventually, free_port

from .hub import Hub, new_hub
from .machine import Machine, client_of, command_of, is_online, workdir

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300)]
SECONDS = 60.0
SECRET = "CHANGE-ME-256-BIT-SECRET"


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    """By the seed's file for the hub; its addresses and directories are this machine's."""
    home = Path(tempfile.mkdtemp(prefix="ah-", dir="/tmp"))
    make_files(home / "certs", COMMANDS)
    write_config(home, "hub.toml")
    with new_hub(home) as hub:
        hub.up()
        yield hub
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def machine(home: Path) -> Iterator[Machine]:
    machine = Machine(home)
    yield machine
    machine.close()


def write_config(home: Path, name: str) -> None:
    text = (SEED / name).read_text().replace("0.0.0.0:50051", "127.0.0.1:0").replace("0.0.0.0:8080", "127.0.0.1:0")
    (home / "config.toml").write_text(text.replace("/etc/agenthub", str(home)).replace("/data/agenthub", str(home)))


def health_of(hub: Hub, name: str) -> Any:
    return client_of(hub).get(f"/api/admin/agent-nodes/{name}/health")


def test_the_two_files_make_a_node_that_runs_agents(hub: Hub, machine: Machine) -> None:
    (machine.home / "certs").mkdir()
    for name in ("ca-cert.pem", "node-cert.pem", "node-key.pem"):
        shutil.copy(hub.home / "certs" / name, machine.home / "certs")
    write_config(machine.home, "gpu-01.toml")
    machine.serve("-c", str(machine.home / "config.toml"))
    written = machine.home / "node/address"
    address = eventually(lambda: written.exists() and written.read_text(), SECONDS)

    root = client_of(hub)
    body = {
        "id": "gpu-01", "name": "GPU Server 01", "grpc_target": f"https://{address}", "tls_server_name": NAME,
        "default_worktree_root": str(machine.home / "worktrees"), "allow_projects": ["demo"],
    }  # fmt: skip
    assert root.post("/api/admin/agent-nodes", body)["grpc_target"] == f"https://{address}"
    eventually(lambda: is_online(hub, "gpu-01"), SECONDS)
    assert health_of(hub, "gpu-01")["status"] in {"online", "degraded"}

    agent = root.post(
        "/api/v1/agents/",
        {
            "project": "demo", "name": "far", "node": "gpu-01", "runtime": "acp", "preset": "scripted",
            "workspace_mode": "use_existing", "workdir": str(workdir(machine)),
        },
    )  # fmt: skip
    assert hub.follow(hub.start_run("Say hello", agent["id"])).wait() == 0, machine.log.read_text() + hub.logs()

    root.post("/api/admin/agent-nodes", body | {"id": "gpu-02", "name": "The same under another id"})
    eventually(lambda: health_of(hub, "gpu-02")["status"] == "mismatch", SECONDS)
    eventually(lambda: "node_mismatch" in machine.log.read_text(), SECONDS)
    assert is_online(hub, "gpu-01")

    said = machine.log.read_text() + hub.logs() + json.dumps([*root.every("/api/admin/agent-nodes")])
    token = hub.cli("node", "bootstrap-token").stdout.strip()
    assert token == (hub.home / "certs/bootstrap_token.txt").read_text().strip()
    assert SECRET not in said and token not in said
    assert token not in json.dumps(root.get("/api/admin/agent-nodes/bootstrap"))


def test_a_node_that_joined_may_be_dialled(hub: Hub, machine: Machine) -> None:
    port = free_port()
    machine.serve(*command_of(hub, "gpu-03"), "--listen", f"127.0.0.1:{port}")
    eventually(lambda: is_online(hub, "gpu-03"), SECONDS)
    node = client_of(hub).get("/api/admin/agent-nodes/gpu-03")
    assert (node["direction"], node["grpc_target"]) == ("dial", f"https://127.0.0.1:{port}")

    assert machine.cli("node", "rotate", "--json").returncode == 0
    shown = subprocess.run(
        f"echo | openssl s_client -connect 127.0.0.1:{port} 2>/dev/null | openssl x509 -noout -serial",
        shell=True, capture_output=True, text=True, timeout=SECONDS, check=True,
    ).stdout  # fmt: skip
    held = subprocess.run(
        ["openssl", "x509", "-noout", "-serial", "-in", str(machine.home / "pki/node.pem")],
        capture_output=True, text=True, timeout=SECONDS, check=True,
    ).stdout  # fmt: skip
    assert shown == held  # what was renewed is shown without a restart

    assert hub.cli("node", "revoke", "gpu-03", "--yes").returncode == 0
    eventually(lambda: "link.down" in machine.log.read_text(), SECONDS)
    refused = machine.cli("node", "rotate", "--json")
    assert json.loads(refused.stdout)["error"]["code"] == "node_revoked"
