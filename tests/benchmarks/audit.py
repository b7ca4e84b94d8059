"""The audit trail: records per second beside bare inserts of the same bytes; sealing, exporting and verifying them."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import django

django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import connection, transaction  # noqa: E402
from django.utils import timezone  # noqa: E402

from agenthub_site.accounts.actors import Actor, ActorKind  # noqa: E402
from audit.export import Export  # noqa: E402
from audit.proof.keys import LIST, read_records  # noqa: E402
from audit.proof.verify import verify  # noqa: E402
from audit.sealer import Sealer  # noqa: E402
from audit.services import Fact, record, record_all  # noqa: E402
from nodes.contract.ids import new_id  # noqa: E402
from tests.benchmarks.figures import Figure, say  # noqa: E402

SINGLE = 1_000
BULK = 20_000
AT_ONCE = 500
ALICE = Actor(ActorKind.USER, str(new_id()), "alice", address="192.0.2.7", user_agent="Mozilla/5.0 (X11; Linux x86_64)")
TEXT = "x" * 420
"""About what an entry's columns hold."""


def rate(count: int, act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return count / (time.perf_counter() - began)


def each_in_its_transaction(write: Callable[[], object]) -> None:
    for _ in range(SINGLE):
        with transaction.atomic():
            write()


def in_bulk(write: Callable[[], object]) -> None:
    for _ in range(BULK // AT_ONCE):
        with transaction.atomic():
            write()


def bare(rows: int) -> None:
    with connection.cursor() as cursor:
        cursor.executemany("INSERT INTO bare (id, body) VALUES (%s, %s)", _rows(rows))


def _rows(count: int) -> list[tuple[str, str]]:
    return [(str(new_id()), TEXT) for _ in range(count)]


def main() -> None:
    call_command("migrate", verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE bare (id varchar(36) PRIMARY KEY, body text NOT NULL)")
    project, run = new_id(), new_id()
    single = rate(
        SINGLE,
        lambda: each_in_its_transaction(
            lambda: record(project, "run.queued", by=ALICE, of=("run", run), run=run, node=new_id(), count=7)
        ),
    )
    limit = rate(SINGLE, lambda: each_in_its_transaction(lambda: bare(1)))
    say(Figure("audit: records, each in its transaction", f"{single:,.0f}/s", f"bare insert {limit:,.0f}/s"))
    facts = [Fact(project, "run.queued", of=("run", run), run=run, data={"count": n}) for n in range(AT_ONCE)]
    bulk = rate(BULK, lambda: in_bulk(lambda: record_all(facts, by=ALICE)))
    limit = rate(BULK, lambda: in_bulk(lambda: bare(AT_ONCE)))
    say(Figure(f"audit: records, {AT_ONCE} in a transaction", f"{bulk:,.0f}/s", f"bare insert {limit:,.0f}/s"))
    directory = Path(os.environ["AGENTHUB_HOME"]) / "audit"
    sealer, sealed = Sealer(directory), 0
    began = time.perf_counter()
    while part := sealer.tick(timezone.now()):
        sealed += part
    say(Figure("audit: sealed", f"{sealed / (time.perf_counter() - began):,.0f}/s"))
    began = time.perf_counter()
    lines = [line for part in Export().parts() for line in part.splitlines()]
    exported = time.perf_counter() - began
    say(Figure("audit: exported", f"{sealed / exported:,.0f}/s", f"{sum(map(len, lines)) / 1e6:.0f} MB"))
    began = time.perf_counter()
    report = verify(lines, known=read_records(directory / LIST))
    assert report.is_whole, report.problems
    say(Figure("audit: verified", f"{report.events / (time.perf_counter() - began):,.0f}/s"))


if __name__ == "__main__":
    main()
