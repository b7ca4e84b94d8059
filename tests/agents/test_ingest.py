import json
from collections.abc import Sequence

import pytest
from django.db import DataError
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.event_table import NewEvent, insert_events
from agents.ingest import BatchRefused, Ingest, commit_batches
from agents.models import Approval, Run, RunEvent
from agents.states import State
from nodes.contract.events import (
    ApprovalOption,
    ApprovalRequested,
    ApprovalResolved,
    MessageDelta,
    RunCompleted,
    RunFailed,
    RunStarted,
)
from nodes.contract.ids import new_id
from nodes.contract.record import encode_raw
from nodes.leases import LeaseLost, claim_lease
from nodes.models import Node
from tests.agents.records import batch_of, commit, frames_of, lease_of
from tests.factories import make_agent, make_node, make_run

STARTED = RunStarted(runtime="acp", preset="scripted", workspace="/w")


def delta(text: str = "hi") -> MessageDelta:
    return MessageDelta(message_id="m", text=text)


def types_of(run: Run) -> list[str]:
    return list(RunEvent.objects.filter(run=run).order_by("seq").values_list("type", flat=True))


def test_records_get_dense_numbers_and_are_acknowledged(run: Run) -> None:
    acked = commit(run, delta(), delta(), delta())
    assert (acked.origin_seq, run.last_seq) == (3, 3)
    assert list(RunEvent.objects.filter(run=run).values_list("seq", "origin_seq")) == [(1, 1), (2, 2), (3, 3)]


def test_a_repeat_is_dropped(run: Run) -> None:
    commit(run, delta(), delta())
    acked = commit(run, delta(), delta(), delta())
    assert (acked.origin_seq, run.last_seq) == (3, 3)


def test_payloads_are_stored_as_they_came(run: Run) -> None:
    frame = encode_raw(1, "run.message.delta", 1, b'{"text":"x" ,"message_id":"m"}')
    commit_batches([batch_of(run, frame)])
    assert RunEvent.objects.get(run=run).payload == '{"text":"x" ,"message_id":"m"}'


def test_missing_records_are_said_to_be_missing(run: Run) -> None:
    commit(run, delta())
    commit(run, delta(), first=5)
    gap = RunEvent.objects.get(run=run, type="run.gap.found")
    assert (gap.seq, json.loads(gap.payload)["after_origin_seq"], run.last_seq) == (2, 1, 3)


@pytest.mark.parametrize(
    "payload", [b"{", b"[1]", b'{"a":\n1}', b'{"a":1}\r\n\r\ndata: {}', b"\xff", b'{"text":NaN}'[:9]]
)
def test_a_payload_that_cannot_be_served_verbatim_is_left_out_and_said(run: Run, payload: bytes) -> None:
    commit_batches([batch_of(run, encode_raw(1, "run.message.delta", 1, payload))])
    event = RunEvent.objects.get(run=run)
    assert event.type == "schema.validation_failed"
    assert isinstance(json.loads(event.payload), dict)


@pytest.mark.parametrize("payload", [b'{"stop_reason":1}', b"[]", b"{"])
def test_a_state_bearing_payload_that_is_none_changes_no_state(run: Run, payload: bytes) -> None:
    commit_batches([batch_of(run, encode_raw(1, "run.completed", 1, payload))])
    run.refresh_from_db()
    assert (run.state, types_of(run)) == (State.RUNNING, ["schema.validation_failed"])


@pytest.mark.parametrize(
    ("type_", "payload", "state"),
    [
        ("run.completed", b'{"stop_reason":"end_turn","added":1}', State.SUCCEEDED),
        ("run.failed", b'{"reason":"internal","added":{"later":[1]}}', State.FAILED),
        (
            "run.diff.ready",
            b'{"base_commit":"c","files":[{"path":"a","status":"added","mode":"0755"}],"files_changed":1,'
            b'"additions":1,"deletions":0}',
            State.RUNNING,
        ),
    ],
)
def test_what_a_newer_node_added_is_kept_and_not_read(run: Run, type_: str, payload: bytes, state: State) -> None:
    commit_batches([batch_of(run, encode_raw(1, type_, 1, payload))])
    run.refresh_from_db()
    assert (run.state, types_of(run)) == (state, [type_])
    assert RunEvent.objects.get(run=run, type=type_).payload == payload.decode()
    assert "mode" not in str(run.diff)


