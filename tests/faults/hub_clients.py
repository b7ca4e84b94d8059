"""Agents of ``test_hub_history``: they send, receive, ack, take locks and give them back, and note what they are told.

Each comes over a line that may be cut to a hub that may be killed: what was not answered is asked again, or unknown.
"""

import random
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx

from .hubs import mcp_body, mcp_said

LEASE_SECONDS = 1.0
LOCKS = ("main", "docs")
TIMEOUT = 15.0
PAUSE = 0.05


class History:
    """Facts of all clients. ``asked`` and ``answered`` are seconds of one clock."""

    def __init__(self) -> None:
        self.facts: list[dict[str, Any]] = []
        self._lock = threading.Lock()

    def note(self, what: str, **said: Any) -> None:
        with self._lock:
            self.facts.append({"what": what, "at": time.monotonic_ns(), **said})

    def count(self, *what: str) -> int:
        with self._lock:
            return sum(fact["what"] in what for fact in self.facts)


class Agent:
    """One of them, with three threads: a sender, a receiver, one that is after locks."""

    def __init__(self, name: str, others: list[str], url: str, token: str, history: History) -> None:
        self._name, self._others, self._history = name, others, history
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "application/json, text/event-stream"}
        self._count = 0
        self._end = threading.Event()
        self._threads = [
            threading.Thread(target=self._keep, args=(what,), daemon=True)
            for what in (self._send, self._receive, self._lock)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(3 * TIMEOUT)

    def _keep(self, act: Callable[[httpx.Client], None]) -> None:
        with httpx.Client(timeout=TIMEOUT, headers=self._headers) as http:
            while not self._end.is_set():
                act(http)

    def _ask(self, http: httpx.Client, path: str, body: dict[str, Any]) -> httpx.Response | None:
        """The answer; None if there was none, and nobody knows what came of it."""
        try:
            answer = http.post(f"{self._url}{path}", json=body)
            if answer.status_code < 500:
                answer.raise_for_status()
                return answer
        except httpx.TransportError:
            pass
        self._history.note("unknown", path=path)
        time.sleep(PAUSE)
        return None

    def _send(self, http: httpx.Client) -> None:
        """Numbered messages, each sent again under its key until it is answered."""
        self._count += 1
        key, to = f"{self._name}:{self._count}", random.choice(self._others)
        body = {"to": [to], "payload": {"n": self._count}, "dedupe_key": key}
        while not self._end.is_set():
            if answer := self._ask(http, "/api/v1/messages", body):
                (sent,) = answer.json()["to"]
                self._history.note("sent", key=key, to=f"agent:{sent['id']}", number=sent["number"])
                return

    def _receive(self, http: httpx.Client) -> None:
        """One mail in ten is never acked, and has to come again."""
        answer = self._ask(http, "/api/v1/inbox/receive", {"limit": 5, "lease_seconds": LEASE_SECONDS, "wait": 1})
        mails = answer.json()["results"] if answer else []
        for mail in mails:
            to = f"agent:{mail['to']['id']}"
            self._history.note("received", to=to, number=mail["number"], again=mail["redelivered"])
        done = [mail["number"] for mail in mails if random.random() < 0.9]
        acked = self._ask(http, "/api/v1/inbox/ack", {"message_ids": done}) if done else None
        for each in acked.json()["results"] if acked else []:
            to = f"agent:{mails[0]['to']['id']}"
            self._history.note("acked", to=to, number=each["number"], changed=each["status_changed"])

    def _lock(self, http: httpx.Client) -> None:
        """Take a lock for a second; give it back, or let it run out."""
        key, asked = random.choice(LOCKS), time.monotonic()
        taken = self._ask(http, "/mcp", mcp_body("lock_acquire", lock_key=key, ttl_seconds=1))
        said: dict[str, Any] = mcp_said(taken) if taken else {"ok": False}
        if not said["ok"]:
            time.sleep(PAUSE)
            return
        number = said["lock"]["fencing_number"]
        held = {"key": key, "by": self._name, "number": number}
        self._history.note("locked", asked=asked, answered=time.monotonic(), ends=asked + 1, **held)
        time.sleep(random.uniform(0, 0.3))
        if random.random() < 0.8:
            asked = time.monotonic()
            self._history.note("releasing", asked=asked, **held)
            given = self._ask(http, "/mcp", mcp_body("lock_release", lock_key=key))
            if given:
                self._history.note("released", asked=asked, is_done=mcp_said(given)["ok"], **held)
        else:
            time.sleep(1)
