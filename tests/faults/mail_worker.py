"""One process of ``test_mail_history``: sends and receives until it is killed, and notes what it was told, durably.

python -m tests.faults.mail_worker NUMBER PROJECT LOG
"""

import json
import os
import random
import sys
import threading
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "agenthub_site.settings")
django.setup()

from mailboxes.addresses import Address  # noqa: E402
from mailboxes.services import ack, receive, send  # noqa: E402
from nodes.contract.errors import HubError  # noqa: E402

RECIPIENTS = 3
LEASE_SECONDS = 1.0


class Log:
    """A line per fact, written before anything else is done. A line that was torn by a kill was not said."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def say(self, what: str, **facts: Any) -> None:
        line = json.dumps({"what": what, "at": time.time_ns(), **facts}) + "\n"
        os.write(self._descriptor, line.encode())


def box(number: int) -> Address:
    return Address.of("agent", UUID(int=1_000 + number))


def keep_sending(name: str, project: UUID, log: Log) -> None:
    """Numbered messages, each sent again under its key until it is answered."""
    me, count = Address.of("agent", name), 0
    while True:
        count += 1
        to = box(random.randrange(RECIPIENTS))
        key = f"{name}:{count}"
        log.say("sending", key=key, to=str(to))
        while True:
            try:
                sent = send(project, me, [to], {"from": name, "n": count}, dedupe_key=key)
                break
            except HubError as error:
                log.say("unknown", key=key, code=error.code)
                time.sleep(0.05)
        log.say("sent", key=key, to=str(to), number=sent.deliveries[0][1])


def keep_receiving(recipient: Address, log: Log) -> None:
    """Some of what is received is never acked, and has to come again."""
    while True:
        try:
            mails = receive(recipient, limit=5, lease_seconds=LEASE_SECONDS)
            for mail in mails:
                log.say(
                    "received", to=str(recipient), number=mail.number, key=mail.dedupe_key, again=mail.redelivered
                )  # fmt: skip
            done = [mail.number for mail in mails if random.random() < 0.9]
            if done:
                for acked in ack(recipient, done):
                    log.say("acked", to=str(recipient), number=acked.id, changed=acked.changed, state=acked.state)
            elif not mails:
                time.sleep(0.02)
        except HubError as error:
            log.say("failed", code=error.code)
            time.sleep(0.05)


def main() -> None:
    number, project, path = sys.argv[1:]
    log = Log(Path(path))
    random.seed(f"{number}{time.time_ns()}")
    born = time.time_ns()
    threads = [
        threading.Thread(target=keep_sending, args=(f"sender-{number}-{each}-{born}", UUID(project), log), daemon=True)
        for each in range(3)
    ]
    threads += [threading.Thread(target=keep_receiving, args=(box(int(number)), log), daemon=True)]
    for thread in threads:
        thread.start()
    log.say("up", pid=os.getpid())
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
