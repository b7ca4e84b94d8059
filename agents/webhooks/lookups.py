"""Names to addresses, within a time: the system's resolver cannot be told to stop, so it is left behind.

Each look-up has a thread of its own, which ends when the resolver does. Who waits for it, waits for seconds; and while
it goes on, nobody begins another for the same name, so that names that never answer hold a bounded number of threads.
"""

import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from ipaddress import ip_address
from typing import Final

SECONDS: Final = 5.0
"""For a name's addresses. A resolver of the C library gives up by itself after some 10 to 30 s."""
AT_ONCE: Final = 128
"""Look-ups of a process that go on; where there are more, the next is not begun."""
Resolve = Callable[[str], Sequence[str]]
"""The addresses of a host. Raises ``OSError``."""


def resolve(host: str) -> list[str]:
    """By the system's resolver, which blocks for as long as it likes."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(info[4][0]) for info in found))


class Lookups:
    """Look-ups under way, each shared by all who want the same name."""

    def __init__(self, resolve: Resolve = resolve, *, seconds: float = SECONDS, at_once: int = AT_ONCE) -> None:
        self._resolve = resolve
        self._seconds = seconds
        self._at_once = at_once
        self._under_way: dict[str, Future[Sequence[str]]] = {}
        self._lock = threading.Lock()

    def find(self, host: str) -> Sequence[str]:
        """The addresses of a name; an address is its own. Raises ``OSError``: ``TimeoutError`` after ``seconds``."""
        if _is_address(host):
            return [host]
        try:
            return self._begin(host.lower()).result(self._seconds)
        except TimeoutError:
            raise TimeoutError(f"no name server has told the address of {host} within {self._seconds:g} s") from None

    def _begin(self, host: str) -> "Future[Sequence[str]]":
        with self._lock:
            found = self._under_way.get(host)
            if found is not None:
                return found
            if len(self._under_way) >= self._at_once:
                raise OSError(f"{self._at_once} other names are being looked up, and no name server answers")
            asked: Future[Sequence[str]] = Future()
            threading.Thread(target=self._look_up, args=(host, asked), name=f"look-up {host}", daemon=True).start()
            self._under_way[host] = asked  # before the thread may take it out again: that needs the lock
            return asked

    def _look_up(self, host: str, asked: "Future[Sequence[str]]") -> None:
        found: Sequence[str] = ()
        failed: Exception | None = None
        try:
            found = self._resolve(host)
        except Exception as error:  # noqa: BLE001 - it is raised where somebody waits for it
            failed = error
        with self._lock:
            del self._under_way[host]
        if failed is None:
            asked.set_result(found)
        else:
            asked.set_exception(failed)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
