"""Assignments are claimed with a lease, kept by progress, handed over, and free again when nobody renews."""

from datetime import timedelta

import pytest
from django.utils import timezone

from agenthub_site.accounts.actors import SYSTEM
from agents.coordination import errors
from agents.coordination.models import Assignment, Handoff, Round
from agents.coordination.services import assignments
from agents.coordination.services.assignments import (
    Work,
    claim_assignment,
    complete_assignment,
    report_progress,
)
from agents.coordination.services.rounds import review_round
from agents.services.agents import archive_agent
from audit.models import AuditEvent
from nodes.contract.errors import Forbidden, Invalid

from .conftest import Crew

LATER = timedelta(minutes=91)


def test_a_claim_holds_for_the_lease_and_begins_the_round(crew: Crew) -> None:
    (assignment,) = crew.approved()
    now = timezone.now()
    claim_assignment(assignment, by=crew.wim, now=now)
    assert assignment.state == "claimed"
    assert assignment.lease_expires_at == now + timedelta(minutes=90)
    assert Round.objects.get().state == "in_progress"


def test_progress_renews_the_lease_and_keeps_the_last_note(crew: Crew) -> None:
    (assignment,) = crew.approved()
    claim_assignment(assignment, by=crew.wim)
    later = timezone.now() + timedelta(minutes=60)
    report_progress(assignment, by=crew.wim, status="in_progress", note="Half way", now=later)
    assert (assignment.state, assignment.lease_expires_at) == ("in_progress", later + timedelta(minutes=90))
    started = assignment.started_at
    report_progress(assignment, by=crew.wim, status="in_progress", now=later + timedelta(minutes=1))
    assert (assignment.progress_note, assignment.started_at) == ("Half way", started)
    assert AuditEvent.objects.filter(name="assignment.started").count() == 1


def test_claimed_renews_the_lease_of_work_that_has_begun_and_does_not_undo_it(crew: Crew) -> None:
    (assignment,) = crew.approved()
    claim_assignment(assignment, by=crew.wim)
    report_progress(assignment, by=crew.wim, status="in_progress")
    later = timezone.now() + timedelta(minutes=60)
    report_progress(assignment, by=crew.wim, status="claimed", note="Still here", now=later)
    assert (assignment.state, assignment.lease_expires_at) == ("in_progress", later + timedelta(minutes=90))
    assert assignment.progress_note == "Still here"


def test_an_expired_lease_is_only_its_former_holders(crew: Crew) -> None:
    (assignment,) = crew.approved(None)
    claim_assignment(assignment, by=crew.wim)
    later = timezone.now() + LATER
    assignments.tick(later)
    for by, error in ((crew.wim, errors.LeaseExpired), (crew.zoe, errors.AssignmentNotValid)):
        with pytest.raises(error):
            report_progress(assignment, by=by, status="in_progress", now=later)


def test_an_expired_assignment_is_free_again_and_its_holder_is_refused(crew: Crew) -> None:
    (assignment,) = crew.approved()
    claim_assignment(assignment, by=crew.wim)
    later = timezone.now() + LATER
    for refuse in (
        lambda: report_progress(assignment, by=crew.wim, status="in_progress", now=later),
        lambda: complete_assignment(assignment, Work(), by=crew.wim, now=later),
    ):
        with pytest.raises(errors.LeaseExpired):
            refuse()
    assert assignments.tick(later) == 1
    assert assignments.tick(later) == 0
    with pytest.raises(errors.LeaseExpired):
        complete_assignment(assignment, Work(), by=crew.wim, now=later)
    assert Assignment.objects.get().state == "pending"
    claim_assignment(assignment, by=crew.wim, now=later)
    complete_assignment(assignment, Work(), by=crew.wim, now=later)
    assert AuditEvent.objects.filter(name="assignment.lease_expired").count() == 1


def test_a_lease_that_was_renewed_does_not_expire(crew: Crew) -> None:
    (assignment,) = crew.approved()
    claim_assignment(assignment, by=crew.wim)
    report_progress(assignment, by=crew.wim, status="claimed", now=timezone.now() + timedelta(minutes=89))
    assert assignments.tick(timezone.now() + LATER) == 0


def test_an_assignment_for_anyone_is_anyones_again_after_its_lease(crew: Crew) -> None:
    (assignment,) = crew.approved(None)
    claim_assignment(assignment, by=crew.wim)
    with pytest.raises(errors.AssignmentNotPending):
        claim_assignment(assignment, by=crew.zoe)
    later = timezone.now() + LATER
    assert assignments.tick(later) == 1
    for refuse in (
        lambda: report_progress(assignment, by=crew.wim, status="in_progress", now=later),
        lambda: complete_assignment(assignment, Work(), by=crew.wim, now=later),
    ):
        with pytest.raises(errors.LeaseExpired):
            refuse()
    claim_assignment(assignment, by=crew.wim, now=later)
    later += LATER
    claim_assignment(assignment, by=crew.zoe, now=later)  # no tick in between
    assert assignment.agent == crew.agent("zoe")
    with pytest.raises(errors.AssignmentNotValid):
        complete_assignment(assignment, Work(), by=crew.wim, now=later)


