"""A task is planned by its dispatcher, let through by an operator, reviewed, and planned anew."""

import pytest

from agenthub_site.accounts.actors import Actor
from agents.coordination import errors
from agents.coordination.models import Assignment, Round, Task
from agents.coordination.queries import find_task
from agents.coordination.services.assignments import Work, claim_assignment, complete_assignment
from agents.coordination.services.rounds import Planned, approve_round, reject_round, review_round, submit_plan
from agents.coordination.services.tasks import close_task, create_task
from audit.models import AuditEvent
from nodes.contract.errors import Forbidden, Invalid, NotFound

from .conftest import Crew


def test_an_approved_plan_is_dispatched_with_its_task(crew: Crew) -> None:
    round_ = crew.plan()
    assert (round_.state, round_.task.state) == ("awaiting_operator_approval",) * 2
    approve_round(round_, by=crew.operator, note="Go.")
    assert (round_.state, Task.objects.get().state, round_.operator_note) == ("dispatched", "dispatched", "Go.")
    assert list(AuditEvent.objects.order_by("number").values_list("name", flat=True)) == [
        "task.created", "round.submitted", "round.approved",
    ]  # fmt: skip


def test_a_rejected_plan_is_planned_again_and_costs_no_round(crew: Crew) -> None:
    crew.limit(max_rounds=1)
    first = crew.plan()
    reject_round(first, by=crew.operator, note="Too broad.")
    second = crew.plan(task=first.task)
    assert (first.state, second.number, second.state) == ("rejected", 2, "awaiting_operator_approval")


def test_what_a_rejected_plan_had_assigned_is_cancelled(crew: Crew) -> None:
    round_ = crew.plan("wim", None)
    reject_round(round_, by=crew.operator)
    assert [item.state for item in round_.assignments.all()] == ["cancelled"] * 2


def test_a_rejected_plan_opens_again_by_itself_where_the_limits_say_so(crew: Crew) -> None:
    crew.limit(auto_create_next_round=True)
    first = reject_round(crew.plan("wim", None), by=crew.operator, note="Not now.")
    second = Round.objects.get(number=2)
    assert (first.state, second.state, second.is_repeat) == ("rejected", "awaiting_operator_approval", True)
    assert [(item.goal, item.is_for_anyone) for item in second.assignments.all()] == [
        ("Goal 0", False), ("Goal 1", True),
    ]  # fmt: skip
    assert Task.objects.get().state == "awaiting_operator_approval"
    approve_round(second, by=crew.operator)
    assert claim_assignment(second.assignments.get(position=0), by=crew.wim).state == "claimed"


def test_max_rounds_ends_a_plan_that_is_rejected_again_and_again(crew: Crew) -> None:
    crew.limit(auto_create_next_round=True, max_rounds=3)
    crew.plan()
    for number in (1, 2, 3):
        reject_round(Round.objects.get(number=number), by=crew.operator)
    assert (Round.objects.count(), Task.objects.get().state) == (3, "draft")
    assert crew.plan("zoe", task=Task.objects.get()).number == 4


def test_what_a_person_rejected_is_approved_by_a_person_alone(crew: Crew) -> None:
    round_ = crew.plan()
    crew.limit(auto_create_next_round=True, auto_approve=True)
    reject_round(round_, by=crew.operator)
    assert Round.objects.get(number=2).state == "awaiting_operator_approval"


def test_the_dispatchers_plan_takes_the_place_of_a_round_that_opened_by_itself(crew: Crew) -> None:
    crew.limit(auto_create_next_round=True, max_rounds=2)
    _, repeat = review_round(crew.done(), by=crew.ada, verdict="changes_requested")
    assert repeat is not None
    with pytest.raises(errors.EmptyPlan):
        submit_plan(repeat.task, [], by=crew.ada)
    assert Round.objects.get(number=2).state == "awaiting_operator_approval"  # nothing has changed
    own = crew.plan("zoe", task=repeat.task)
    repeat.refresh_from_db()
    assert (repeat.state, own.number, own.state) == ("cancelled", 3, "awaiting_operator_approval")
    assert [item.state for item in repeat.assignments.all()] == ["cancelled"]
    with pytest.raises(errors.TaskNotDispatchable):
        crew.plan(task=repeat.task)  # its own plan waits


