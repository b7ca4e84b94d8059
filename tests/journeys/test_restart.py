"""Parts are killed, the hub is stopped: a reader sees a pause and nothing else, and runs go on."""

import os
import re
import signal

import psutil
import pytest

from integrations.cli.exits import Exit
from tests.support import eventually

from .hub import Follower, Hub

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300)]

LONG = "@events 300 rate 20"
"""Fifteen seconds of work."""


def begun(hub: Hub) -> tuple[str, Follower]:
    run = hub.start_run(LONG)
    follower = hub.follow(run)
    eventually(lambda: follower.has("run.plan.updated"), 60)
    return run, follower


def saw_everything(hub: Hub, run: str, follower: Follower) -> bool:
    assert follower.seqs() == list(range(1, len(follower.events) + 1))
    assert follower.events == hub.events(run)
    done = [event["payload"]["entries"][0]["content"].split()[0] for event in follower.events if is_step(event)]
    return done == [str(number) for number in range(1, 301)]


def is_step(event: dict[str, object]) -> bool:
    return event["type"] == "run.plan.updated"


def test_killing_the_node_server_is_a_pause(hub: Hub) -> None:
    run, follower = begun(hub)
    killed = hub.child("node", "run")
    os.kill(killed, signal.SIGKILL)
    assert follower.wait() == 0, hub.logs()
    assert saw_everything(hub, run, follower)
    assert hub.child("node", "run") != killed
    assert "The node was killed by SIGKILL" in hub.said


def test_killing_the_hub_is_a_pause(hub: Hub) -> None:
    run, follower = begun(hub)
    os.kill(hub.child("web"), signal.SIGKILL)
    assert follower.wait() == 0, hub.logs()
    assert saw_everything(hub, run, follower)
    assert "nothing was missed" in follower.said
    assert hub.cli("agents", AGENTHUB_URL=hub.told["address"]).returncode == Exit.REFUSED  # the same address


def test_killing_the_worker_leaves_none_of_its_processes(hub: Hub) -> None:
    worker = psutil.Process(hub.child("worker"))
    family = eventually(lambda: worker.children(recursive=True))
    worker.kill()
    eventually(lambda: not [process for process in family if process.is_running()], 20)
    assert hub.child("worker") != worker.pid


def test_a_second_up_on_the_home_is_refused_with_address_and_process(hub: Hub) -> None:
    second = hub.cli("up")
    assert second.returncode == Exit.REFUSED
    assert hub.told["address"] in second.stderr and str(hub.pid) in second.stderr


def test_ctrl_c_leaves_the_run_alive_and_the_next_up_takes_it_back(own_hub: Hub) -> None:
    own_hub.up()
    password = own_hub.told["password"]
    run, follower = begun(own_hub)
    assert own_hub.stop() == 0
    assert re.search(r"\d runs? goe?s? on", own_hub.said)  # the demo's own first run may still be asking
    left = own_hub.processes()
    assert left and not [
        process for process in left if "agenthub_site.main" in process.cmdline() and "logs" not in process.cmdline()
    ]
    assert password and own_hub.up()["password"] is None
    again = own_hub.follow(run)
    assert again.wait() == 0, own_hub.logs()
    assert saw_everything(own_hub, run, again)
    assert follower.wait() == 0 and follower.events == again.events  # it waited for the hub all the while


def test_stop_runs_ends_them(own_hub: Hub) -> None:
    own_hub.up("--stop-runs")
    run, follower = begun(own_hub)
    assert own_hub.stop(signal.SIGTERM) == 0
    follower.kill()
    assert "go on" not in own_hub.said.replace("Runs under way go on", "")
    eventually(lambda: not [p for p in own_hub.processes() if "scripted" in " ".join(p.cmdline())])
    own_hub.up()
    assert own_hub.run_of(run)["state"] == "cancelled"


def test_a_killed_parent_takes_its_children_along_and_the_next_up_waits_for_them(own_hub: Hub) -> None:
    own_hub.up()
    parts = [own_hub.child("web"), own_hub.child("node", "run"), own_hub.child("worker")]
    worker = psutil.Process(own_hub.child("worker"))
    parts += [process.pid for process in eventually(lambda: worker.children(recursive=True))]
    for pid in (own_hub.pid, worker.pid):  # the worker has no time to end its own
        os.kill(pid, signal.SIGKILL)
    own_hub.wait()
    own_hub.up()
    assert not [pid for pid in parts if psutil.pid_exists(pid)]
    assert own_hub.cli("run", "demo", "Say hello", "--follow").returncode == 0


def test_stopping_is_quick_and_leaves_nothing(own_hub: Hub) -> None:
    own_hub.up()
    first = own_hub.told["run"]
    assert own_hub.follow(first).wait() == 0
    assert own_hub.stop(signal.SIGTERM) == 0
    assert own_hub.said.rstrip().endswith("Stopped.")
    left = [process for process in own_hub.processes() if "spawner" not in " ".join(process.cmdline())]
    assert left == []
