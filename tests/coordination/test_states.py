"""Whatever is tried in whatever order: no move but the table's, and task, round and assignments fit together."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import hypothesis.strategies as st
import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from agents.coordination.models import Assignment, Round, Task
from agents.coordination.services import assignments
from agents.coordination.services.assignments import Work, claim_assignment, complete_assignment, report_progress
from agents.coordination.services.rounds import approve_round, reject_round, review_round
from agents.coordination.services.tasks import close_task
from agents.coordination.states import ASSIGNMENT_MOVES, ROUND_ENDED, ROUND_MOVES, TASK_MOVES
from nodes.contract.errors import HubError

from .conftest import Crew

PICK = st.integers(min_value=0, max_value=5)


def make_machine(crew: Crew) -> type[RuleBasedStateMachine]:
    class Coordination(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.point = transaction.savepoint()
            self.now: datetime = timezone.now()
            self.task = crew.draft("T")
            self.before = self.seen()

        def teardown(self) -> None:
            transaction.savepoint_rollback(self.point)

        def seen(self) -> dict[Any, tuple[Any, str]]:
            tables = ((Task, TASK_MOVES), (Round, ROUND_MOVES), (Assignment, ASSIGNMENT_MOVES))
            return {
                pk: (moves, state)
                for model, moves in tables
                for pk, state in model._default_manager.values_list("pk", "state")
            }

        def attempt(self, work: Callable[[], object]) -> None:
            before = self.seen()
            try:
                with transaction.atomic():
                    work()
            except HubError as error:
                assert error.http in (400, 403, 404, 409)
                assert {key: state for key, (_, state) in self.seen().items()} == {
                    key: state for key, (_, state) in before.items()
                } or error.code == "assignment_not_pending"

        def last_round(self) -> Round | None:
            return Round.objects.order_by("-number").first()

        def an_assignment(self, pick: int) -> Assignment | None:
            found = list(Assignment.objects.order_by("-round__number", "position")[:3])
            return found[pick % len(found)] if found else None

        @rule(workers=st.lists(st.sampled_from(["wim", "zoe", None]), min_size=0, max_size=2))
        def plan(self, workers: list[str | None]) -> None:
            self.attempt(lambda: crew.plan(*workers, task=Task.objects.get()))

        @rule(decide=st.sampled_from([approve_round, approve_round, reject_round]))
        def decide(self, decide: Callable[..., object]) -> None:
            if round_ := self.last_round():
                self.attempt(lambda: decide(round_, by=crew.operator))

        @rule(pick=PICK, who=st.sampled_from(["wim", "wim", "zoe"]))
        def claim(self, pick: int, who: str) -> None:
            if item := self.an_assignment(pick):
                self.attempt(lambda: claim_assignment(item, by=getattr(crew, who), now=self.now))

        @rule(pick=PICK, status=st.sampled_from(["claimed", "in_progress"]))
        def progress(self, pick: int, status: str) -> None:
            if item := self.an_assignment(pick):
                self.attempt(lambda: report_progress(item, by=crew.wim, status=status, now=self.now))

        @rule(pick=PICK, who=st.sampled_from(["wim", "wim", "zoe"]))
        def complete(self, pick: int, who: str) -> None:
            if item := self.an_assignment(pick):
                self.attempt(lambda: complete_assignment(item, Work(), by=getattr(crew, who), now=self.now))

        @rule(verdict=st.sampled_from(["approved", "changes_requested", "changes_requested"]))
        def review(self, verdict: str) -> None:
            if round_ := self.last_round():
                self.attempt(lambda: review_round(round_, by=crew.ada, verdict=verdict))

        @rule(auto=st.booleans())
        def let_rounds_follow(self, auto: bool) -> None:
            crew.limit(auto_create_next_round=auto)

        @rule(minutes=st.sampled_from([1, 45, 91]))
        def wait(self, minutes: int) -> None:
            self.now += timedelta(minutes=minutes)
            assignments.tick(self.now)

        @rule(really=st.integers(min_value=0, max_value=3))
        def close(self, really: int) -> None:
            if not really:
                self.attempt(lambda: close_task(Task.objects.get(), by=crew.operator))

        @invariant()
        def every_move_is_in_the_table(self) -> None:
            now = self.seen()
            for key, (moves, was) in self.before.items():
                state = now[key][1]
                once = moves[was] | {was}
                twice = {onward for each in once for onward in moves[each]}  # a lease runs out, and it is claimed anew
                assert state in once | twice
            self.before = now

        @invariant()
        def task_round_and_assignments_fit_together(self) -> None:
            task = Task.objects.get()
            opened = list(Round.objects.exclude(state__in=ROUND_ENDED))
            states = {item.state for item in Assignment.objects.filter(round__in=opened)}
            match task.state:
                case "draft" | "completed" | "closed":
                    assert opened == []
                case "awaiting_operator_approval":
                    assert [round_.state for round_ in opened] == ["awaiting_operator_approval"]
                    assert states == {"pending"}
                case "dispatched":
                    (round_,) = opened
                    if round_.state == "dispatched":
                        assert states == {"pending"}
                    elif round_.state == "awaiting_review":
                        assert states == {"completed"}
                    else:
                        assert round_.state == "in_progress" and states != {"completed"}
            assert Round.objects.exclude(state__in=("rejected", "cancelled")).count() <= 3
            for item in Assignment.objects.filter(state__in=("claimed", "in_progress")):
                assert item.agent_id and item.lease_expires_at

    return Coordination


@pytest.mark.django_db
def test_states_fit_together_whatever_is_tried(crew: Crew) -> None:
    run_state_machine_as_test(
        make_machine(crew),
        settings=settings(
            max_examples=8, stateful_step_count=25, deadline=None, database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
