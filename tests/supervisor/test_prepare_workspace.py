"""Workspaces: only under safe paths, a worktree per run, nothing of a repository's own is executed."""

import asyncio
import shutil
from pathlib import Path

import pytest

from nodes.contract.commands import RuntimeSpec, StartRun, Workspace
from nodes.contract.ids import new_id
from nodes.contract.reasons import Reason
from nodes.server.paths import OutsideSafePaths, SafePaths
from nodes.server.workspace import WorkspaceFailed, prepare
from tests.supervisor.repositories import git, make_repository


def make_spec(project: str = "demo", **workspace: str) -> StartRun:
    return StartRun(
        run=str(new_id()), project=str(new_id()), project_slug=project, agent=str(new_id()), agent_name="Fixer One",
        runtime=RuntimeSpec(kind="command", command=["true"]), workspace=Workspace.model_validate(workspace),
        prompt="x", input_id="i",
    )  # fmt: skip


@pytest.fixture
def safe(tmp_path: Path) -> SafePaths:
    (tmp_path / "code").mkdir()
    return SafePaths((tmp_path / "code",), tmp_path / "worktrees")


@pytest.fixture
def repository(tmp_path: Path, safe: SafePaths) -> Path:
    return make_repository(tmp_path / "code" / "shop.git")


def test_paths_under_a_root_are_resolved(safe: SafePaths, tmp_path: Path) -> None:
    assert safe.resolve(f"{tmp_path}/code/./a/../b", "demo") == tmp_path / "code" / "b"


@pytest.mark.parametrize("path", ["/etc", "{tmp}", "{tmp}/code/../x", "{tmp}/codex", "code", "", "{tmp}/code/\0x"])
def test_paths_elsewhere_are_refused(safe: SafePaths, tmp_path: Path, path: str) -> None:
    with pytest.raises(OutsideSafePaths):
        safe.resolve(path.format(tmp=tmp_path), "demo")


def test_a_link_that_leads_out_is_refused(safe: SafePaths, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "code" / "in").symlink_to(tmp_path / "outside")
    with pytest.raises(OutsideSafePaths):
        safe.resolve(tmp_path / "code" / "in" / "x", "demo")


def test_a_loop_of_links_is_refused(safe: SafePaths, tmp_path: Path) -> None:
    (tmp_path / "code" / "a").symlink_to(tmp_path / "code" / "a")
    with pytest.raises(OutsideSafePaths):
        safe.resolve(tmp_path / "code" / "a" / "x", "demo")


def test_a_projects_worktrees_are_its_own(tmp_path: Path) -> None:
    safe = SafePaths((tmp_path,), tmp_path / "worktrees")
    own = tmp_path / "worktrees" / "demo" / "x"
    assert safe.resolve(own, "demo") == own
    for other in ("other", "..", ".", "", "demo/../other"):
        with pytest.raises(OutsideSafePaths):
            safe.resolve(own, other)


def test_in_another_projects_worktrees_the_advice_is_a_directory_of_ones_own(tmp_path: Path) -> None:
    safe = SafePaths((tmp_path,), tmp_path / "worktrees")
    with pytest.raises(OutsideSafePaths, match=f"those of other are in '{tmp_path}/worktrees/other'") as refused:
        safe.resolve(tmp_path / "worktrees" / "demo", "other")
    assert "Add its root" not in str(refused.value)


def test_nothing_is_allowed_where_nothing_is_configured(tmp_path: Path) -> None:
    with pytest.raises(OutsideSafePaths):
        SafePaths((), tmp_path / "w").resolve(tmp_path / "x", "demo")


async def test_an_existing_directory_is_used(safe: SafePaths, repository: Path) -> None:
    prepared = await prepare(make_spec(mode="use_existing", workdir=str(repository)), safe, {})
    assert (prepared.path, prepared.branch) == (repository, "main")
    assert prepared.base_commit == git(repository, "rev-parse", "HEAD")


async def test_a_plain_directory_will_do(safe: SafePaths, tmp_path: Path) -> None:
    prepared = await prepare(make_spec(mode="use_existing", workdir=str(tmp_path / "code")), safe, {})
    assert prepared.path == tmp_path / "code" and not prepared.base_commit


async def test_a_missing_directory_is_said(safe: SafePaths, tmp_path: Path) -> None:
    with pytest.raises(WorkspaceFailed) as failed:
        await prepare(make_spec(mode="use_existing", workdir=str(tmp_path / "code" / "gone")), safe, {})
    assert failed.value.reason is Reason.WORKSPACE_MISSING


async def test_a_worktree_is_made_on_a_branch_of_its_own(safe: SafePaths, repository: Path) -> None:
    spec = make_spec(mode="create_worktree", repository=str(repository))
    prepared = await prepare(spec, safe, {})
    short = spec.run.replace("-", "")
    assert prepared.path == safe.worktree_root / "demo" / f"shop-fixer-one-{short[-8:]}"
    assert prepared.branch == f"agenthub/{short[:8]}-{short[-8:]}"
    assert (prepared.path / "readme.txt").read_text() == "hello\n"
    assert git(repository, "branch", "--show-current") == "main"


