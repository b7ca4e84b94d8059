"""Whose turn it is is told by mail, once, and nobody else is."""

from django.utils import timezone

from agents.coordination.services.rounds import Planned, approve_round, reject_round, submit_plan
from agents.mail.reach import Reach
from agents.models import Run
from mailboxes import services as mail
from tests.factories import make_agent

from .conftest import Crew


def told(crew: Crew, name: str) -> list[str]:
    page = mail.inbox(mail.Address("agent", str(crew.agent(name).pk)), state="open")
    return [f"{each.kind}: {each.subject}" for each in page.results]


def test_workers_are_told_of_their_own_once_the_plan_is_approved(crew: Crew) -> None:
    round_ = crew.plan("wim", "wim", "zoe", None)
    assert told(crew, "wim") == []
    approve_round(round_, by=crew.operator, note="Mind the tide.")
    assert told(crew, "wim") == ["assignment: round 1 of T-1: 2 for you"]
    assert told(crew, "zoe") == ["assignment: round 1 of T-1: 1 for you"]
    assert told(crew, "ada") == []
    (letter,) = mail.inbox(mail.Address("agent", crew.wim.id)).results
    assert "Mind the tide." in letter.payload["body"] and "Goal 1" in letter.payload["body"]
    assert "Goal 2" not in letter.payload["body"] and letter.payload["round_id"] == str(round_.pk)


def test_workers_are_told_at_once_where_plans_need_no_operator(crew: Crew) -> None:
    crew.limit(auto_approve=True)
    crew.plan("wim")
    assert told(crew, "wim") == ["assignment: round 1 of T-1: 1 for you"]


def test_the_dispatcher_is_told_of_a_rejection_and_of_a_round_to_review(crew: Crew) -> None:
    task = crew.draft()
    reject_round(crew.plan("wim", task=task), by=crew.operator, note="Too wide.")
    assert told(crew, "ada") == ["rejected: round 1 of T-1: rejected"]
    assert told(crew, "wim") == []
    crew.done(task=task)
    assert told(crew, "ada")[1:] == ["review: round 2 of T-1: to be reviewed"]


def test_the_dispatcher_is_told_that_a_rejected_plan_opened_again_and_may_be_replaced(crew: Crew) -> None:
    crew.limit(auto_create_next_round=True)
    reject_round(crew.plan(), by=crew.operator, note="Too wide.")
    (letter,) = mail.inbox(mail.Address("agent", crew.ada.id)).results
    for words in ("Too wide.", "opened again as round 2", "takes its place"):
        assert words in letter.payload["body"]


def test_an_idle_worker_wakes(crew: Crew) -> None:
    worker = make_agent("sleeper", project=crew.project, wake_on_mail=True)
    round_ = submit_plan(crew.draft(), [Planned("Mend the nets", worker)], by=crew.ada)
    Reach().tick(timezone.now())
    assert not Run.objects.exists()
    approve_round(round_, by=crew.operator)
    Reach().tick(timezone.now())
    run = Run.objects.get()
    assert run.agent == worker and "Mend the nets" in run.prompt and "from AgentHub" in run.prompt


def test_a_plan_of_a_hundred_long_goals_can_be_approved(crew: Crew) -> None:
    crew.limit(max_assignments_per_round=100)
    round_ = submit_plan(crew.draft(), [Planned("漢" * 4_000, crew.agent("wim"))] * 100, by=crew.ada)
    approve_round(round_, by=crew.operator)
    (told,) = mail.inbox(mail.Address.of("agent", crew.wim.id)).results
    assert told.payload["body"].count("- assignment ") == 100
