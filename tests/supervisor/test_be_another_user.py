"""Isolation ``user``, from within: masked, and another OS user. Needs a node that runs as root, as CI's does."""

import json
import os
import pwd
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agenthub_site import demo_repository
from nodes.server.fence import Fence
from nodes.server.handing_over import LinkOnTheWay
from nodes.server.other_user import OtherUser, why_not
from nodes.server.paths import SafePaths
from nodes.server.spawner_client import SpawnerClient
from tests.supervisor.conftest import Node, only, texts
from tests.supervisor.repositories import git, make_repository
from tests.supervisor.test_mask_agent import PROBE

NAME = "nobody"
USER = {"isolation": "user"}
WHY_NOT = why_not(NAME)
needs_root = pytest.mark.skipif(bool(WHY_NOT) and "CI" not in os.environ, reason=WHY_NOT or "it can be done")


@pytest.fixture
async def other(node: Node) -> AsyncIterator[Node]:
    """The node, whose operator has named a user for agents."""
    usual = node.spawner
    safe = SafePaths((node.code,), node.home / "worktrees", Fence(run_as=NAME))
    node.spawner = SpawnerClient(node.home / "node", node.home / "logs" / "spawner.log", safe)
    await node.spawner.ensure()
    yield node
    await node.spawner.aclose()
    node.spawner = usual


@pytest.fixture
def theirs(node: Node) -> dict[str, Any]:
    """A directory of the other user's, to work in."""
    work = node.code / "theirs"
    work.mkdir()
    OtherUser.named(NAME).own(work)
    return {"mode": "use_existing", "workdir": str(work)}


@needs_root
async def test_the_agent_is_somebody_else_who_may_write_its_workspace_and_no_more(
    other: Node, theirs: dict[str, Any]
) -> None:
    secret = other.home / "node/secrets/deploy"
    secret.parent.mkdir(parents=True, exist_ok=True)
    secret.write_text("private")
    script = "import os; print(os.getuid(), os.environ['HOME'], os.environ['USER'], len(os.getgroups()), flush=True);"
    targets = json.dumps({"secret": str(secret), "shadow": "/etc/shadow", "home": str(other.home)})
    written = json.dumps({"workspace": "written", "temporary": "/tmp/x", "system": "/etc/x"})
    events = await other.finish(
        sys.executable, "-c", script + PROBE.read_text(), targets, written, workspace=theirs, **USER
    )
    assert events[-1].type == "run.completed", (events[-1].payload, texts(events, "stderr"))
    assert only(events, "run.started")["isolation"] == "user"
    first, _, rest = texts(events).partition("\n")
    assert first.split()[0] == str(pwd.getpwnam(NAME).pw_uid) and first.split()[2] == NAME
    found = json.loads(rest)
    assert found["read"] == [] and found["written"] == ["workspace", "temporary"]
    assert found["killed"] == [] and found["capabilities"] == 0 and found["no_new_privileges"] == 1


@needs_root
async def test_a_worktree_that_is_made_is_theirs_and_its_diff_is_read(other: Node) -> None:
    repository = make_repository(other.code / "repo")
    script = "echo more >> readme.txt && echo new > new.txt && git status --short > /dev/stdout"  # by its name
    work = {"mode": "create_worktree", "repository": str(repository)}
    events = await other.finish("sh", "-c", script, workspace=work, **USER)
    assert texts(events) == " M readme.txt\n?? new.txt\n", (events[-1].payload, texts(events, "stderr"))
    assert {change["path"] for change in only(events, "run.diff.ready")["files"]} == {"new.txt", "readme.txt"}
    made = Path(only(events, "run.started")["workspace"])
    assert {path.stat().st_uid for path in (made, made / "readme.txt")} == {pwd.getpwnam(NAME).pw_uid}
    assert git(repository, "status", "--short") == "" and (repository / "readme.txt").stat().st_uid == 0


@needs_root
@pytest.mark.parametrize("closed", [".", "objects", "refs", "HEAD"])
async def test_a_repository_that_they_may_not_read_is_refused_with_the_command(other: Node, closed: str) -> None:
    repository = make_repository(other.code / "repo")
    (repository / ".git" / closed).chmod(0o700)
    work = {"mode": "create_worktree", "repository": str(repository)}
    events = await other.finish("true", workspace=work, **USER)
    assert events[-1].payload["reason"] == "workspace_failed"
    assert "chmod -R go+rX" in events[-1].payload["message"]
    assert not (repository / ".git/worktrees").exists()


