"""The directory in which an agent works: one that is there, or a git worktree of its own."""

import asyncio
import fcntl
import os
import re
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from nodes.contract.commands import StartRun, Workspace
from nodes.contract.errors import HubError
from nodes.contract.reasons import Reason

from .files import PRIVATE_DIR, PRIVATE_FILE
from .git import Git, GitFailed
from .handing_over import LinkOnTheWay, require_plain
from .other_user import ANY_OWNER, OtherUser
from .paths import OutsideSafePaths, SafePaths

LOCK_SECONDS = 120.0
ATTEMPTS = 5
"""A lock file that another git left or holds makes a worktree fail; it is tried again so often."""
_LOCKED = re.compile(r"\.lock'?: File exists|could not lock|cannot lock ref|Unable to create .*\.lock")
_NO_NAME = re.compile(r"[^a-z0-9._]+")


class WorkspaceFailed(HubError):
    """The workspace is not there or cannot be made; ``reason`` says which."""

    code, http, grpc = "workspace_failed", 409, "FAILED_PRECONDITION"

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message, reason=reason.value)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Prepared:
    """A workspace ready for use. ``base_commit`` is empty where there is no git or no commit yet."""

    path: Path
    base_commit: str = ""
    branch: str = ""


def configured_paths(workspace: Workspace) -> list[str]:
    """The absolute paths that a person gave the agent, as they are written: no secret to those who see its runs."""
    named = (workspace.workdir, workspace.repository)
    return [path.rstrip("/") for path in named if path.startswith("/") and path.rstrip("/")]


async def prepare(
    spec: StartRun, safe: SafePaths, environment: Mapping[str, str], user: OtherUser | None = None
) -> Prepared:
    """Find or make the run's workspace. Raises ``OutsideSafePaths`` or ``WorkspaceFailed``.

    With ``user`` it is theirs: one that is made becomes so, one that is there must be already.
    """
    safe = _with_registered_root(spec.workspace, safe)
    looking = {**environment, **ANY_OWNER} if user else environment  # nothing of a repository's is started by a look
    match spec.workspace.mode:
        case "use_existing":
            path = _configured(spec.workspace.workdir, spec, safe)
        case "create_worktree":
            path = await _create(spec, safe, environment, user)
        case "reuse_worktree":
            path = await _reuse(spec, safe, looking)
    if user is not None and not await asyncio.to_thread(user.may_work_in, path):
        text = f"The user {user.name}, whom this agent is on its node, may not read and write in the workspace. "
        raise WorkspaceFailed(Reason.WORKSPACE_FAILED, f"{text}Make it theirs: chown -R {user.name} DIRECTORY")
    found = await _describe(path, looking)
    if user is not None and found.base_commit:
        common = await Git(path, looking).text("rev-parse", "--path-format=absolute", "--git-common-dir")
        await _require_readable(Path(common), user)
    return found


async def _require_readable(common: Path, user: OtherUser) -> None:
    """Without its repository a worktree has no history, and its run no diff."""
    if not await asyncio.to_thread(user.may_read_repository, common):
        text = f"The user {user.name}, whom this agent is on its node, may not read the workspace's repository. "
        raise WorkspaceFailed(Reason.WORKSPACE_FAILED, f"{text}Let it: chmod -R go+rX REPOSITORY/.git")


def _with_registered_root(workspace: Workspace, safe: SafePaths) -> SafePaths:
    try:
        return safe.with_worktrees_in(workspace.worktree_root)
    except OutsideSafePaths:
        if workspace.mode == "create_worktree":
            raise
        return safe  # none is made, and nothing that lies there is allowed


async def _describe(path: Path, environment: Mapping[str, str]) -> Prepared:
    if not any((directory / ".git").exists() for directory in (path, *path.parents)):
        return Prepared(path)  # starting git costs more than all the rest
    try:
        said = await Git(path, environment).ask("rev-parse", "HEAD^{commit}", "--abbrev-ref", "HEAD")
    except HubError:  # no git on this node: a plain directory will do
        return Prepared(path)
    base, _, branch = (said or "").partition("\n")
    return Prepared(path, base, "" if branch == "HEAD" else branch)


def _configured(named: str, spec: StartRun, safe: SafePaths) -> Path:
    return _existing(safe.resolve(named, spec.project_slug), named)


def _existing(path: Path, named: str) -> Path:
    """``named`` is what messages call it: as it was configured, whatever a link has made of it."""
    if not path.is_dir():
        raise WorkspaceFailed(Reason.WORKSPACE_MISSING, f"There is no directory {named!r} on this node.")
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise WorkspaceFailed(Reason.WORKSPACE_FAILED, f"The node may not write in {named!r}.")
    return path