def test_a_newer_nodes_question_is_asked(run: Run) -> None:
    question = asked(str(new_id())).model_dump(mode="json")
    question["added"] = question["options"][0]["added"] = {"later": 1}
    commit_batches([batch_of(run, encode_raw(1, "run.approval.requested", 1, json.dumps(question).encode()))])
    assert Approval.objects.filter(pk=question["approval_id"], run=run).exists()


def test_a_run_goes_from_starting_to_its_end(db: None) -> None:
    run = make_run(state=State.STARTING)
    commit(run, STARTED)
    assert (run.state, run.workspace) == (State.RUNNING, "/w")
    commit(run, RunCompleted(stop_reason="end_turn"), first=2)
    assert (run.state, run.reason) == (State.SUCCEEDED, "finished")
    assert run.ended_at is not None


def test_nothing_is_stored_after_the_ending(run: Run) -> None:
    acked = commit(run, RunCompleted(), RunFailed(reason="internal"), delta())
    assert (types_of(run), run.state, acked.origin_seq) == (["run.completed"], State.SUCCEEDED, 3)


def test_a_turn_that_ran_out_of_time_is_timed_out(run: Run) -> None:
    commit(run, RunFailed(reason="turn_timeout", message="10 s"))
    assert (run.state, run.message) == (State.TIMED_OUT, "10 s")


def asked(approval_id: str) -> ApprovalRequested:
    option = ApprovalOption(option_id="ok", name="OK", kind="allow_once")
    return ApprovalRequested(
        approval_id=approval_id, kind="shell", title="make", options=[option], action_hash="h", expires_in_seconds=600
    )


def test_a_question_opens_an_approval_and_its_resolution_closes_it(run: Run) -> None:
    approval_id = str(new_id())
    commit(run, asked(approval_id))
    assert Approval.objects.get(run=run).state == "pending"
    commit(run, ApprovalResolved(approval_id=approval_id, result="expired", outcome="cancelled"), first=2)
    assert Approval.objects.get(run=run).state == "expired"


def test_an_ending_closes_open_approvals(run: Run) -> None:
    commit(run, asked(str(new_id())), RunCompleted())
    assert Approval.objects.get(run=run).state == "superseded"


def test_a_node_speaks_for_its_own_runs_only(run: Run, lima: Node) -> None:
    lease = claim_lease(lima.pk, "hub-a")
    acked = commit(run, RunFailed(reason="internal"), lease=lease)
    assert (acked.refused, run.state, types_of(run)) == ("unknown_run", State.RUNNING, [])


def test_a_lost_lease_stores_nothing(run: Run) -> None:
    old = lease_of(run)
    lease_of(run)
    with pytest.raises(LeaseLost):
        commit_batches([batch_of(run, frames_of(delta()), lease=old)])
    assert types_of(run) == []


@pytest.mark.django_db(transaction=True)
def test_the_writer_thread_commits_many_runs_and_keeps_each_in_order() -> None:
    agent = make_agent()
    runs = [make_run(agent=agent) for _ in range(5)]
    lease, ingest = lease_of(runs[0]), Ingest()
    ingest.start()
    try:
        done = [
            ingest.submit(batch_of(run, frames_of(*[delta()] * 40, first=1 + 40 * part), lease=lease))
            for part in range(5)
            for run in runs
        ]
        assert all(future.result(20) for future in done)
    finally:
        ingest.stop()
    for run in runs:
        numbers = RunEvent.objects.filter(run=run).order_by("seq").values_list("seq", "origin_seq")
        assert list(numbers) == [(n, n) for n in range(1, 201)]


@pytest.mark.django_db(transaction=True)
def test_one_lost_lease_does_not_hold_up_other_nodes() -> None:
    mine, other = make_run(), make_run(agent=make_agent("second", node=make_node("lima")))
    stale = lease_of(mine)
    lease_of(mine)
    lost, good = batch_of(mine, frames_of(delta()), lease=stale), batch_of(other, frames_of(delta()))
    ingest = Ingest()
    ingest.submit(lost), ingest.submit(good)
    ingest.start()
    try:
        assert good.done.result(20)[0].origin_seq == 1
        with pytest.raises(LeaseLost):
            lost.done.result(20)
    finally:
        ingest.stop()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 8), st.integers(1, 6)), min_size=1, max_size=12))
