"""Isolation ``masked``: a program behind bubblewrap sees the system read-only, its workspace, and little else.

Everything of the machine is there to read, since compilers and libraries are anywhere; then what is private is
covered: people's home directories, the node's and the hub's files, other workspaces, temporary files, sockets. On
top of that come, one by one, what this agent needs: its workspace, its repository's history, its preset's own
configuration, installed tools. The deeper path counts, so that what is private within something needed is covered
all the same.
"""

import os
import pwd
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from nodes.contract.runtime import Preset

from .fence import Fence
from .files import PRIVATE_FILE

if TYPE_CHECKING:
    from .other_user import OtherUser

PROGRAM: Final = "bwrap"
INSTALL_HINT: Final = "Install it, with apt-get install bubblewrap, say, and start the node again"
NAMESPACES_HINT: Final = (
    "look at kernel.unprivileged_userns_clone, user.max_user_namespaces and, on Ubuntu, "
    "kernel.apparmor_restrict_unprivileged_userns"
)
TRY_SECONDS: Final = 10.0
PRIVATE: Final = ("/tmp", "/var/tmp", "/run", "/var/run", "/home", "/root")  # noqa: S108 - covered, not used
"""Covered by empty directories that are the run's own, in memory, gone with it."""
_KERNEL: Final = ("sys", "sysrq-trigger", "irq", "bus", "fs", "acpi", "scsi")
"""In ``/proc``: to root they are the whole machine's, and root without capabilities may write there as well."""
TOOLS: Final = (
    ".local/bin", ".local/lib", ".local/share/uv", ".local/share/pnpm", ".local/share/mise", ".local/share/pipx",
    ".local/pipx", ".cargo/bin", ".cargo/registry", ".rustup", ".nvm", ".volta", ".fnm", ".npm-global", ".bun", ".deno",
    ".pyenv", ".rbenv", ".asdf", ".sdkman", "go/bin", "go/pkg", ".gitconfig", ".config/git/config",
    ".config/git/ignore",
)  # fmt: skip
"""Below the home directory, to read: where tools install themselves. Nothing among them holds a login."""
_HOMES: Final = ("/home", "/root")
_FILE_VARIABLES: Final = (
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "CURL_CA_BUNDLE",
)  # fmt: skip
_INTERPRETER: Final = re.compile(rb"#!\s*(/[^\s]+)(?:[ \t]+([^\s]+))?")
_READ_BYTES: Final = 1024
_GITFILE: Final = re.compile(r"gitdir: (.+?)\s*")
_MOST_BYTES: Final = 16 * 1024
_COMMITTED: Final = ("objects", "refs", "logs", "lfs")
"""Of a repository, what commits in its worktrees are written to."""


class _How(IntEnum):
    """What is done at a path; of several at one path, the later counts."""

    COVER = 1
    READ = 2
    WRITE = 3
    GUARD = 4


@dataclass(frozen=True, slots=True)
class Sandbox:
    """How to start a program so that it sees no more than it should."""

    workspace: Path
    steps: frozenset[tuple[Path, _How]]
    network: Literal["shared", "none"] = "shared"
    user: "OtherUser | None" = None
    """Who those within are, if not who we are."""

    def arguments(self) -> list[str]:
        """bubblewrap's, without the program."""
        found = ["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
        for name in _KERNEL:
            found += ["--ro-bind-try", f"/proc/{name}", f"/proc/{name}"]
        for path, how in sorted(self.steps, key=lambda step: (len(step[0].parts), step[1], step[0])):
            found += _mount(path, how) if self.user is None else _mount_for_another(path, how)
        found += ["--chdir", str(self.workspace), "--unshare-pid", "--unshare-ipc", "--unshare-cgroup-try"]
        # A session and group of their own: signals go to those inside, and not to bubblewrap, which has no grace.
        found += ["--new-session", "--die-with-parent", "--cap-drop", "ALL"]
        if self.user is not None:  # enough to become them, which takes it away
            found += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
        return [*found, "--unshare-net"] if self.network == "none" else found

    def with_writable(self, *paths: Path) -> "Sandbox":
        return replace(self, steps=self.steps | {(path.resolve(), _How.WRITE) for path in paths})

    def with_readable(self, *paths: Path) -> "Sandbox":
        """Those that are there."""
        return replace(self, steps=self.steps | {(real, _How.READ) for real in _there(paths)})

    def without_network(self) -> "Sandbox":
        return replace(self, network="none")

    def reaches(self, path: Path) -> bool:
        """Whether those inside can see what really lies at ``path``."""
        real = path.resolve()
        covering = [(len(at.parts), how) for at, how in self.steps if at == real or at in real.parents]
        return not covering or max(covering)[1] is not _How.COVER


def why_not(environ: Mapping[str, str] = os.environ) -> str:
    """Empty if this machine can mask, else what is missing and what to do. Tried once, really; it takes some 20 ms."""
    return _why_not(environ.get("PATH", os.defpath))


@cache
def _why_not(search: str) -> str:
    if not sys.platform.startswith("linux"):
        return "bubblewrap needs Linux."
    program = shutil.which(PROGRAM, path=search)
    if program is None:
        return f"bubblewrap is not installed. {INSTALL_HINT}."
    tried = Sandbox(Path("/"), frozenset()).without_network()  # as each diff is made, and some agents run
    command = [program, *tried.arguments(), "--", "true"]
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=TRY_SECONDS, check=False, stdin=subprocess.DEVNULL,
            env={"PATH": search},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"bubblewrap cannot be used: {error}."
    if done.returncode == 0:
        return ""
    said = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2][:200] or f"status {done.returncode}"
    return f"bubblewrap cannot be used here ({said}). It needs user namespaces: {NAMESPACES_HINT}."


