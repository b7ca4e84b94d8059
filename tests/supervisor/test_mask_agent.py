"""Isolation ``masked``, from within: what an agent tries is tried by a real program behind a real bubblewrap."""

import json
import os
import pwd
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from nodes.contract.commands import CancelRun, RuntimeSpec
from nodes.server import proc
from nodes.server.fence import Fence
from nodes.server.sandbox import Sandbox, mask, why_not
from tests.supervisor.conftest import Node, only, texts
from tests.supervisor.repositories import git, make_repository
from tests.support import eventually_async

pytestmark = pytest.mark.skipif(bool(why_not()) and "CI" not in os.environ, reason=why_not() or "it can be masked")
MASKED = {"isolation": "masked"}
WRITTEN = {"workspace": "written", "system": "/etc/written", "kernel": "/proc/sys/kernel/hostname"}
PROBE = Path(__file__).with_name("probe_mask.py")


async def probe(node: Node, targets: dict[str, str], **changes: Any) -> dict[str, Any]:
    """What the program within could do."""
    events = await node.finish(
        sys.executable, "-c", PROBE.read_text(), json.dumps(targets), json.dumps(WRITTEN), **{**MASKED, **changes}
    )
    assert events[-1].type == "run.completed", (events[-1].payload, texts(events, "stderr"))
    assert only(events, "run.started")["isolation"] == "masked"
    found: dict[str, Any] = json.loads(texts(events))
    return found


@pytest.fixture
def private(node: Node) -> dict[str, str]:
    """What an agent would like to have: all of it is there, and readable to this user."""
    home = node.home
    files = {
        "database": home / "db.sqlite3",
        "secret": home / "node/secrets/deploy",
        "certificate": home / "node/key.pem",
        "settings": home / "config.toml",
        "another project's work": home / "worktrees/other/tree/file",
        "another agent's work": home / "code/../code/neighbour/file",
        "another run's spool": node.accept("true").path / "spec.json",
        "temporary": Path("/tmp") / f"{home.name}-temporary",
    }
    node.runs.pop()
    for path in files.values():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text("private")
    return {name: str(path) for name, path in files.items()}


async def test_nothing_of_the_hub_and_of_others_is_in_reach(node: Node, private: dict[str, str]) -> None:
    own = node.code / "own"
    own.mkdir()
    work = {"mode": "use_existing", "workdir": str(own)}
    plain = await node.finish(sys.executable, "-c", PROBE.read_text(), json.dumps(private), "{}", workspace=work)
    assert sorted(json.loads(texts(plain))["read"]) == sorted(private)  # the probe can tell
    found = await probe(node, private, workspace=work)
    Path(private["temporary"]).unlink()
    assert found["read"] == []
    assert found["written"] == ["workspace"]


async def test_an_agents_own_variables_uncover_nothing(node: Node) -> None:
    """Whoever configures the agent writes them; they are not the node's operator."""
    victim, other = node.home / "victim", node.home / "worktrees/other/agent-x"
    targets = {"key": victim / ".ssh/id_rsa", "on its path": victim / "bin/notes", "its tool": victim / ".cargo/bin/x"}
    targets |= {"certificates": victim / "certs/key", "another's work": other / "file"}
    for path in targets.values():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("private")
    given = {"SSL_CERT_FILE": str(targets["key"]), "SSL_CERT_DIR": str(victim / "certs"), "HOME": str(victim)}
    given["PATH"] = f"{os.environ['PATH']}:{victim / 'bin'}:{other}"
    command = [sys.executable, "-c", PROBE.read_text(), json.dumps({n: str(p) for n, p in targets.items()}), "{}"]
    runtime = RuntimeSpec.model_validate({"kind": "command", "command": command, "environment": given})
    assert sorted(json.loads(texts(await node.finish(runtime=runtime)))["read"]) == sorted(targets)
    events = await node.finish(runtime=runtime, **MASKED)
    assert json.loads(texts(events))["read"] == [], texts(events, "stderr")


