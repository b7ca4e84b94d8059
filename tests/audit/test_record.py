"""``record()``: dense numbers, in the caller's transaction, and nothing that can be taken back."""

import threading
from uuid import UUID

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.transaction import TransactionManagementError
from django.db.utils import DatabaseError

from agenthub_site.accounts.actors import SYSTEM, Actor, ActorKind
from audit.models import AuditEvent, Stream
from audit.protection import missing_triggers
from audit.services import record, stream_of, take_numbers
from nodes.contract.ids import new_id


@pytest.mark.django_db
def test_numbers_are_dense_and_each_stream_has_its_own() -> None:
    first, second = new_id(), new_id()
    numbers = [record(first, "thing.happened", by=SYSTEM) for _ in range(3)]
    assert numbers == [1, 2, 3]
    assert record(second, "thing.happened", by=SYSTEM) == 1


@pytest.mark.django_db
def test_what_belongs_to_no_project_goes_to_the_instance() -> None:
    record(None, "user.created", by=SYSTEM, of=("user", "u-1"), username="dora")
    event = AuditEvent.objects.get()
    assert (event.stream, event.project, event.object_kind, event.object_id) == ("instance", None, "user", "u-1")
    assert event.data == {"username": "dora"}


@pytest.mark.django_db
def test_the_actor_is_kept_with_label_address_and_program() -> None:
    actor = Actor(ActorKind.USER, str(new_id()), "alice", address="10.0.0.7", user_agent="curl/8")
    record(new_id(), "run.cancelled", by=actor, run=new_id())
    event = AuditEvent.objects.get()
    assert (event.actor_kind, event.actor_label, event.address, event.user_agent) == (
        "user", "alice", "10.0.0.7", "curl/8",
    )  # fmt: skip


@pytest.mark.django_db
def test_texts_from_outside_are_cut_to_the_column_and_cleaned() -> None:
    actor = Actor(ActorKind.USER, "1", "a" * 400, user_agent="\x00" + "x" * 1_000)
    record(None, "user.created", by=actor)
    event = AuditEvent.objects.get()
    assert len(event.actor_label) == 150
    assert len(event.user_agent) == 200 and event.user_agent.startswith("\ufffdx")


@pytest.mark.django_db
def test_ids_and_times_in_the_data_become_texts() -> None:
    project = new_id()
    record(None, "token.created", by=SYSTEM, user=project)
    assert UUID(AuditEvent.objects.get().data["user"]) == project


@pytest.mark.django_db(transaction=True)
def test_a_number_outside_a_transaction_is_refused() -> None:
    with pytest.raises(TransactionManagementError):
        record(None, "user.created", by=SYSTEM)
    assert not Stream.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_transaction_that_fails_leaves_no_event_and_no_gap() -> None:
    with pytest.raises(RuntimeError, match="undone"), transaction.atomic():
        record(None, "user.created", by=SYSTEM)
        raise RuntimeError("undone")
    with transaction.atomic():
        assert record(None, "user.created", by=SYSTEM) == 1


@pytest.mark.django_db
def test_several_streams_advance_at_once() -> None:
    take_numbers({"b": 2, "a": 1})
    assert take_numbers({"a": 5, "b": 1}) == {"a": 6, "b": 3}


CHANGES = {
    "sqlite": [
        "UPDATE OR REPLACE {0} SET rowid = 7",
        "INSERT OR REPLACE INTO {0} SELECT * FROM {0}",
        "REPLACE INTO {0} SELECT * FROM {0}",
        "INSERT OR IGNORE INTO {0} SELECT * FROM {0}",
    ],
    "postgresql": ["TRUNCATE {0}", "SET LOCAL session_replication_role = replica; DELETE FROM {0}"],
}
"""What else takes a row away, where there is one."""


@pytest.mark.django_db
def test_no_row_of_the_trail_gives_way_to_another() -> None:
    record(None, "user.created", by=SYSTEM)
    refused = pytest.raises(DatabaseError, match="never changed")
    for statement in CHANGES[connection.vendor]:
        with refused, transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement.format("audit_auditevent"))
    if connection.vendor == "sqlite":
        columns = "rowid, id, stream, number, name, at, actor_kind, actor_id, actor_label, object_kind, object_id"
        values = "rowid, 'other', 'other', 9, name, at, actor_kind, actor_id, actor_label, object_kind, object_id"
        with refused, transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                f"INSERT OR REPLACE INTO audit_auditevent ({columns}, address, user_agent, data) "
                f"SELECT {values}, address, user_agent, data FROM audit_auditevent"
            )
    assert AuditEvent.objects.get().name == "user.created"


@pytest.mark.django_db
def test_the_migrations_leave_every_trigger_in_place() -> None:
    assert missing_triggers(connection) == []


@pytest.mark.parametrize("statement", ["UPDATE audit_auditevent SET name = 'x'", "DELETE FROM audit_auditevent"])
@pytest.mark.django_db
def test_the_database_refuses_to_change_what_is_recorded(statement: str) -> None:
    record(None, "user.created", by=SYSTEM)
    refused = pytest.raises((IntegrityError, DatabaseError), match="never changed")
    with refused, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
    assert AuditEvent.objects.get().name == "user.created"


@pytest.mark.django_db(transaction=True)
def test_writers_at_once_get_each_number_once() -> None:
    project, numbers = new_id(), []

    def write() -> None:
        try:
            for _ in range(10):
                with transaction.atomic():
                    numbers.append(record(project, "thing.happened", by=SYSTEM))
        finally:
            connection.close()

    writers = [threading.Thread(target=write) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert sorted(numbers) == list(range(1, 41))
    assert Stream.objects.get(name=stream_of(project)).last_number == 40
