"""Isolation ``user``: a masked agent that is another OS user as well, whom the node's operator names.

Only a node that runs as root can do this. With sudo it could start such an agent, but neither stop what it leaves
behind nor see what belongs to it, and nothing of a run survives its end.
"""

import os
import pwd
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Self

from . import sandbox
from .environment import with_git_settings
from .handing_over import give

PROGRAM: Final = "setpriv"
ACCESS_SECONDS: Final = 10.0
_ANY_OWNER: Final = {"safe.directory": "*"}
ANY_OWNER: Final = with_git_settings({}, _ANY_OWNER)
"""For git, which otherwise refuses a repository of somebody else: here the node has looked at it."""
_TMP: Final = "/tmp"  # noqa: S108 - the run's own, in memory


@dataclass(frozen=True, slots=True)
class OtherUser:
    """Whom agents with isolation ``user`` are."""

    name: str
    uid: int
    gid: int
    home: Path

    @classmethod
    def named(cls, name: str) -> Self:
        """Raises ``KeyError`` if this machine has no such user."""
        found = pwd.getpwnam(name)
        return cls(name, found.pw_uid, found.pw_gid, Path(found.pw_dir))

    @property
    def prefix(self) -> tuple[str, ...]:
        """Before a command within the sandbox: from there on it is this user, with no way back."""
        program = shutil.which(PROGRAM) or PROGRAM
        who = ("--reuid", str(self.uid), "--regid", str(self.gid), "--init-groups")
        return (program, *who, "--inh-caps=-all", "--no-new-privs", "--")

    def environment(self, given: Mapping[str, str]) -> dict[str, str]:
        """``given`` as this user's: home and name."""
        home = str(self.home) if self.home.is_dir() else _TMP
        return with_git_settings({**given, "HOME": home, "USER": self.name, "LOGNAME": self.name}, _ANY_OWNER)

    def may_work_in(self, directory: Path) -> bool:
        """Whether the directory itself is this user's to read and write, whatever lies above it. Blocks briefly."""
        return self._passes(directory, *(f"-{mode} ." for mode in "rwx"))

    def may_read_repository(self, common: Path) -> bool:
        """Whether this user's git finds a repository in its own directory ``common``. Blocks briefly."""
        places = ("HEAD", "config", "objects", "refs")
        return self._passes(common, "-x .", *(f"-r {place}" for place in places), "-x objects", "-x refs")

    def _passes(self, directory: Path, *tests: str) -> bool:
        groups = os.getgrouplist(self.name, self.gid)
        done = subprocess.run(
            ["test", *" -a ".join(tests).split()], cwd=directory, check=False,
            user=self.uid, group=self.gid, extra_groups=groups, timeout=ACCESS_SECONDS,
            stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        return done.returncode == 0

    def own(self, top: Path) -> None:
        """Make everything from ``top`` down this user's, if it is there. Raises ``LinkOnTheWay``."""
        give(top, self.uid, self.gid)


def why_not(name: str, environ: Mapping[str, str] = os.environ) -> str:
    """Empty if this node can start agents as the user ``name``, else what is missing and what to do."""
    return _why_not(name, environ.get("PATH", os.defpath)) or sandbox.why_not(environ)


@cache
def _why_not(name: str, search: str) -> str:
    if not name:
        return "no user is named. Set run_as in the section [isolation] of the node's config.toml."
    if os.geteuid() != 0:
        return "the node does not run as root. Only root can start, watch and end processes of another user."
    try:
        user = OtherUser.named(name)
    except KeyError:
        return f"there is no user {name!r} on this machine. Make one: useradd --system --create-home {name}"
    if user.uid == 0:
        return f"{name} is root. Name a user of no importance."
    if shutil.which(PROGRAM, path=search) is None:
        return f"{PROGRAM} is not installed. It comes with util-linux."
    return ""
