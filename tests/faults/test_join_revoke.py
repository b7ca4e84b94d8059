"""A node is revoked during a run: cut off within 5 s, its run accounted for; a new token brings both back."""

import json
import time
from collections.abc import Iterator

import psutil
import pytest

from integrations.cli.exits import Exit
from tests.faults.joined import NAME, SECONDS, Pair, new_pair
from tests.journeys.machine import command_of, node_of
from tests.support import eventually

pytestmark = pytest.mark.timeout(600)
UPDATES = 800
CUT_SECONDS = 5.0


@pytest.fixture
def pair() -> Iterator[Pair]:
    with new_pair() as pair:
        yield pair


def refusals(pair: Pair) -> int:
    """How often the node's log says that the hub does not want it."""
    return pair.log().count("tunnel.refused")


def arguments_of(pair: Pair) -> str:
    """Everything that a list of processes shows of the machine's."""
    lines = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("AGENTHUB_HOME") == str(pair.machine.home):
                lines.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return "\n".join(lines)


def test_a_node_is_revoked_during_a_run_and_comes_back(pair: Pair) -> None:
    run = pair.follow(pair.agent(), f"@events {UPDATES} rate 10")
    run.comes_to(5)
    assert pair.hub.cli("node", "revoke", NAME, "--yes").returncode == 0
    began = time.monotonic()
    eventually(lambda: refusals(pair) == 1, SECONDS)
    assert time.monotonic() - began < CUT_SECONDS  # this is the promise itself
    assert "node_revoked" in pair.log() and "Join again with a new token" in pair.log()

    def state() -> tuple[str, str]:
        shown = pair.hub.run_of(run.id)
        return shown["state"], shown["reason"]

    eventually(lambda: state() == ("lost", "node_revoked"), SECONDS)
    assert node_of(pair.hub, NAME)["state"] != "online"

    # That survives a restart of either, and nobody hammers.
    pair.restart_hub()
    pair.machine.stop()
    pair.machine.serve("node", "run")
    eventually(lambda: refusals(pair) == 2, SECONDS)
    assert state() == ("lost", "node_revoked")
    ended = pair.machine.cli("node", "rotate", "--json")
    assert (ended.returncode, json.loads(ended.stdout)["error"]["code"]) == (Exit.REFUSED, "node_revoked")
    assert refusals(pair) == 2
    assert {json.loads(data).get("code") for data in pair.audited("node.refused")} == {"node_revoked"}

    # A new token, given beside the server that waits: it is taken over, and the run goes on.
    _, _, url, _, token = command_of(pair.hub, NAME)
    pair.machine.serve_instead("node", "join", url, "--token-file", "-", said=token)
    pair.until_online()
    eventually(lambda: state()[0] == "running", SECONDS)
    run.ends_whole(UPDATES)

    told = [pair.log(), pair.hub.logs(), arguments_of(pair), str(pair.rows("SELECT data FROM audit_auditevent"))]
    assert not [text for text in told if token in text or token[4:40] in text]


def test_a_token_on_the_command_line_is_not_shown_by_the_process_that_serves(pair: Pair) -> None:
    assert "node run" in arguments_of(pair)
    assert "ahj_" not in arguments_of(pair)
