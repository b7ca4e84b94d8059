"""``agenthub worker``: short work that calls outside (webhooks, mail, retention), by django-q2.

Runs and links are none of its business: no gRPC is imported here, since its processes fork.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import wait
from pathlib import Path
from types import FrameType
from typing import Final

from integrations.cli.parsers import Parser

STOP_SECONDS: Final = 5.0
"""How long tasks under way may take when the worker stops; what is cut off then is done again later."""
KILL_SECONDS: Final = 3.0
PR_SET_PDEATHSIG: Final = 1
PR_SET_CHILD_SUBREAPER: Final = 36


def main(arguments: Sequence[str]) -> int:
    """Work until SIGTERM or SIGINT; 0 after a clean stop, 1 if django-q2 gave up. No process stays."""
    Parser("agenthub worker", description=__doc__).parse_args(arguments)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "agenthub_site.settings")
    import django

    django.setup()
    from django.conf import settings

    from agenthub_site.homelock import share_home

    # A pool does not survive a fork: its connections would be used by both, and its threads by neither.
    settings.DATABASES["default"]["OPTIONS"].pop("pool", None)
    with share_home(settings.CONFIG.home, "worker"):
        return _work()


def _work() -> int:
    """Keep django-q2's sentinel, without its ``Cluster``.

    The cluster stops in a signal's handler, by an event whose lock a process that got the same
    signal may have taken into its grave: it waited for ever. Here a signal only wakes the wait below.
    """
    from django_q.cluster import Sentinel

    woken, waker = os.pipe()

    def wake(_number: int, _frame: FrameType | None) -> None:
        with suppress(OSError):
            os.write(waker, b"!")

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, wake)
    _adopt_orphans()
    os.register_at_fork(after_in_child=_die_with_parent)
    forking = multiprocessing.get_context("fork")
    stop, started = forking.Event(), forking.Event()
    sentinel = forking.Process(target=Sentinel, args=(stop, started, uuid.uuid4()), name="sentinel")
    sentinel.start()
    is_asked = woken in wait([woken, sentinel.sentinel])
    if is_asked:
        # In a thread: the event's lock may belong to the dead, as above.
        threading.Thread(target=stop.set, daemon=True).start()
        wait([sentinel.sentinel], STOP_SECONDS)
    _end_descendants()
    return 0 if is_asked else 1


def _adopt_orphans() -> None:
    """What our processes leave behind becomes ours, so that it can be found and ended."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def _die_with_parent() -> None:
    """A worker that was killed has no time to end its own; orphans would keep the home from the next `up`."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _end_descendants() -> None:
    deadline = time.monotonic() + KILL_SECONDS
    while (left := list(_children())) and time.monotonic() < deadline:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)  # its own children are ours now, and come next


def _children() -> Iterator[int]:
    for path in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):
            yield from (int(pid) for pid in path.read_text("ascii").split())
