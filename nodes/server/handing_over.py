"""Files that root gives to another user: by descriptors from ``/`` down, so that no link leads root elsewhere."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ANYTHING: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class LinkOnTheWay(OSError):
    """A part of a path is a link, or no directory. ``filename`` is the path up to there."""


def require_plain(path: Path) -> None:
    """Raises ``LinkOnTheWay`` unless every part of ``path`` that is there is a directory itself."""
    with _opened(path):
        pass


def give(top: Path, uid: int, gid: int) -> None:
    """Make everything from ``top`` down theirs; links themselves, not what they lead to. Nothing, if it is not there.

    A file that has other names stays whose it is: one of them may lie where the user may not write. Raises
    ``LinkOnTheWay`` for a link above, which changes nothing.
    """
    with _opened(top) as found:
        if found is None:
            return
        for _, names, files, directory in os.fwalk(".", dir_fd=found):
            os.fchown(directory, uid, gid)
            for name in (*names, *files):
                _give_one(name, directory, uid, gid)


def _give_one(name: str, directory: int, uid: int, gid: int) -> None:
    try:
        fd = os.open(name, _ANYTHING, dir_fd=directory)
    except FileNotFoundError:  # somebody else is at work there
        return
    try:
        status = os.fstat(fd)
        if not stat.S_ISDIR(status.st_mode) and status.st_nlink == 1:  # a directory is given when it is walked
            os.chown(f"/proc/self/fd/{fd}", uid, gid)  # this very file, whatever now has its name
    finally:
        os.close(fd)


@contextmanager
def _opened(path: Path) -> Iterator[int | None]:
    """The directory, every part of whose path is one itself; None if it is not there."""
    fd = os.open("/", _DIRECTORY)
    try:
        for depth, part in enumerate(path.parts[1:], 2):
            try:
                inner = os.open(part, _DIRECTORY, dir_fd=fd)
            except FileNotFoundError:
                os.close(fd)
                fd = -1
                break
            except OSError as error:
                if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                    raise
                raise LinkOnTheWay(error.errno, error.strerror, str(Path(*path.parts[:depth]))) from None
            os.close(fd)
            fd = inner
        yield None if fd < 0 else fd
    finally:
        if fd >= 0:
            os.close(fd)
