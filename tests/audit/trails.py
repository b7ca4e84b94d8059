"""Trails to write, to seal and to check."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from agenthub_site.accounts.actors import SYSTEM
from audit.export import Export
from audit.proof.keys import LIST, read_records
from audit.proof.verify import Report, verify
from audit.proof.witness import FILE, read_checkpoints
from audit.protection import protect, unprotect
from audit.services import Fact, record_all
from nodes.contract.ids import new_id


def write(project: UUID | None, count: int, **data: Any) -> None:
    """So many events of a project, in one transaction."""
    facts = [
        Fact(project, "thing.happened", of=("thing", n), run=new_id(), data={"n": n, **data}) for n in range(count)
    ]
    with transaction.atomic():
        record_all(facts, by=SYSTEM)


def check(directory: Path, stream: str | None = None, *, with_file: bool = True) -> Report:
    """As somebody does on the hub's machine: with the home's keys and its record of checkpoints."""
    file = directory / FILE
    kept = [one for one in read_checkpoints(file) if stream in (None, one.stream)] if file.exists() else []
    lines = (line for part in Export(stream).parts() for line in part.splitlines())
    return verify(lines, known=read_records(directory / LIST), witnesses=kept if with_file else [])


def places(report: Report) -> list[tuple[str, int, int, str]]:
    return [(found.stream, found.number, found.last, found.what) for found in report.problems]


def covers(report: Report, stream: str, number: int, *whats: str) -> bool:
    """Whether a problem of this kind is said of this very number."""
    return any(
        found.stream == stream and found.number <= number <= found.last and (not whats or found.what in whats)
        for found in report.problems
    )


@contextmanager
def unprotected() -> Iterator[None]:
    """As an attacker with the whole database does it: the triggers are back when they are done."""
    unprotect(connection)
    try:
        yield
    finally:
        protect(connection)
