"""Whom a question is put to, and when: one rule for lists and for the service."""

from dataclasses import replace
from datetime import timedelta

import pytest
from django.utils import timezone

from agenthub_site.accounts.actors import AGENT_ROLE, Actor, ActorKind
from agenthub_site.accounts.authentication import actor_of
from agenthub_site.accounts.models import Role
from agents.models import Agent, Approval, Run
from agents.queries import open_approvals
from agents.rules import PolicyReview
from agents.services.approvals import NotOffered, NotYetOffered, decide_approval
from agents.services.questions import open_approval
from agents.states import State
from nodes.contract.errors import Forbidden, HubError
from nodes.contract.events import ApprovalRequested
from nodes.contract.ids import new_id
from tests.factories import OPTIONS, make_agent, make_approval, make_project, make_root, make_run, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def reviewer() -> Agent:
    make_project(rita=Role.REVIEWER, max=Role.MAINTAINER, vera=Role.VIEWER, bob=Role.DEVELOPER)
    return make_agent("careful")


@pytest.fixture
def asked(reviewer: Agent) -> Approval:
    """A question that is with the reviewing agent for a minute, then with reviewers."""
    soon = timezone.now() + timedelta(minutes=1)
    return make_approval(offered_roles=" owner reviewer ", offered_agent=reviewer, people_at=soon)


def person(name: str) -> Actor:
    return actor_of(make_user(name))


def as_agent(agent: Agent) -> Actor:
    return Actor(ActorKind.AGENT, str(agent.pk), agent.name, roles={agent.project_id: AGENT_ROLE})


@pytest.mark.parametrize(
    ("roles", "may"),
    [
        ("", {"alice", "max", "bob", "rita", "root"}),
        (" reviewer ", {"rita", "root"}),
        (" developer owner ", {"alice", "bob", "root"}),
    ],
)
def test_the_list_and_the_service_offer_to_the_same_people(reviewer: Agent, roles: str, may: set[str]) -> None:
    make_root()
    offered = set()
    for name in ("alice", "max", "bob", "rita", "vera", "charlie", "root"):
        approval = make_approval(offered_roles=roles)
        is_listed = open_approvals(person(name)).filter(pk=approval.pk).exists()
        try:
            decide_approval(approval, by=person(name), option_id="yes")
            offered.add(name)
        except HubError as error:
            assert error.http in (403, 404)
        assert is_listed == (name in offered)
    assert offered == may


def test_people_are_asked_after_the_reviewing_agent(asked: Approval) -> None:
    with pytest.raises(NotYetOffered) as refused:
        decide_approval(asked, by=person("rita"), option_id="yes")
    assert asked.people_at and refused.value.data["at"] == asked.people_at.isoformat().replace("+00:00", "Z")
    assert not open_approvals(person("rita")).exists()
    Approval.objects.update(people_at=timezone.now() - timedelta(seconds=1))
    assert decide_approval(asked, by=person("rita"), option_id="yes").state == "decided"


def test_an_owner_need_not_wait_for_the_reviewing_agent(asked: Approval) -> None:
    assert decide_approval(asked, by=person("alice"), option_id="no").option_id == "no"


def test_a_reviewing_agent_answers_what_is_offered_to_it(asked: Approval, reviewer: Agent) -> None:
    decided = decide_approval(asked, by=as_agent(reviewer), option_id="no")
    assert (decided.decided_by_kind, decided.decided_by_label) == ("agent", "careful")


def test_an_agent_answers_nothing_else(asked: Approval) -> None:
    other = make_agent("nosy")
    with pytest.raises(NotOffered):
        decide_approval(asked, by=as_agent(other), option_id="yes")
    with pytest.raises(NotOffered):
        decide_approval(make_approval(), by=as_agent(other), option_id="yes")


def test_an_agent_never_answers_for_a_run_of_its_own(reviewer: Agent) -> None:
    own = make_approval(make_run(agent=reviewer, state=State.WAITING), offered_agent=reviewer)
    assert not open_approvals(as_agent(reviewer)).exists()
    with pytest.raises(NotOffered):
        decide_approval(own, by=as_agent(reviewer), option_id="yes")


def test_an_agent_of_another_project_is_offered_nothing(asked: Approval, reviewer: Agent) -> None:
    pier = make_project("pier")
    elsewhere = replace(as_agent(reviewer), roles={pier.pk: AGENT_ROLE})
    assert not open_approvals(elsewhere).exists()


def _ask(run: Run) -> Approval:
    id_ = str(new_id())
    asked = ApprovalRequested(
        approval_id=id_, kind="shell", title="x", options=OPTIONS, action_hash="f" * 64, expires_in_seconds=60
    )
    open_approval(run, asked)
    found: Approval = Approval.objects.get(pk=id_)
    return found


def test_the_policy_says_who_is_asked(reviewer: Agent) -> None:
    run = make_run(state=State.WAITING)
    roles = ["maintainer", "reviewer"]
    PolicyReview.objects.create(project=run.project, roles=roles, reviewer=reviewer, people_after_seconds=30)
    asked = _ask(run)
    assert asked.asks_roles == roles and asked.offered_agent == reviewer
    assert asked.people_at == asked.requested_at + timedelta(seconds=30)


def test_without_a_policy_all_that_may_answer_are_asked_at_once(reviewer: Agent) -> None:
    asked = _ask(make_run(state=State.WAITING))
    assert (asked.asks_roles, asked.offered_agent, asked.people_at) == ([], None, None)


def test_a_viewer_is_offered_nothing(asked: Approval) -> None:
    with pytest.raises(Forbidden):
        decide_approval(asked, by=person("vera"), option_id="yes")