async def test_a_worktree_is_made_in_the_root_that_the_registry_has(safe: SafePaths, repository: Path) -> None:
    root = repository.parent / "registered"
    spec = make_spec(mode="create_worktree", repository=str(repository), worktree_root=str(root))
    assert (await prepare(spec, safe, {})).path.parent == root / "demo"


@pytest.mark.parametrize("root", ["{tmp}/elsewhere", "{tmp}/code/out", "relative", "{tmp}/code/../x"])
async def test_a_registered_root_outside_the_safe_paths_is_refused_in_words(
    safe: SafePaths, repository: Path, tmp_path: Path, root: str
) -> None:
    (tmp_path / "code" / "out").symlink_to(tmp_path)
    root = root.format(tmp=tmp_path)
    with pytest.raises(OutsideSafePaths, match=r"absolute path|default_worktree_root in the registry"):
        await prepare(make_spec(mode="create_worktree", repository=str(repository), worktree_root=root), safe, {})
    used = await prepare(make_spec(mode="use_existing", workdir=str(repository), worktree_root=root), safe, {})
    assert used.path == repository


def test_worktrees_in_a_registered_root_are_their_projects_own_and_so_are_older_ones(tmp_path: Path) -> None:
    safe = SafePaths((tmp_path,), tmp_path / "data" / "own").with_worktrees_in(str(tmp_path / "data"))
    assert safe.with_worktrees_in("") == safe.with_worktrees_in(str(tmp_path / "data")) == safe
    for place in ("data/demo/x", "data/own/demo/x"):
        assert safe.resolve(tmp_path / place, "demo") == tmp_path / place
        for other in ("other", "own"):
            with pytest.raises(OutsideSafePaths):
                safe.resolve(tmp_path / place, other)


async def test_sixty_four_worktrees_at_once_all_come_to_be(safe: SafePaths, repository: Path) -> None:
    specs = [make_spec(mode="create_worktree", repository=str(repository)) for _ in range(64)]
    prepared = await asyncio.gather(*(prepare(spec, safe, {}) for spec in specs))
    assert len({one.path for one in prepared}) == 64


async def test_hooks_of_the_repository_do_not_run(safe: SafePaths, repository: Path, tmp_path: Path) -> None:
    hook = repository / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    await prepare(make_spec(mode="create_worktree", repository=str(repository)), safe, {})
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("ref", ["nowhere", "--help", "HEAD~9"])
async def test_an_unknown_ref_is_said(safe: SafePaths, repository: Path, ref: str) -> None:
    with pytest.raises(WorkspaceFailed) as failed:
        await prepare(make_spec(mode="create_worktree", repository=str(repository), ref=ref), safe, {})
    assert failed.value.reason is Reason.WORKSPACE_FAILED


async def test_a_repository_outside_the_safe_paths_is_refused(safe: SafePaths, tmp_path: Path) -> None:
    outside = make_repository(tmp_path / "outside")
    for spec in (
        make_spec(mode="create_worktree", repository=str(outside)),
        make_spec(mode="reuse_worktree", workdir=str(outside)),
    ):
        with pytest.raises(OutsideSafePaths):
            await prepare(spec, safe, {})


async def test_a_git_file_that_leads_out_is_refused(safe: SafePaths, tmp_path: Path) -> None:
    outside = make_repository(tmp_path / "outside")
    (tmp_path / "code" / "sly").mkdir()
    (tmp_path / "code" / "sly" / ".git").write_text(f"gitdir: {outside}/.git\n")
    with pytest.raises(OutsideSafePaths):
        await prepare(make_spec(mode="create_worktree", repository=str(tmp_path / "code" / "sly")), safe, {})


async def test_a_repository_whose_settings_are_said_to_be_elsewhere_is_refused(
    safe: SafePaths, repository: Path, tmp_path: Path
) -> None:
    """The filter of a directory that was put into the repository would start when the worktree is checked out."""
    (repository / ".gitattributes").write_text("*.txt filter=e\n")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "Second")
    other = repository / ".git" / "e"
    shutil.copytree(repository / ".git", tmp_path / "copy")
    (tmp_path / "copy").rename(other)
    git(repository, "config", "--file", str(other / "config"), "filter.e.smudge", f"touch {tmp_path}/ran; cat")
    (repository / ".git" / "commondir").write_text("e\n")
    spec = make_spec(mode="create_worktree", repository=str(repository))
    with pytest.raises(WorkspaceFailed, match="commondir"):
        await prepare(spec, safe, {})
    git(repository, "worktree", "add", str(tmp_path / "trap"))
    assert (tmp_path / "ran").exists()  # the trap works


async def test_a_worktree_is_used_again(safe: SafePaths, repository: Path) -> None:
    first = await prepare(make_spec(mode="create_worktree", repository=str(repository)), safe, {})
    again = await prepare(make_spec(mode="reuse_worktree", workdir=str(first.path)), safe, {})
    assert (again.path, again.branch) == (first.path, first.branch)