async def test_a_program_that_an_agent_names_uncovers_itself_alone(node: Node) -> None:
    """Not what lies beside it; and within another's work not even itself."""
    beside, other = node.home / "beside/run", node.home / "worktrees/other/agent-x/run"
    for program in (beside, other):
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text('#!/bin/sh\ncat "${0%/*}/private" || echo hidden\n')
        program.chmod(0o755)
        (program.parent / "private").write_text("private")
    assert texts(await node.finish(str(beside))) == "private"
    assert texts(await node.finish(str(beside), **MASKED)) == "hidden\n"
    assert texts(await node.finish(str(other))) == "private"
    assert texts(await node.finish(str(other), **MASKED)) == ""


def test_what_the_operator_installed_is_seen_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program of npm's on the node's own ``PATH``, which is a link into where npm keeps it."""
    home, secret = tmp_path / "home", tmp_path / "home/.ssh"
    package, bin_ = home / "npm/lib/node_modules/agent", home / "npm/bin"
    for directory in (secret, package, bin_):
        directory.mkdir(parents=True)
    (package / "cli.js").write_text("#!/usr/bin/env sh\n")
    (package / "cli.js").chmod(0o755)
    (bin_ / "agent").symlink_to(package / "cli.js")
    (secret / "tool").write_text("#!/bin/sh\n")
    (secret / "tool").chmod(0o755)
    (tmp_path / "code").mkdir()
    account = pwd.getpwuid(os.geteuid())
    as_told = pwd.struct_passwd((*account[:5], "/usr/share", account[6]))
    monkeypatch.setattr(pwd, "getpwuid", lambda _uid: as_told)

    def seen(command: str) -> Sandbox:
        environment = {"HOME": str(home), "PATH": f"{bin_}:/usr/bin:/bin"}
        return mask(
            tmp_path / "code", Fence(), others=[tmp_path / "code"], command=[command], preset=None,
            environment=environment,
        )  # fmt: skip

    assert seen("agent").reaches(package / "cli.js") and seen("agent").reaches(bin_ / "agent")
    assert seen(str(bin_ / "agent")).reaches(package / "cli.js")
    assert not seen("agent").reaches(secret / "tool") and not seen(str(secret / "tool")).reaches(secret / "tool")
    assert not seen("agent").reaches(Path("/usr/share/x"))  # the home of the account, whatever HOME says


async def test_the_operators_socket_is_out_of_reach(node: Node) -> None:
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(node.home / "hub.sock"))
        door.listen()
        (node.home / "hub.sock").chmod(0o600)
        found = await probe(node, {"socket": str(node.home / "hub.sock")})
    (node.home / "hub.sock").unlink()
    assert found["connected"] == []


async def test_other_processes_are_out_of_reach(node: Node) -> None:
    found = await probe(node, {"supervisor": f"/proc/{os.getpid()}/environ"})
    assert found["read"] == [] and found["killed"] == []
    assert found["processes"] <= 3
    assert found["capabilities"] == 0 and found["no_new_privileges"] == 1


async def test_the_kernels_settings_cannot_be_changed(node: Node) -> None:
    """As root without capabilities one may, in the ``/proc`` that bubblewrap itself makes."""
    assert "kernel" not in (await probe(node, {}))["written"]


async def test_the_command_line_within_does_not_tell_what_is_hidden(node: Node) -> None:
    found = await probe(node, {})
    assert str(node.home / "node") not in found["first_command_line"]


async def test_work_is_committed_in_a_worktree_and_hooks_stay_as_they_are(node: Node) -> None:
    repository = make_repository(node.code / "repo")
    script = (
        "echo more > new.txt && git add . && git -c user.name=a -c user.email=a@b commit -qm more && "
        "! (echo evil > $(git rev-parse --git-common-dir)/hooks/pre-commit) 2>/dev/null && "
        "! git config core.fsmonitor evil 2>/dev/null && "
        "! (echo 'gitdir: /elsewhere' > .git) 2>/dev/null && ! rm -f .git 2>/dev/null && echo done"
    )
    work = {"mode": "create_worktree", "repository": str(repository)}
    events = await node.finish("sh", "-c", script, workspace=work, **MASKED)
    assert texts(events) == "done\n", texts(events, "stderr")
    assert [change["path"] for change in only(events, "run.diff.ready")["files"]] == ["new.txt"]
    assert git(repository, "log", "--all", "--format=%s").splitlines()[0] == "more"


async def test_a_worktrees_run_says_nowhere_where_settings_are(node: Node) -> None:
    """git looks for them where ``commondir`` says, and would start their filters when the next worktree is made."""
    repository = make_repository(node.code / "repo", **{"readme": "hello\n", "more": "more\n"})
    ours = repository / ".git"
    (ours / "hooks").rename(repository.with_name("no-hooks"))
    (ours / "modules/sub").mkdir(parents=True)
    (ours / "modules/sub/config").write_text("")
    script = """
        common=$(git rev-parse --git-common-dir); own=$(git rev-parse --git-dir)
        mkdir $common/e; cp -r $common/objects $common/refs $common/HEAD $common/e
        for name in commondir hooks/post-checkout config.worktree modules/sub/config objects/info/alternates HEAD; do
            mkdir $common/hooks; echo e > $common/$name && echo wrote $name
        done
        for name in commondir gitdir config.worktree; do
            echo e > $own/$name && echo wrote own $name; echo e > $own/x; mv $own/x $own/$name && echo moved own $name
        done
        echo done
    """
    work = {"mode": "create_worktree", "repository": str(repository)}
    events = await node.finish("sh", "-c", script, workspace=work, **MASKED)
    assert texts(events) == "done\n"
    assert not (ours / "commondir").exists() and not (ours / "e").exists() and not (ours / "hooks").exists()
    assert texts(await node.finish("git", "status", "--short", workspace=work, **MASKED)) == ""


async def test_a_masked_agent_reads_a_main_checkout_and_changes_none_of_its_history(node: Node) -> None:
    repository = make_repository(node.code / "repo")
    script = (
        "git log --format=%s && git status --short && ! echo e > .git/commondir && ! git commit -qm x --allow-empty"
    )
    work = {"mode": "use_existing", "workdir": str(repository)}
    events = await node.finish("sh", "-c", f"{script} 2>/dev/null; echo more > new.txt", workspace=work, **MASKED)
    assert texts(events) == "First\n", texts(events, "stderr")
    assert [change["path"] for change in only(events, "run.diff.ready")["files"]] == ["new.txt"]
    assert not (repository / ".git/commondir").exists()


async def test_what_an_agent_leaves_for_git_to_start_is_masked_too(node: Node, private: dict[str, str]) -> None:
    """The diff is made after the run: by git, which starts what a repository calls a filter."""
    work = node.code / "plain"
    work.mkdir()
    (work / "note.txt").write_text("note\n")
    script = (
        "git init -q . && echo '*.txt filter=x' > .gitattributes && "
        f"git config filter.x.clean 'cat; cat {private['secret']} && echo LEAKED'"
    )
    workspace = {"mode": "use_existing", "workdir": str(work)}
    plain = await node.finish("sh", "-c", script, workspace=workspace)
    assert "LEAKED" in patch_of(node, plain)  # the trap works
    assert "LEAKED" not in patch_of(node, await node.finish("sh", "-c", script, workspace=workspace, **MASKED))


async def test_a_link_in_a_workspace_lets_no_other_repository_in(node: Node) -> None:
    """A file that an earlier run left names another project's repository as that of this workspace."""
    other = make_repository(node.code / "theirs")
    work = node.code / "mine"
    work.mkdir()
    (work / ".git").write_text(f"gitdir: {other / '.git'}\n")
    found = await probe(
        node, {"theirs": str(other / ".git/HEAD")}, workspace={"mode": "use_existing", "workdir": str(work)}
    )
    assert found["read"] == []


