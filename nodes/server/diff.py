"""What a run changed: commits, uncommitted and untracked files, as one patch, without touching the user's index."""

import asyncio
import json
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Literal

from nodes.contract.events import BlobRef, DiffReady, FileChange
from nodes.contract.limits import BLOB_BYTES

from .git import Git, GitFailed
from .sandbox import Sandbox

LISTED_FILES = 300
"""Files named in the event; all of them are counted, and are in the patch."""
LISTED_BYTES = 40 * 1024
"""Their names together at most."""

Status = Literal["added", "modified", "deleted", "renamed", "copied", "type_changed"]
_STATUS: dict[str, Status] = {
    "A": "added", "M": "modified", "D": "deleted", "R": "renamed", "C": "copied", "T": "type_changed",
}  # fmt: skip
_DIFF = (
    "diff", "--cached", "--relative", "--no-ext-diff", "--no-textconv", "--no-color", "--find-renames",
    "--ignore-submodules=dirty",
)  # fmt: skip


async def make_diff(
    workspace: Path,
    base_commit: str,
    environment: Mapping[str, str],
    keep: Callable[[bytes], BlobRef],
    redact: Callable[[str], Awaitable[str]],
    *,
    sandbox: Sandbox | None = None,
) -> DiffReady | None:
    """The event, its patch already kept as a blob; None where there is no repository. Raises ``GitFailed``.

    The patch is redacted like everything that leaves the node: it is for reading, not the work itself.
    """
    git = Git(workspace, environment, sandbox)
    try:
        objects = await git.text("rev-parse", "--path-format=absolute", "--git-path", "objects")
    except GitFailed as error:
        if not base_commit:
            return None
        said = error.data["said"] or error.text
        raise GitFailed(f"git finds no repository in the workspace, as there was when the run began: {said}") from error
    base = base_commit or await git.text("hash-object", "-t", "tree", "--stdin")  # of nothing: the empty tree
    head = await git.ask("rev-parse", "--verify", "--quiet", "HEAD^{commit}") or ""
    with tempfile.TemporaryDirectory(prefix="agenthub-") as scratch:
        if sandbox is not None:
            git = Git(workspace, environment, sandbox.with_writable(Path(scratch)))
        own = await _own_index(git, Path(scratch), objects, sandbox)
        is_whole = await own.ask("add", "--all", "--ignore-errors", "--", ".") is not None
        numbers, is_short = await own.output(*_DIFF, "--numstat", "-z", base, "--", ".")
        names, is_shorter = await own.output(*_DIFF, "--name-status", "-z", base, "--", ".")
        patch, is_cut = await own.output(*_DIFF, "--patch", base, "--", ".", limit=BLOB_BYTES)
    files = _changes(names, numbers)
    listed = _listed(files)
    text = (await redact(patch.decode("utf-8", "replace"))).encode("utf-8")
    return DiffReady(
        base_commit=base_commit,
        head_commit=head,
        files=listed,
        files_changed=len(files),
        additions=sum(change.additions for change in files),
        deletions=sum(change.deletions for change in files),
        patch=keep(text[:BLOB_BYTES]) if text else None,
        truncated=is_cut
        or is_short
        or is_shorter
        or not is_whole
        or len(listed) < len(files)
        or len(text) > BLOB_BYTES,
    )


async def _own_index(git: Git, scratch: Path, objects: str, sandbox: Sandbox | None) -> Git:
    """git with an index and an object directory of our own: nothing is written in the repository.

    The index begins as a copy of the user's, so that git need not read every file again. We copy it from outside of
    the sandbox: only what those within could have read as well.
    """
    theirs = Path(await git.text("rev-parse", "--path-format=absolute", "--git-path", "index"))
    if theirs.is_file() and (
        sandbox is None or sandbox.reaches(theirs)
    ):  # not where an agent has put a device that never ends
        await asyncio.to_thread(shutil.copyfile, theirs, scratch / "index")
    (scratch / "objects").mkdir()
    if sandbox is not None and sandbox.user is not None:
        sandbox.user.own(scratch)
    return git.within(
        GIT_INDEX_FILE=str(scratch / "index"),
        GIT_OBJECT_DIRECTORY=str(scratch / "objects"),
        GIT_ALTERNATE_OBJECT_DIRECTORIES=json.dumps(objects, ensure_ascii=False),  # else a colon would end it
    )


def _changes(names: bytes, numbers: bytes) -> list[FileChange]:
    """From ``--name-status -z`` and ``--numstat -z``, which list the same files; an entry that was cut is left out."""
    counts = _counts(numbers)
    parts = names.decode("utf-8", "replace").split("\0")
    found = []
    at = 0
    while at < len(parts) and parts[at]:
        kind = parts[at][0]
        size = 3 if kind in "RC" else 2
        if at + size >= len(parts):  # each part ends with a zero, so something follows it
            break
        old, path = parts[at + 1] if kind in "RC" else "", parts[at + size - 1]
        at += size
        added, deleted, is_binary = counts.get(path, (0, 0, False))
        found.append(
            FileChange(
                path=path, status=_STATUS.get(kind, "modified"), old_path=old,
                additions=added, deletions=deleted, binary=is_binary,
            )
        )  # fmt: skip
    return found


def _counts(numbers: bytes) -> dict[str, tuple[int, int, bool]]:
    """Lines added and deleted, and whether it is binary, by path."""
    parts = numbers.decode("utf-8", "replace").split("\0")
    found = {}
    at = 0
    while at + 1 < len(parts) and parts[at]:
        added, deleted, path = parts[at].split("\t", 2)
        at += 1
        if not path:  # renamed: old and new follow
            if at + 2 >= len(parts):
                break
            path, at = parts[at + 1], at + 2
        is_binary = added == "-"
        found[path] = (0, 0, True) if is_binary else (int(added), int(deleted), False)
    return found


def _listed(files: list[FileChange]) -> list[FileChange]:
    """As many of them as an event holds."""
    kept: list[FileChange] = []
    size = 0
    for change in files[:LISTED_FILES]:
        size += len(change.model_dump_json())
        if size > LISTED_BYTES:
            break
        kept.append(change)
    return kept
