"""Starting the node server: what it needs, what it says when it lacks it, what it is made of."""

import json
import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from nodes.pki import ensure_pki
from nodes.server.main import EXIT_BAD_CONFIG, EXIT_REFUSED, main
from tests.node.hub import SmallHub
from tests.node.parts import NODE_ID, ROOT, NodeProcess, spawn_node
from tests.support import eventually_async


def refusal(home: Path) -> str:
    """What the node server says before it gives up."""
    log = home / "refused.log"
    child = spawn_node(home, log)
    assert child.wait(30) in (EXIT_REFUSED, EXIT_BAD_CONFIG)
    return log.read_text()


def test_a_home_without_an_id_is_told_to_prepare(home: Path) -> None:
    assert "Run 'agenthub up'" in refusal(home)


def test_a_home_without_certificates_is_told_to_prepare(prepared: Path) -> None:
    (prepared / "pki/local.pem").unlink()
    assert "local.pem cannot be read" in refusal(prepared)


def test_a_certificate_of_another_node_is_refused(prepared: Path) -> None:
    ensure_pki(prepared / "pki", uuid4())
    assert f"node/id says {NODE_ID}" in refusal(prepared)


def test_a_second_node_server_on_the_home_is_refused(shared_node: NodeProcess) -> None:
    assert f"Another node server (pid {shared_node.pid}) already serves" in refusal(shared_node.home)


def test_a_taken_port_is_named(shared_node: NodeProcess, tmp_path: Path) -> None:
    other = tmp_path / "home"
    (other / "node").mkdir(parents=True)
    (other / "node/id").write_text(str(NODE_ID))
    ensure_pki(other / "pki", NODE_ID)
    log = tmp_path / "log"
    child = spawn_node(other, log, AGENTHUB_NODE__LISTEN=shared_node.address)
    assert child.wait(30) == EXIT_BAD_CONFIG
    assert f"Cannot listen on {shared_node.address}" in log.read_text()


def test_help_says_what_stopping_does(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "leaves live runs alive" in capsys.readouterr().out


def test_a_node_is_free_of_django() -> None:
    script = "import sys, nodes.server.main; print(json.dumps(sorted(sys.modules)))"
    output = subprocess.check_output([sys.executable, "-c", f"import json; {script}"], cwd=ROOT, text=True)
    roots = {name.partition(".")[0] for name in json.loads(output)}
    assert not roots & {"django", "channels", "rest_framework", "agents", "audit", "agenthub_site", "integrations"}


async def test_a_running_node_has_no_django_either(shared_node: NodeProcess, shared_hub: SmallHub) -> None:
    mapped = Path(f"/proc/{shared_node.pid}/maps").read_text()
    assert "django" not in mapped
    assert "cygrpc" in mapped


async def test_hello_says_what_the_machine_offers(shared_node: NodeProcess, shared_hub: SmallHub) -> None:
    await eventually_async(lambda: shared_hub.hellos[-1].git_version)  # of a slow machine it is said a little later
    hello = shared_hub.hellos[-1]
    assert hello.node_id == str(NODE_ID)
    assert hello.capacity == 100
    assert str(shared_node.home / "work") in hello.allowed_roots
    assert str(shared_node.home / "worktrees") in hello.allowed_roots
    assert "scripted" in {runtime.preset for runtime in hello.runtimes if runtime.found}


async def test_versions_that_take_long_are_said_again_on_the_same_link(idle_node: NodeProcess, hub: SmallHub) -> None:
    slow = idle_node.home / "bin"
    slow.mkdir()
    (slow / "git").write_text(f"#!/bin/sh\nuntil [ -e {slow}/go ]; do sleep 0.1; done\necho git version 9.8.7\n")
    (slow / "git").chmod(0o755)
    idle_node.environment["PATH"] = f"{slow}:{os.environ['PATH']}"
    idle_node.start()
    hello = await hub.connect()
    assert hello.git_version == ""
    (slow / "go").touch()
    await eventually_async(lambda: len(hub.hellos) == 2)
    assert hub.hellos[1].git_version == "9.8.7"


async def test_heartbeats_tell_how_the_machine_is(shared_node: NodeProcess, shared_hub: SmallHub) -> None:
    await eventually_async(lambda: shared_hub.heartbeats)
    assert shared_hub.heartbeats[0].number == 1
    assert shared_hub.heartbeats[0].disk_total > shared_hub.heartbeats[0].disk_free > 0


async def test_an_older_epoch_is_sent_away_and_the_owner_keeps_its_link(node: NodeProcess, hub: SmallHub) -> None:
    await hub.connect(epoch=7)
    await eventually_async(lambda: hub.heartbeats)  # the node has heard the welcome
    stale = SmallHub(node.home)
    await stale.connect(epoch=6)
    cause = await stale.link.wait_closed()
    assert cause.data["code"] == "stale_epoch"
    assert "has seen 7" in cause.text
    assert hub.link.is_open
    await stale.aclose()


async def test_a_newer_epoch_takes_the_link_over(node: NodeProcess, hub: SmallHub) -> None:
    await hub.connect(epoch=7)
    await eventually_async(lambda: hub.heartbeats)  # the node has heard the welcome
    newer = SmallHub(node.home)
    await newer.connect(epoch=8)
    cause = await hub.link.wait_closed()
    assert cause.data["code"] == "superseded"
    await eventually_async(lambda: newer.heartbeats)
    await newer.aclose()


async def test_the_highest_epoch_outlives_the_node_server(node: NodeProcess, hub: SmallHub) -> None:
    await hub.connect(epoch=7)
    await eventually_async(lambda: hub.heartbeats)
    node.kill()
    node.start()
    await hub.connect(epoch=6)
    assert (await hub.link.wait_closed()).data["code"] == "stale_epoch"
