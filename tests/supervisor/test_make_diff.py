"""The diff at the end of a run: everything that changed, and nothing disturbed."""

from pathlib import Path

import pytest

from nodes.contract.events import BlobRef, DiffReady
from nodes.contract.limits import EVENT_BYTES
from nodes.server.diff import _changes, make_diff
from nodes.server.redaction import Redactor
from tests.supervisor.repositories import git, make_repository


class Blobs:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.kept: list[bytes] = []

    def keep(self, data: bytes) -> BlobRef:
        self.kept.append(data)
        return BlobRef(digest="0" * 64, size=len(data))

    async def diff(self, workspace: Path, base: str) -> DiffReady:
        made = await make_diff(workspace, base, {}, self.keep, Redactor(["hunter2"]).long_excerpt)
        assert made is not None
        return made


@pytest.fixture
def blobs() -> Blobs:
    return Blobs()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "r", one="a\nb\nc\n", two="x\n" * 20, three="gone\n")


async def test_commits_changes_and_new_files_are_all_in(blobs: Blobs, repository: Path) -> None:
    base = git(repository, "rev-parse", "HEAD")
    (repository / "one.txt").write_text("a\nB\nc\n")
    git(repository, "commit", "-qam", "Second")
    (repository / "new.txt").write_text("hunter2\n")
    (repository / "three.txt").unlink()
    (repository / "two.txt").rename(repository / "moved.txt")
    (repository / "blob.bin").write_bytes(bytes(range(256)))
    made = await blobs.diff(repository, base)
    found = {change.path: (change.status, change.additions, change.deletions, change.binary) for change in made.files}
    assert found == {
        "one.txt": ("modified", 1, 1, False),
        "new.txt": ("added", 1, 0, False),
        "three.txt": ("deleted", 0, 1, False),
        "moved.txt": ("renamed", 0, 0, False),
        "blob.bin": ("added", 0, 0, True),
    }
    assert (made.files_changed, made.additions, made.deletions, made.truncated) == (5, 2, 2, False)
    assert made.head_commit == git(repository, "rev-parse", "HEAD") != base
    patch = blobs.kept[0].decode()
    assert "+[secret]" in patch and "rename from two.txt" in patch


async def test_index_and_objects_of_the_repository_stay_as_they_are(blobs: Blobs, repository: Path) -> None:
    (repository / "one.txt").write_text("staged\n")
    git(repository, "add", "one.txt")
    (repository / "new.txt").write_text("new\n")
    before = (git(repository, "status", "--porcelain"), (repository / ".git" / "index").read_bytes())
    objects = sorted((repository / ".git" / "objects").rglob("*"))
    await blobs.diff(repository, git(repository, "rev-parse", "HEAD"))
    assert (git(repository, "status", "--porcelain"), (repository / ".git" / "index").read_bytes()) == before
    assert sorted((repository / ".git" / "objects").rglob("*")) == objects


async def test_nothing_changed_is_an_empty_diff(blobs: Blobs, repository: Path) -> None:
    made = await blobs.diff(repository, git(repository, "rev-parse", "HEAD"))
    assert (made.files, made.patch, blobs.kept) == ([], None, [])


async def test_ignored_files_stay_out(blobs: Blobs, repository: Path) -> None:
    (repository / ".gitignore").write_text("*.log\n")
    (repository / "x.log").write_text("noise\n")
    made = await blobs.diff(repository, git(repository, "rev-parse", "HEAD"))
    assert [change.path for change in made.files] == [".gitignore"]


async def test_a_repository_without_a_commit_is_diffed_with_nothing(blobs: Blobs, tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "a.txt").write_text("1\n")
    made = await blobs.diff(tmp_path, "")
    assert [(change.path, change.status) for change in made.files] == [("a.txt", "added")]


async def test_a_plain_directory_has_no_diff(blobs: Blobs, tmp_path: Path) -> None:
    assert await make_diff(tmp_path, "", {}, blobs.keep, Redactor().long_excerpt) is None


async def test_a_link_that_leads_out_is_not_followed(blobs: Blobs, repository: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.txt").write_text("do not read me")
    (repository / "out").symlink_to(tmp_path / "outside")
    await blobs.diff(repository, git(repository, "rev-parse", "HEAD"))
    assert b"do not read me" not in blobs.kept[0]


async def test_a_thousand_files_still_fit_an_event(blobs: Blobs, repository: Path) -> None:
    for number in range(1_000):
        (repository / f"{'long-name-' * 20}{number}.txt").write_text("x\n")
    made = await blobs.diff(repository, git(repository, "rev-parse", "HEAD"))
    assert (made.files_changed, made.additions, made.truncated) == (1_000, 1_000, True)
    assert len(made.model_dump_json()) < EVENT_BYTES


@pytest.mark.parametrize("cut", range(1, 60))
def test_lists_of_files_that_were_cut_give_what_is_whole(cut: int) -> None:
    names = b"M\0one.txt\0R100\0two.txt\0moved.txt\0A\0new.txt\0"
    numbers = b"1\t1\tone.txt\x000\t0\t\0two.txt\0moved.txt\x001\t0\tnew.txt\0"
    whole = _changes(names, numbers)
    assert [(change.path, change.old_path, change.additions) for change in whole] == [
        ("one.txt", "", 1), ("moved.txt", "two.txt", 0), ("new.txt", "", 1),
    ]  # fmt: skip
    some = _changes(names[:cut], numbers[:cut])
    assert [change.path for change in some] == [change.path for change in whole][: len(some)]


async def test_a_path_with_colons_and_quotes_is_a_path(blobs: Blobs, tmp_path: Path) -> None:
    repository = make_repository(tmp_path / 'a:b "c"', one="a\n")
    (repository / "one.txt").write_text("b\n")
    made = await blobs.diff(repository, git(repository, "rev-parse", "HEAD"))
    assert (made.files_changed, made.additions, made.deletions) == (1, 1, 1)


async def test_an_index_that_is_a_device_is_not_copied(blobs: Blobs, repository: Path) -> None:
    index = repository / ".git" / "index"
    index.unlink()
    index.symlink_to("/dev/zero")
    made = await blobs.diff(repository, git(repository, "rev-parse", "HEAD"))
    assert made.files == []


async def test_odd_names_are_kept_as_they_are(blobs: Blobs, repository: Path) -> None:
    for name in ("späti.txt", 'a "b".txt', "tab\there", "new\nline"):
        (repository / name).write_text("x\n")
    made = await blobs.diff(repository, git(repository, "rev-parse", "HEAD"))
    assert {change.path for change in made.files} == {"späti.txt", 'a "b".txt', "tab\there", "new\nline"}