def test_the_last_completed_assignment_has_the_round_reviewed(crew: Crew) -> None:
    first, second = crew.approved("wim", "zoe")
    claim_assignment(first, by=crew.wim)
    claim_assignment(second, by=crew.zoe)
    complete_assignment(first, Work(branch="nets", changed_files=["a.py"]), by=crew.wim)
    assert Round.objects.get().state == "in_progress"
    complete_assignment(second, Work(), by=crew.zoe)
    assert Round.objects.get().state == "awaiting_review"
    assert Handoff.objects.get(branch="nets").changed_files == ["a.py"]


def test_nothing_is_done_before_an_operator_approves(crew: Crew) -> None:
    """B9: progress and completion went around the gate."""
    assignment = crew.plan().assignments.get()
    for attempt in (
        lambda: claim_assignment(assignment, by=crew.wim),
        lambda: report_progress(assignment, by=crew.wim, status="in_progress"),
        lambda: complete_assignment(assignment, Work(), by=crew.wim),
    ):
        with pytest.raises(errors.RoundNotApproved):
            attempt()
    assert Assignment.objects.get().state == "pending"


def test_progress_and_completion_need_a_claim(crew: Crew) -> None:
    (assignment,) = crew.approved()
    for attempt in (
        lambda: report_progress(assignment, by=crew.wim, status="in_progress"),
        lambda: complete_assignment(assignment, Work(), by=crew.wim),
    ):
        with pytest.raises(errors.AssignmentNotActive):
            attempt()


def test_a_completed_assignment_is_not_opened_again(crew: Crew) -> None:
    """B10."""
    first, second = crew.approved("wim", "wim")
    claim_assignment(first, by=crew.wim)
    complete_assignment(first, Work(), by=crew.wim)
    for attempt in (
        lambda: report_progress(first, by=crew.wim, status="in_progress"),
        lambda: complete_assignment(first, Work(), by=crew.wim),
    ):
        with pytest.raises(errors.AssignmentNotActive):
            attempt()
    assert Handoff.objects.count() == 1
    assert second.state == "pending"


def test_another_agents_assignment_is_none_of_ours(crew: Crew) -> None:
    (assignment,) = crew.approved()
    with pytest.raises(errors.AssignmentNotValid):
        claim_assignment(assignment, by=crew.zoe)


def test_an_agent_holds_four_at_once_and_expired_ones_do_not_count(crew: Crew) -> None:
    held = crew.approved(*["wim"] * 5)
    for assignment in held[:4]:
        claim_assignment(assignment, by=crew.wim)
    with pytest.raises(errors.ActiveAssignmentLimit):
        claim_assignment(held[4], by=crew.wim)
    claim_assignment(held[4], by=crew.wim, now=timezone.now() + LATER)


def test_status_is_one_of_two(crew: Crew) -> None:
    (assignment,) = crew.approved()
    claim_assignment(assignment, by=crew.wim)
    with pytest.raises(errors.InvalidStatus):
        report_progress(assignment, by=crew.wim, status="completed")


@pytest.mark.parametrize(
    "work", [Work(branch="x" * 256), Work(changed_files=["a\nb"]), Work(notes="x" * 70_000), Work(tests_run=[""])]
)
def test_a_handoff_that_does_not_fit_changes_nothing(crew: Crew, work: Work) -> None:
    (assignment,) = crew.approved()
    claim_assignment(assignment, by=crew.wim)
    with pytest.raises(Invalid):
        complete_assignment(assignment, work, by=crew.wim)
    assert Assignment.objects.get().state == "claimed"


def test_people_do_not_work_on_tasks(crew: Crew) -> None:
    (assignment,) = crew.approved()
    with pytest.raises(Forbidden):
        claim_assignment(assignment, by=crew.operator)


def test_what_waits_for_an_agent_that_was_put_away_is_for_anyone(crew: Crew) -> None:
    waiting, held, zoes = crew.approved("wim", "wim", "zoe")
    claim_assignment(held, by=crew.wim)
    archive_agent(crew.agent("wim"), by=SYSTEM)
    assert assignments.tick(timezone.now()) == 1  # the other one is held until its lease is over
    later = timezone.now() + LATER
    assert assignments.tick(later) == 2  # free again, and for anyone at once
    assert assignments.tick(later) == 0
    zoes.refresh_from_db()
    assert zoes.agent == crew.agent("zoe") and not zoes.is_for_anyone
    assert claim_assignment(waiting, by=crew.zoe).agent == crew.agent("zoe")
    assert AuditEvent.objects.filter(name="assignment.opened", data__agent="wim").count() == 2


def test_a_round_that_opens_again_is_not_for_an_agent_that_was_put_away(crew: Crew) -> None:
    crew.limit(auto_create_next_round=True)
    round_ = crew.done()
    archive_agent(crew.agent("wim"), by=SYSTEM)
    _, opened = review_round(round_, by=crew.ada, verdict="changes_requested")
    assert opened is not None
    (again,) = opened.assignments.all()
    assert (again.agent, again.is_for_anyone) == (None, True)