async def _create(spec: StartRun, safe: SafePaths, environment: Mapping[str, str], user: OtherUser | None) -> Path:
    repository = _configured(spec.workspace.repository or spec.workspace.workdir, spec, safe)
    looking = Git(repository, {**environment, **ANY_OWNER}) if user else Git(repository, environment)
    named = spec.workspace.repository or spec.workspace.workdir
    common = await _common_dir(looking, named, safe, spec.project_slug)
    git = Git(repository, {**environment, "GIT_COMMON_DIR": str(common)})  # settings from there, whatever is written
    root = safe.project_root(spec.project_slug)
    root.mkdir(PRIVATE_DIR, parents=True, exist_ok=True)
    short = spec.run.replace("-", "")
    name = f"{_plain(repository.name.removesuffix('.git'))}-{_plain(spec.agent_name)}-{short[-8:]}"
    path = safe.resolve(root / name, spec.project_slug)
    branch = f"agenthub/{short[:8]}-{short[-8:]}"
    wanted = f"{spec.workspace.ref}^{{commit}}"
    commit = await looking.ask("rev-parse", "--verify", "--quiet", "--end-of-options", wanted)
    if not commit:
        text = f"The repository has no commit {spec.workspace.ref!r}. Make a first commit, or choose another ref."
        raise WorkspaceFailed(Reason.WORKSPACE_FAILED, text)
    async with _locked(common / "agenthub-worktree.lock"):
        if user is None:
            (common / "logs").mkdir(exist_ok=True)  # a masked agent cannot make it
            await _add_worktree(git, branch, path, commit)
        else:
            refs = [common / log / "refs/heads" for log in ("", "logs")]
            given = (path, common / "worktrees" / path.name, *(heads / "agenthub" for heads in refs))
            with _without_links():  # git follows them as well
                for place in (*given, *(heads / branch for heads in refs)):
                    require_plain(place)
                await _require_readable(common, user)
                await _add_worktree(git, branch, path, commit)
                for place in given:
                    await asyncio.to_thread(user.own, place)
    return _existing(path, str(path))


@contextmanager
def _without_links() -> Iterator[None]:
    """What is made here is made by root, in places where the agent's user may write as well."""
    try:
        yield
    except LinkOnTheWay as error:
        text = f"{error.filename} is a link or no directory: the node, which is root, writes through no link there. "
        fix = "Remove it, and look who made it: agents may write in a part of .git."
        raise WorkspaceFailed(Reason.WORKSPACE_FAILED, text + fix) from error


async def _add_worktree(git: Git, branch: str, path: Path, commit: str) -> None:
    for attempt in range(ATTEMPTS):
        try:
            await git.text("worktree", "add", "--no-track", "-b", branch, "--", str(path), commit)
            return
        except GitFailed as error:
            if attempt + 1 == ATTEMPTS or not _LOCKED.search(error.data["said"]):
                text = f"git could not make the worktree: {error.data['said'] or error.text}"
                raise WorkspaceFailed(Reason.WORKSPACE_FAILED, text) from error
        await asyncio.sleep(0.2 * 2**attempt)


async def _reuse(spec: StartRun, safe: SafePaths, environment: Mapping[str, str]) -> Path:
    path = _configured(spec.workspace.workdir, spec, safe)
    await _common_dir(Git(path, environment), spec.workspace.workdir, safe, spec.project_slug)
    return path


async def _common_dir(git: Git, named: str, safe: SafePaths, project_slug: str) -> Path:
    """The repository's own directory, which must be as safe as the workspace: a link to it may lead anywhere.

    It is the directory that git found, or has that one among its worktrees: no file that an agent may have left in a
    repository says where its settings are.
    """
    found = await git.ask("rev-parse", "--path-format=absolute", "--git-common-dir", "--absolute-git-dir")
    if not found:
        raise WorkspaceFailed(Reason.WORKSPACE_FAILED, f"{named!r} is not a git repository.")
    said, _, own = found.partition("\n")
    common, own_dir = safe.resolve(said, project_slug), Path(own).resolve()
    is_its_own = own_dir == common or own_dir.parent == common / "worktrees"
    if not is_its_own or (common / "commondir").exists():
        text = f"The repository of {named!r} says in a file named commondir that its settings are elsewhere. "
        fix = "Look who made it, and remove it: agents have no business there."
        raise WorkspaceFailed(Reason.WORKSPACE_FAILED, text + fix)
    return common


@asynccontextmanager
async def _locked(path: Path) -> AsyncIterator[None]:
    """One worktree at a time per repository: git itself fails when two are made at once."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, PRIVATE_FILE)
    try:
        end = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    text = "Another run has been making a worktree of this repository for too long."
                    raise WorkspaceFailed(Reason.WORKSPACE_FAILED, text) from None
                await asyncio.sleep(0.02)
        yield
    finally:
        os.close(fd)


def _plain(name: str) -> str:
    """A name as a part of a directory's name."""
    return _NO_NAME.sub("-", name.lower()).strip("-.")[:40] or "x"