def test_a_rejected_plan_that_no_longer_fits_is_for_the_dispatcher(crew: Crew) -> None:
    round_ = crew.plan("wim", "wim")
    crew.limit(auto_create_next_round=True, max_assignments_per_round=1)
    reject_round(round_, by=crew.operator)
    assert (Round.objects.count(), Task.objects.get().state) == (1, "draft")


def test_changes_requested_makes_the_task_a_draft_again_and_creates_nothing(crew: Crew) -> None:
    round_ = crew.done()
    _, opened = review_round(round_, by=crew.ada, verdict="changes_requested", note="Tighter knots.")
    assert (opened, Round.objects.count(), Task.objects.get().state) == (None, 1, "draft")
    assert round_.state == "changes_requested"
    assert crew.plan("zoe", task=round_.task).number == 2


def test_auto_create_next_round_opens_it_with_the_same_goals(crew: Crew) -> None:
    crew.limit(auto_create_next_round=True)
    _, opened = review_round(crew.done(), by=crew.ada, verdict="changes_requested")
    assert opened
    assert (opened.number, opened.state) == (2, "awaiting_operator_approval")
    assert [item.goal for item in opened.assignments.all()] == ["Goal 0"]
    assert Task.objects.get().state == "awaiting_operator_approval"


def test_a_round_that_no_longer_fits_the_limits_is_planned_by_the_dispatcher(crew: Crew) -> None:
    round_ = crew.plan("wim", "wim")
    approve_round(round_, by=crew.operator)
    for assignment in round_.assignments.all():
        claim_assignment(assignment, by=crew.wim)
        complete_assignment(assignment, Work(), by=crew.wim)
    crew.limit(auto_create_next_round=True, max_assignments_per_round=1)
    review, opened = review_round(round_, by=crew.ada, verdict="changes_requested")
    assert (review.round.state, opened, Task.objects.get().state) == ("changes_requested", None, "draft")
    assert crew.plan("wim", task=round_.task).number == 2


def test_max_rounds_holds_for_plans_and_for_rounds_that_open_by_themselves(crew: Crew) -> None:
    crew.limit(max_rounds=1, auto_create_next_round=True)
    round_ = crew.done()
    with pytest.raises(errors.MaxRoundsReached):
        review_round(round_, by=crew.ada, verdict="changes_requested")
    round_.refresh_from_db()
    assert round_.state == "awaiting_review"  # nothing has changed
    crew.limit(auto_create_next_round=False)
    review_round(round_, by=crew.ada, verdict="changes_requested")
    with pytest.raises(errors.MaxRoundsReached):
        crew.plan(task=round_.task)


def test_an_approving_review_completes_round_and_task(crew: Crew) -> None:
    review, _ = review_round(crew.done(), by=crew.ada, verdict="approved", note="Well done.")
    assert (review.round.state, Task.objects.get().state, review.note) == ("completed", "completed", "Well done.")


def test_auto_approve_dispatches_a_plan_at_once(crew: Crew) -> None:
    crew.limit(auto_approve=True)
    round_ = crew.plan()
    assert (round_.state, round_.decided_by, Task.objects.get().state) == ("dispatched", "auto_approve", "dispatched")


def test_no_second_round_is_planned_while_one_is_open(crew: Crew) -> None:
    round_ = crew.plan()
    for _ in range(2):
        with pytest.raises(errors.TaskNotDispatchable):
            crew.plan(task=round_.task)
        if round_.state == "awaiting_operator_approval":
            approve_round(round_, by=crew.operator)


def test_an_empty_plan_and_one_that_is_too_long_are_refused_whole(crew: Crew) -> None:
    task = crew.draft()
    with pytest.raises(errors.EmptyPlan):
        submit_plan(task, [], by=crew.ada)
    with pytest.raises(errors.TooManyAssignments):
        crew.plan(*["wim"] * 7, task=task)
    with pytest.raises(Invalid):
        submit_plan(task, [Planned("Good", crew.agent("wim")), Planned("  ")], by=crew.ada)
    task.refresh_from_db()
    assert (task.state, Round.objects.count(), Assignment.objects.count()) == ("draft", 0, 0)


