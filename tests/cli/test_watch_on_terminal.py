"""On a real terminal (a pty): live text, a question asked in place, the answer sent."""

import os
import pty
import re
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support import eventually

from .small_hub import RUN, SmallHub, event

OPTIONS = [
    {"option_id": "once", "name": "Allow once", "kind": "allow_once"},
    {"option_id": "no", "name": "Reject", "kind": "reject_once"},
]
APPROVAL = "0199a1b2-0000-7000-8000-0000000000a1"


class Terminal:
    def __init__(self, main: int, process: "subprocess.Popen[bytes]") -> None:
        self._main = main
        self.process = process
        self.screen = ""

    def shows(self, text: str) -> bool:
        if select.select([self._main], [], [], 0)[0]:
            with suppress(OSError):  # the other end is closed
                self.screen += os.read(self._main, 65536).decode("utf-8", "replace")
        return text in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.screen)

    def type(self, text: str) -> None:
        os.write(self._main, text.encode())


@contextmanager
def terminal(home: Path, *arguments: str) -> Iterator[Terminal]:
    main, side = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "agenthub_site.main", *arguments],
        stdin=side, stdout=side, stderr=side, start_new_session=True,
        env={**os.environ, "AGENTHUB_HOME": str(home), "TERM": "xterm", "COLUMNS": "100"},
    )  # fmt: skip
    os.close(side)
    try:
        yield Terminal(main, process)
    finally:
        process.kill()
        process.wait()
        os.close(main)


def test_a_question_is_asked_in_place_and_its_answer_sent(home: Path, hub: SmallHub) -> None:
    asked = event(
        4, "run.approval.requested", approval_id=APPROVAL, kind="write", title="Write notes.md",
        options=OPTIONS, action_hash="h", expires_in_seconds=600,
    )  # fmt: skip
    hub.events = [*hub.events[:3], asked]
    decide = ("POST", f"/api/v1/runs/{RUN}/approvals/{APPROVAL}/decide/")
    hub.routes[decide] = (200, {"id": APPROVAL, "option_id": "once"})
    hub.holds_open = True
    with terminal(home, "logs", RUN, "--follow") as screen:
        eventually(lambda: screen.shows("[y] Allow once · [n] Reject"))
        assert screen.shows("Hello, ") and screen.shows("approval needed: Write notes.md")
        screen.type("y\n")
        eventually(lambda: hub.asked(*decide))
        hub.add(
            event(
                5, "run.approval.resolved", approval_id=APPROVAL, result="applied", outcome="selected", option_id="once"
            )
        )
        hub.add(event(6, "run.completed", stop_reason="end_turn"))
        eventually(lambda: screen.shows("succeeded"))
        assert screen.process.wait(60) == 0
    assert hub.asked(*decide)[0].body == {"option_id": "once"}


def test_an_answer_given_elsewhere_takes_the_question_away(home: Path, hub: SmallHub) -> None:
    asked = event(
        1, "run.approval.requested", approval_id=APPROVAL, kind="write", title="Write notes.md",
        options=OPTIONS, action_hash="h", expires_in_seconds=600,
    )  # fmt: skip
    hub.events = [asked]
    hub.holds_open = True
    with terminal(home, "logs", RUN, "--follow") as screen:
        eventually(lambda: screen.shows("[y] Allow once"))
        hub.add(
            event(
                2, "run.approval.resolved", approval_id=APPROVAL, result="expired", outcome="selected", option_id="no"
            )
        )
        eventually(lambda: screen.shows("approval expired: Reject"))
        hub.add(event(3, "run.cancelled", reason="cancelled"))
        assert screen.process.wait(60) == 5


def test_ctrl_c_leaves_the_run_alone_and_says_so(home: Path, hub: SmallHub) -> None:
    hub.events = hub.events[:3]
    hub.holds_open = True
    with terminal(home, "logs", RUN, "--follow") as screen:
        eventually(lambda: screen.shows("Hello, "))
        screen.process.send_signal(2)
        eventually(lambda: screen.shows("the run goes on"))
        assert screen.process.wait(60) == 130
    assert not [seen for seen in hub.seen if seen.method == "POST"]
