"""Unix sockets under paths of any length: an address holds 107 bytes, a home may be deeper.

The directory is opened and the socket named through ``/proc/self/fd``; where there is no
such thing the plain path is used.
"""

import os
import socket
import struct
from asyncio.trsock import TransportSocket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FDS = Path("/proc/self/fd")
_UCRED = struct.Struct("=iii")


@contextmanager
def _address(path: Path) -> Iterator[str]:
    if not _FDS.is_dir():
        yield str(path)
        return
    fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"{_FDS}/{fd}/{path.name}"
    finally:
        os.close(fd)


def listen(path: Path, backlog: int = 16) -> socket.socket:
    """A listening socket (0600, not blocking) in place of whatever was left there. Its owner must hold a lock."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _address(path) as address:
            listener.bind(address)
        path.chmod(0o600)  # the directory is 0700, so nobody was faster
        listener.listen(backlog)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def connect(path: Path, timeout: float = 2.0) -> socket.socket:
    """A connected socket with ``timeout``; ``OSError`` if nobody listens."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout)
    try:
        with _address(path) as address:
            connection.connect(address)
    except OSError:
        connection.close()
        raise
    return connection


def peer_of(connected: socket.socket | TransportSocket) -> int | None:
    """The pid of whoever connected; None where the kernel does not say."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    pid, _, _ = _UCRED.unpack(connected.getsockopt(socket.SOL_SOCKET, option, _UCRED.size))
    return pid or None