@needs_root
async def test_the_demo_repository_is_theirs_to_read(other: Node) -> None:
    was = os.umask(0o077)  # as where the hub's own files are made
    try:
        demo_repository.make_repository(other.code / "hello")
    finally:
        os.umask(was)
    work = {"mode": "create_worktree", "repository": str(other.code / "hello")}
    events = await other.finish("sh", "-c", "git log --oneline && echo new > new.txt", workspace=work, **USER)
    assert texts(events).endswith(" Say hello\n"), (events[-1].payload, texts(events, "stderr"))
    assert [change["path"] for change in only(events, "run.diff.ready")["files"]] == ["new.txt"]


@needs_root
async def test_a_worktree_takes_commits_where_the_repository_lets_them(other: Node) -> None:
    repository = make_repository(other.code / "repo")
    for name in ("objects", "refs", "logs"):
        OtherUser.named(NAME).own(repository / ".git" / name)
    script = "echo more > new.txt && git add . && git -c user.name=a -c user.email=a@b commit -qm more && echo done"
    work = {"mode": "create_worktree", "repository": str(repository)}
    events = await other.finish("sh", "-c", script, workspace=work, **USER)
    assert texts(events) == "done\n", texts(events, "stderr")
    assert only(events, "run.diff.ready")["files_changed"] == 1


@needs_root
@pytest.mark.parametrize(
    "place",
    ["refs", "refs/heads", "refs/heads/agenthub", "logs", "logs/refs", "logs/refs/heads", "logs/refs/heads/agenthub"],
)
async def test_root_follows_no_link_of_theirs(other: Node, tmp_path: Path, place: str) -> None:
    repository = make_repository(other.code / "repo")
    elsewhere = tmp_path / "elsewhere"
    link = repository / ".git" / place
    if link.exists():
        link.rename(elsewhere)  # so that git finds all that it needs
    elsewhere.mkdir(exist_ok=True)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(elsewhere)
    before = sorted(elsewhere.rglob("*"))
    work = {"mode": "create_worktree", "repository": str(repository)}
    failed = only(await other.finish("true", workspace=work, **USER), "run.failed")
    assert failed["reason"] == "workspace_failed" and f"{link} is a link" in failed["message"], failed
    assert sorted(elsewhere.rglob("*")) == before
    assert {path.stat().st_uid for path in (elsewhere, *before)} == {0}


@needs_root
def test_root_gives_away_no_file_of_another_name_and_nothing_beyond_a_link(tmp_path: Path) -> None:
    user = OtherUser.named(NAME)
    (tmp_path / "system").mkdir()
    secret = tmp_path / "system/secret"
    secret.write_text("private")
    work = tmp_path / "work"
    (work / "inner").mkdir(parents=True)
    (work / "inner/file").touch()
    os.link(secret, work / "inner/hard")
    (work / "inner/soft").symlink_to(secret)
    (work / "beyond").symlink_to(tmp_path / "system")
    user.own(work)
    theirs = {path for path in (work, *work.rglob("*")) if path.lstat().st_uid == user.uid}
    assert theirs == {work, *(work / name for name in ("inner", "inner/file", "inner/soft", "beyond"))}
    assert secret.stat().st_uid == 0 and (tmp_path / "system").stat().st_uid == 0
    (tmp_path / "by-link").symlink_to(tmp_path / "system")
    for path in ("by-link", "by-link/inner", "system/secret"):
        with pytest.raises(LinkOnTheWay):
            user.own(tmp_path / path)
    user.own(tmp_path / "missing/inner")
    assert secret.stat().st_uid == 0 and (tmp_path / "system").stat().st_uid == 0


@needs_root
async def test_cancelling_leaves_nothing_of_theirs(other: Node, theirs: dict[str, Any]) -> None:
    run = await other.start("sh", "-c", "(setsid sleep 1000 &); echo up; sleep 1000", workspace=theirs, **USER)
    await other.event(run, "run.output")
    os.kill(other.supervisor_pid(run), 15)
    await other.ended(run)
    only(other.events(run), "run.cancelled")
    assert other.leftovers() == []


@needs_root
async def test_a_workspace_of_somebody_else_is_refused_with_what_to_do(other: Node) -> None:
    failed = only(await other.finish("true", **USER), "run.failed")
    assert failed["reason"] == "workspace_failed" and f"chown -R {NAME}" in failed["message"]


async def test_a_node_that_names_nobody_refuses_it(node: Node) -> None:
    failed = only(await node.finish("true", **USER), "run.failed")
    assert failed["reason"] == "isolation_unavailable" and "run_as" in failed["message"]


@pytest.mark.parametrize(("name", "words"), [("", "run_as"), ("no-such-user", "useradd"), ("root", "is root")])
def test_why_not_is_said(name: str, words: str) -> None:
    assert words in why_not(name) or (os.geteuid() != 0 and "as root" in why_not(name))