def mask(
    workspace: Path,
    fence: Fence,
    *,
    others: Iterable[Path],
    command: Sequence[str],
    preset: Preset | None,
    environment: Mapping[str, str],
    network: Literal["shared", "none"] = "shared",
    user: "OtherUser | None" = None,
) -> Sandbox:
    """For this workspace, and this program. ``others`` are roots in which others' work lies.

    ``environment`` is the node's own: what is found by it is the operator's. Of an agent's variables, which whoever
    configures the agent writes, nothing is taken; of its command only what lies in no home and in nothing of others.
    """
    own_home = Path(environment.get("HOME") or Path.home())
    home = (own_home if user is None else user.home).resolve()
    homes = _there({home, own_home, Path.home(), *_account_home()})
    covered = {path for name in PRIVATE if (path := Path(name).resolve()) != Path("/") and path.exists()}
    own, foreign = _there(fence.hidden), _there(others) - {Path("/")}
    covered |= homes | own | foreign
    covered.discard(Path("/"))
    steps = {(path, _How.COVER) for path in covered}
    persons = homes | _there(map(Path, _HOMES))

    def is_own(path: Path) -> bool:
        return _is_within(path, own) or _holds(path, own)

    def may_be_seen(path: Path) -> bool:
        """Seen at its own place; what is behind a link is seen there and nowhere else."""
        return (
            path.exists()
            and _is_within(path, covered)
            and path not in covered
            and not _holds(path, covered)
            and not any(is_own(place) for place in (path, path.resolve()))
        )

    def is_of_others(path: Path) -> bool:
        return any(_is_within(place, foreign) for place in (path, path.resolve()))

    # What is found out, and not configured, uncovers nothing of the node's own or of others, and no home as a whole.
    tools = [*(home / tool for tool in TOOLS), *(Path(path) for path in (preset.readable if preset else ()))]
    found = [*_search(environment), *_files_in(environment)]
    program = Path(located) if command and (located := shutil.which(command[0], path=environment.get("PATH"))) else None
    if program is not None and _is_installed(program, tools, environment):
        found += _installed(program, environment)
    elif program is not None:  # somewhere, by its path
        stated = _installed(program, environment, is_alone=True)
        found += [path for path in stated if not any(_is_within(at, persons) for at in (path, path.resolve()))]
    seen = [*tools, *(path for path in found if not is_of_others(path))]
    steps |= {(path, _How.READ) for path in seen if may_be_seen(path)}
    for name in preset.config_paths if preset else ():
        if (path := home / name).exists() and not is_own(path):
            steps.add((path, _How.WRITE))
    steps |= {(path, _How.READ) for path in _there(fence.readable)}
    steps |= {(path, _How.WRITE) for path in _there(fence.writable)}
    steps.add((workspace, _How.WRITE))
    steps |= set(_git_steps(workspace))
    return Sandbox(workspace, frozenset(steps), network, user)


def _mount_for_another(path: Path, how: _How) -> list[str]:
    """The same for who is not us: an empty directory may be written, and what lies deeper than one be reached."""
    if how is _How.COVER:
        return ["--perms", "1777", *_mount(path, how)] if path.is_dir() else _mount(path, how)
    above = [parent for parent in reversed(path.parents) if parent != Path("/")]
    return [part for parent in above for part in ("--perms", "0755", "--dir", str(parent))] + _mount(path, how)


def _mount(path: Path, how: _How) -> list[str]:
    at = str(path)
    match how:
        case _How.COVER:
            return ["--tmpfs", at] if path.is_dir() else ["--ro-bind", os.devnull, at]
        case _How.WRITE:
            return ["--bind", at, at]
        case _How.READ | _How.GUARD:
            return ["--ro-bind", at, at]


def _there(paths: Iterable[Path]) -> set[Path]:
    return {real for path in paths if (real := path.resolve()).exists()}


def _account_home() -> Iterator[Path]:
    """Of the user that we are, whatever ``HOME`` says."""
    with suppress(KeyError):
        yield Path(pwd.getpwuid(os.geteuid()).pw_dir)


def _is_within(path: Path, places: Iterable[Path]) -> bool:
    return any(path == at or at in path.parents for at in places)


def _holds(path: Path, covered: Iterable[Path]) -> bool:
    """Whether something covered lies below: a home directory, say, which is not shown for the tools in it."""
    return any(path in at.parents for at in covered)