def test_only_the_dispatcher_plans_and_reviews(crew: Crew) -> None:
    task = crew.draft()
    with pytest.raises(errors.NotTaskDispatcher):
        submit_plan(task, [Planned("Mine")], by=crew.wim)
    with pytest.raises(errors.NotTaskDispatcher):
        review_round(crew.done(task=task), by=crew.wim, verdict="approved")


def test_a_review_comes_after_the_work_and_once(crew: Crew) -> None:
    (assignment,) = crew.approved()
    with pytest.raises(errors.RoundNotReviewable):
        review_round(assignment.round, by=crew.ada, verdict="changes_requested")
    round_ = crew.done(task=crew.draft("T-2"))
    with pytest.raises(errors.InvalidVerdict):
        review_round(round_, by=crew.ada, verdict="maybe")
    review_round(round_, by=crew.ada, verdict="approved")
    with pytest.raises(errors.RoundNotReviewable):
        review_round(round_, by=crew.ada, verdict="changes_requested")


def test_an_operator_decides_a_round_once(crew: Crew) -> None:
    round_ = crew.plan()
    approve_round(round_, by=crew.operator)
    for decide in (approve_round, reject_round):
        with pytest.raises(errors.RoundNotAwaitingApproval):
            decide(round_, by=crew.operator)


def test_no_agent_approves_a_plan(crew: Crew) -> None:
    round_ = crew.plan()
    with pytest.raises(Forbidden):
        approve_round(round_, by=crew.ada)


def test_closing_cancels_what_is_left_and_keeps_what_is_done(crew: Crew) -> None:
    first, second = crew.approved("wim", "zoe")
    claim_assignment(first, by=crew.wim)
    task = close_task(first.task, by=crew.operator)
    assert task.state == "closed" and task.ended_at
    assert set(Assignment.objects.values_list("state", flat=True)) == {"cancelled"}
    assert Round.objects.get().state == "cancelled"
    with pytest.raises(errors.RoundNotApproved):
        claim_assignment(second, by=crew.zoe)
    close_task(task, by=crew.operator)
    assert AuditEvent.objects.filter(name="task.closed").count() == 1


def test_a_completed_task_is_not_closed(crew: Crew) -> None:
    round_ = crew.done()
    review_round(round_, by=crew.ada, verdict="approved")
    with pytest.raises(errors.TaskEnded):
        close_task(round_.task, by=crew.operator)


def test_the_same_draft_again_is_the_same_task_and_another_is_refused(crew: Crew) -> None:
    task = crew.draft()
    assert crew.draft() == task
    with pytest.raises(errors.TaskExists):
        create_task(crew.project, by=crew.ada, key="T-1", title="Something else")
    with pytest.raises(errors.TaskExists):
        create_task(crew.project, by=crew.wim, key="T-1", title="Mend the nets")


@pytest.mark.parametrize(("key", "title"), [("", "x"), ("x", " "), ("a\nb", "x"), ("k" * 129, "x"), ("k", "t" * 201)])
def test_a_task_has_an_id_and_a_title_of_one_line(crew: Crew, key: str, title: str) -> None:
    with pytest.raises(Invalid):
        create_task(crew.project, by=crew.ada, key=key, title=title)


def test_a_task_of_another_project_is_not_found(crew: Crew, eve: Actor) -> None:
    task = crew.draft()
    with pytest.raises(errors.TaskNotFound):
        find_task(eve, "T-1")
    with pytest.raises(NotFound):
        submit_plan(task, [Planned("Steal")], by=eve)


def test_a_person_names_the_dispatcher_of_a_task(crew: Crew) -> None:
    with pytest.raises(Invalid):
        create_task(crew.project, by=crew.operator, key="T-9", title="x")
    task = create_task(crew.project, by=crew.operator, key="T-9", title="x", dispatcher=crew.agent("ada"))
    assert crew.plan(task=task).number == 1
