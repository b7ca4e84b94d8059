"""What a child finds in its environment: an allowlist, what the agent is given, and the run's marker."""

from pathlib import Path

from nodes.server.environment import (
    GIT_SETTINGS,
    agent_environment,
    base_environment,
    masked_environment,
    with_git_settings,
)
from nodes.server.proc import RUN_MARKER
from tests.supervisor.conftest import Node, texts
from tests.supervisor.repositories import git, make_repository

NODE = {
    "PATH": "/bin", "HOME": "/home/node", "LC_ALL": "C.UTF-8", "LANG": "C", "HTTPS_PROXY": "http://proxy:1",
    "AGENTHUB_DATABASE__URL": "postgresql://u:p@db/x", "AGENTHUB_SECRETS__KEY": "k", "AGENTHUB_TOKEN": "aht_x",
    "AWS_SECRET_ACCESS_KEY": "x", "ANTHROPIC_API_KEY": "a", "OPENAI_API_KEY": "o", "SSH_AUTH_SOCK": "/tmp/agent",
    "GIT_CONFIG_GLOBAL": "/x", "LD_PRELOAD": "/x.so", "PYTHONPATH": "/x", "NODE_OPTIONS": "--require=/x",
    "DBUS_SESSION_BUS_ADDRESS": "unix:path=/run/x", "DJANGO_SETTINGS_MODULE": "x", "XDG_RUNTIME_DIR": "/run/user/1",
}  # fmt: skip
GIT = with_git_settings({}, GIT_SETTINGS)
PASSED = {"PATH", "HOME", "LC_ALL", "LANG", "HTTPS_PROXY", "XDG_RUNTIME_DIR"}


def test_nothing_passes_that_is_not_listed() -> None:
    assert set(base_environment(NODE)) == PASSED


def test_an_agent_gets_its_presets_keys_its_own_and_the_marker_and_nothing_else() -> None:
    given = agent_environment("run-1", {"MINE": "1"}, ["ANTHROPIC_API_KEY", "ABSENT"], NODE)
    assert set(given) == {*PASSED, *GIT, "ANTHROPIC_API_KEY", "MINE", RUN_MARKER}
    assert given[RUN_MARKER] == "run-1"


def test_what_is_ours_cannot_be_set_by_an_agent() -> None:
    given = agent_environment("run-1", {RUN_MARKER: "other", "AGENTHUB_HOME": "/x", "A=B": "x", "C": "a\0b"}, [], NODE)
    assert given == {**base_environment(NODE), **GIT, RUN_MARKER: "run-1"}


def test_a_masked_agent_is_not_sent_to_places_that_are_not_there() -> None:
    given = masked_environment({"XDG_RUNTIME_DIR": "/run/user/1", "TMPDIR": "/home/x/tmp", "MINE": "1"})
    assert given == {"TMPDIR": "/tmp", "MINE": "1"}


def test_our_settings_for_git_stand_behind_the_agents_own() -> None:
    own = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "user.name", "GIT_CONFIG_VALUE_0": "Mender"}
    given = agent_environment("run-1", own, [], NODE)
    assert given["GIT_CONFIG_KEY_0"] == "user.name" and given["GIT_CONFIG_KEY_1"] == "safe.bareRepository"
    assert given["GIT_CONFIG_COUNT"] == "3"
    assert agent_environment("run-1", {"GIT_CONFIG_COUNT": "many"}, [], NODE)["GIT_CONFIG_COUNT"] == "2"


async def test_looking_at_a_repository_runs_nothing_that_lies_in_a_checkout(node: Node) -> None:
    shop = make_repository(node.code / "shop")
    inner = shop / "vendor/x"
    inner.mkdir(parents=True)
    git(inner, "init", "--bare", "--quiet", ".")
    for repository in (shop, inner):
        git(repository, "config", "core.fsmonitor", f"{_program(node, repository.name)} #")
    git(inner, "config", "core.bare", "false")
    git(inner, "config", "core.worktree", "..")
    script = "git status --short > /dev/null; echo outer; cd vendor/x; git status --short 2>&1 | cut -c1-30"
    work = {"mode": "use_existing", "workdir": str(shop)}
    events = await node.finish("sh", "-c", script, workspace=work)
    assert texts(events).startswith("outer\nfatal: "), texts(events)
    assert not list(node.code.glob("*.was-run"))


def _program(node: Node, name: str) -> Path:
    program = node.code / f"{name}.sh"
    program.write_text(f"#!/bin/sh\ntouch {node.code}/{name}.was-run\n")
    program.chmod(0o755)
    return program
