"""The operator's socket refuses a run's own processes, tested from inside a run."""

import sys

import pytest

from .hub import Hub

pytestmark = [pytest.mark.journey, pytest.mark.timeout(240)]

INSIDE = """\
import os, subprocess, sys
environ = {{**os.environ, "AGENTHUB_HOME": {home!r}}}
if sys.argv[1:] == ["scrubbed"]:
    environ = {{"AGENTHUB_HOME": {home!r}, "PATH": "/usr/bin:/bin"}}
ended = subprocess.run({command!r}, env=environ, capture_output=True, text=True)
print("exit", ended.returncode, ended.stdout, ended.stderr)
"""


@pytest.mark.parametrize("how", ["plain", "scrubbed"])
def test_a_runs_process_cannot_make_a_token(hub: Hub, how: str) -> None:
    script = hub.home / "inside.py"
    script.write_text(
        INSIDE.format(home=str(hub.home), command=[*hub.agenthub, "token", "create", "mine", "--json"]), "utf-8"
    )
    make_agent(hub, f"inside-{how}", [sys.executable, str(script), how])
    run = hub.start_run("Go", f"inside-{how}")
    assert hub.follow(run).wait() == 0, hub.logs()
    output = "".join(event["payload"]["text"] for event in hub.events(run) if event["type"] == "run.output")
    assert "exit 4" in output and "operator_refused" in output
    assert "mine" not in [token["name"] for token in hub.ask("token", "list")]


def make_agent(hub: Hub, name: str, command: list[str]) -> None:
    """An agent of the ``command`` runtime in the demo's repository."""
    from integrations.cli.client import Client

    client = Client.over_socket(hub.home / "hub.sock")
    repository = str(hub.home / "worktrees" / "demo" / "hello")
    agent = {"project": "demo", "node": "local", "name": name, "runtime": "command", "command": command}
    client.post("/api/v1/agents/", {**agent, "workspace_mode": "create_worktree", "worktree_repo": repository})