# Programs.


def _search(environment: Mapping[str, str]) -> list[Path]:
    return [Path(each) for each in environment.get("PATH", "").split(os.pathsep) if each.startswith("/")]


def _is_installed(program: Path, tools: Iterable[Path], environment: Mapping[str, str]) -> bool:
    """Whether it lies where this node's operator installs: on the ``PATH``, among ``tools``, beside our own Python."""
    place = Path(os.path.abspath(program)).parent
    return place in _search(environment) or _is_within(place, {*tools, Path(sys.prefix), Path(sys.base_prefix)})


def _installed(program: Path, environment: Mapping[str, str], *, is_alone: bool = False) -> Iterator[Path]:
    """What the program itself needs: where it lies, what it is installed with, and its interpreter.

    ``is_alone``: of the directory it lies in nothing but itself, unless that is an installation's.
    """
    todo = [program]
    for _ in range(3):  # a script, its interpreter, and what that is a link to
        following = []
        for path in todo:
            for place in dict.fromkeys((Path(os.path.abspath(path)), path.resolve())):
                yield from _installation(place)
                yield place if is_alone else place.parent
            following += _interpreter(path, environment)
        todo = following


def _installation(program: Path) -> Iterator[Path]:
    if "node_modules" in program.parts:
        yield Path(*program.parts[: program.parts.index("node_modules") + 1])
    prefix = program.parent.parent
    if (prefix / "pyvenv.cfg").is_file() or (prefix / "lib" / "node_modules").is_dir():
        yield prefix
    elif program.name.startswith("python") and (prefix / "lib").is_dir():
        yield prefix / "lib"


def _interpreter(program: Path, environment: Mapping[str, str]) -> list[Path]:
    """Of a script: the one in its first line, looked up if that is ``env``."""
    try:
        with program.open("rb") as file:
            said = _INTERPRETER.match(file.read(_READ_BYTES))
    except OSError:
        return []
    if not said:
        return []
    name, argument = os.fsdecode(said[1]), os.fsdecode(said[2] or b"")
    if Path(name).name == "env" and argument:
        found = shutil.which(argument, path=environment.get("PATH"))
        return [Path(found)] if found else []
    return [Path(name)]


def _files_in(environment: Mapping[str, str]) -> Iterator[Path]:
    """What the node was given to trust others by, which its agents are given too."""
    yield from (Path(environment[name]) for name in _FILE_VARIABLES if environment.get(name, "").startswith("/"))
    yield Path("/etc/resolv.conf").resolve()  # a link into /run, where systemd looks names up


# Repositories.


def _git_steps(workspace: Path) -> Iterator[tuple[Path, _How]]:
    """The repository's history to read, and of a worktree what its commits are written to; the rest stays as it is.

    Whoever looks at the repository from outside would start what its settings and hooks name, and look for those
    where ``commondir`` says, so nothing may be added beside them: the directory itself is to be read. In a
    repository's main checkout, where the index lies among them, nothing can be committed. Somebody else's repository
    is not let in because a file in the workspace names it: it has to know of the workspace as well.
    """
    top = next((path for path in (workspace, *workspace.parents) if (path / ".git").exists()), None)
    if top is None:
        return
    link = top / ".git"
    if link.is_dir() and not link.is_symlink():
        if (link / "commondir").exists():
            return
        steps = {(link, _How.GUARD)}
    elif link.is_file() and (own := _linked(link)):
        steps = {(link, _How.GUARD), *_worktree_steps(own)}  # what something is mounted on cannot be replaced
    else:
        return
    if top != workspace:
        yield top, _How.READ
    yield from steps


def _worktree_steps(own: Path) -> Iterator[tuple[Path, _How]]:
    """For the record ``own`` of a worktree in its repository."""
    common = own.parent.parent
    yield common, _How.GUARD
    for name in _COMMITTED:
        if _is_plain_directory(common / name):
            yield common / name, _How.WRITE
    if _is_plain_directory(common / "objects" / "info"):  # where it says which other repositories' objects are read
        yield common / "objects" / "info", _How.GUARD
    settings = own / "config.worktree"
    with suppress(OSError):  # it is there already
        os.close(os.open(settings, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE_FILE))
    if settings.is_file() and not settings.is_symlink():
        yield own, _How.WRITE
        yield from ((own / name, _How.GUARD) for name in (settings.name, "commondir", "gitdir"))


def _is_plain_directory(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _linked(link: Path) -> Path | None:
    """The record of a worktree whose ``.git`` is a file, if its repository has it among its worktrees."""
    said = _GITFILE.fullmatch(_text(link))
    if not said:
        return None
    own = (link.parent / said[1]).resolve()
    back, common = _text(own / "gitdir").strip(), _text(own / "commondir").strip()
    if not (back and common) or own.parent.name != "worktrees" or (own / back).resolve() != link.resolve():
        return None
    shared = own.parent.parent
    return own if (own / common).resolve() == shared and not (shared / "commondir").exists() else None


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES).decode("utf-8", "replace").rstrip("\n")
    except OSError:
        return ""