async def test_no_network_means_none(node: Node) -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        target = {"network": f"127.0.0.1:{door.getsockname()[1]}"}
        assert (await probe(node, target))["connected"] == ["network"]
        assert (await probe(node, target, network="none"))["connected"] == []


@pytest.mark.parametrize(
    ("script", "code", "signal"), [("exit 7", 7, None), ("kill -SEGV $$", None, 11), ("kill -KILL $$", None, 9)]
)
async def test_how_a_masked_program_ended_is_seen(
    node: Node, script: str, code: int | None, signal: int | None
) -> None:
    failed = only(await node.finish("sh", "-c", script, **MASKED), "run.failed")
    assert (failed["exit_code"], failed["signal"]) == (code, signal)


async def test_a_missing_program_is_said(node: Node) -> None:
    events = await node.finish("no-such-program", **MASKED)
    assert only(events, "run.failed")["reason"] == "runtime_not_installed"


async def test_cancelling_leaves_nothing_of_what_detached(node: Node) -> None:
    script = "(setsid sleep 1000 &) ; (env -i setsid sleep 1000 &) ; trap '' TERM INT; echo up; sleep 1000; sleep 1000"
    run = await node.start("sh", "-c", script, **MASKED)
    await node.event(run, "run.output")
    within = {stat.pid for stat in proc.all_stats() if proc.has_marker(stat.pid, run.run_id)}
    assert len(within) >= 4
    await node.tell(run, CancelRun(run=run.run_id))
    await node.ended(run)
    only(node.events(run), "run.cancelled")
    await eventually_async(lambda: not [pid for pid in within if (s := proc.stat_of(pid)) and s.state != "Z"])