@pytest.mark.django_db(transaction=True)
def test_any_order_of_repeated_batches_stores_each_record_once(parts: list[tuple[int, int]]) -> None:
    run = make_run()
    lease = lease_of(run)
    for first, count in parts:
        commit(run, *[delta()] * count, first=first, lease=lease)
    origins = [o for o in RunEvent.objects.filter(run=run).order_by("seq").values_list("origin_seq", flat=True) if o]
    assert origins == sorted(set(origins))
    assert run.last_seq == RunEvent.objects.filter(run=run).count()


@pytest.mark.django_db(transaction=True)
def test_a_link_that_left_does_not_stop_the_writer() -> None:
    run, ingest = make_run(), Ingest()
    lease = lease_of(run)
    left = ingest.submit(batch_of(run, frames_of(delta()), lease=lease))
    left.cancel()
    ingest.start()
    try:
        assert ingest.submit(batch_of(run, frames_of(delta(), first=2), lease=lease)).result(20)[0].origin_seq == 2
    finally:
        ingest.stop()
    assert types_of(run) == ["run.message.delta"] * 2


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("error", [DataError("bad"), KeyError("bad")])
def test_what_follows_a_batch_that_cannot_be_stored_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(events: Sequence[NewEvent]) -> None:
        if any("poison" in event.payload for event in events):
            raise error
        insert_events(events)

    monkeypatch.setattr("agents.ingest.insert_events", fail)
    run, other, ingest = make_run(), make_run(agent=make_agent("second", node=make_node("lima"))), Ingest()
    lease = lease_of(run)
    bad = ingest.submit(batch_of(run, frames_of(delta("poison")), lease=lease))
    after = ingest.submit(batch_of(run, frames_of(delta(), first=2), lease=lease))
    elsewhere = ingest.submit(batch_of(other, frames_of(delta())))
    ingest.start()
    try:
        assert elsewhere.result(20)[0].origin_seq == 1
        assert [type(done.exception(20)) for done in (bad, after)] == [BatchRefused] * 2
        assert types_of(run) == []  # and no gap: the node sends both again, in a new epoch
        again = ingest.submit(batch_of(run, frames_of(delta(), delta()), lease=lease_of(run)))
        assert again.result(20)[0].origin_seq == 2
    finally:
        ingest.stop()


@pytest.mark.parametrize(
    ("type_", "payload"),
    [
        ("run.completed", b'{"stop_reason":"\\u0000"}'),
        ("run.approval.resolved", b'{"approval_id":"1","result":"applied","outcome":"cancelled"}'),
        ("run.approval.requested", asked("1").model_dump_json().encode()),
        (
            "run.approval.requested",
            asked(str(new_id())).model_copy(update={"expires_in_seconds": 1e18}).model_dump_json().encode(),
        ),
        (
            "run.approval.requested",
            asked(str(new_id())).model_copy(update={"action_hash": "h" * 200}).model_dump_json().encode(),
        ),
    ],
)
def test_a_report_that_does_not_fit_the_columns_changes_no_state(run: Run, type_: str, payload: bytes) -> None:
    commit_batches([batch_of(run, encode_raw(1, type_, 1, payload))])
    run.refresh_from_db()
    assert (run.state, types_of(run)) == (State.RUNNING, ["schema.validation_failed"])
    assert not Approval.objects.exists()


def test_a_version_that_no_contract_has_is_left_out_and_said(run: Run) -> None:
    commit_batches([batch_of(run, encode_raw(1, "run.output", 60_000, b"{}"))])
    assert types_of(run) == ["schema.validation_failed"]


@pytest.mark.parametrize("occurred_us", [-1, 2**62])
def test_a_time_that_no_calendar_has_is_the_hubs_own(run: Run, occurred_us: int) -> None:
    commit_batches([batch_of(run, encode_raw(1, "run.output", 1, b"{}", occurred_us))])
    event = RunEvent.objects.get(run=run)
    assert event.occurred_us == event.recorded_us


def test_an_exit_code_beyond_32_bits_does_not_keep_a_run_from_ending(run: Run) -> None:
    commit(run, RunCompleted(exit_code=3_221_225_477))
    assert (run.state, run.exit_code) == (State.SUCCEEDED, None)


def test_a_number_beyond_63_bits_is_a_defect_and_is_not_taken(run: Run) -> None:
    acked = commit(run, delta(), first=2**63)
    assert (acked.origin_seq, types_of(run)) == (0, [])