async def test_a_masked_program_may_end_by_itself_when_it_is_asked_to(node: Node) -> None:
    run = await node.start("sh", "-c", "trap 'echo bye; exit 0' INT; echo up; sleep 1000 & wait", **MASKED)
    await node.event(run, "run.output")
    await node.tell(run, CancelRun(run=run.run_id))
    await node.ended(run)
    assert "bye" in texts(node.events(run))


async def test_the_death_of_the_supervisor_leaves_nothing(node: Node) -> None:
    run = await node.start("sh", "-c", "echo up; setsid sleep 1000 & sleep 1000", **MASKED)
    await node.event(run, "run.output")
    os.kill(node.supervisor_pid(run), 9)
    await node.ended(run)
    assert only(node.events(run), "run.failed")["reason"] == "supervisor_lost"
    assert node.leftovers() == []


async def test_a_level_that_the_node_does_not_have_ends_the_run(node: Node) -> None:
    failed = only(await node.finish("true", isolation="user"), "run.failed")
    assert failed["reason"] == "isolation_unavailable" and "'user'" in failed["message"]


def patch_of(node: Node, events: Any) -> str:
    patch = only(events, "run.diff.ready")["patch"]
    run = next(run for run in reversed(node.runs) if run.blob_path(patch["digest"]).exists())
    return run.blob_path(patch["digest"]).read_text()


async def test_no_network_without_a_mask_cannot_be_kept_and_starts_nothing(node: Node) -> None:
    events = await node.finish("sh", "-c", "echo started", network="none")
    assert only(events, "run.failed")["reason"] == "isolation_unavailable"
    assert texts(events) == ""


def test_a_machine_that_cannot_take_the_network_away_cannot_mask(tmp_path: Path) -> None:
    """As in a container without the rights for it: a run would end at its start, and no diff be made."""
    program = tmp_path / "bwrap"
    program.write_text('#!/bin/sh\ncase "$*" in *--unshare-net*) echo "bwrap: loopback: no" >&2; exit 1;; esac\n')
    program.chmod(0o755)
    assert "loopback: no" in why_not({"PATH": f"{tmp_path}:/bin:/usr/bin"})
