"""What becomes of an agent's runs when their node is cut off or dies: when they are lost, and which begin anew."""

import json
from datetime import timedelta

import pytest
from django.utils import timezone

from agenthub_site.accounts.actors import SYSTEM
from agenthub_site.accounts.authentication import actor_of
from agenthub_site.accounts.models import Membership, Role, User
from agents import scheduler
from agents.models import Agent, Run
from agents.reconciler import tick
from agents.services.agents import archive_agent, edit_agent
from agents.services.runs import cancel_run, start_run
from agents.states import State
from audit.models import AuditEvent
from nodes.contract.commands import StartRun
from nodes.contract.errors import Invalid
from nodes.contract.events import MessageDelta, RunFailed
from nodes.contract.limits import LOST_GRACE_SECONDS, SILENT_SECONDS
from nodes.contract.reasons import Reason
from nodes.models import Command, Node
from tests.agents.records import commit
from tests.factories import make_agent, make_project, make_run, make_user


def unheard(seconds: float) -> None:
    Node.objects.update(last_heard_at=timezone.now() - timedelta(seconds=seconds))


def allow(agent: Agent, **policy: object) -> Agent:
    Agent.objects.filter(pk=agent.pk).update(**policy)
    return Agent.objects.get(pk=agent.pk)


def is_lost(run: Run) -> bool:
    return Run.objects.get(pk=run.pk).state == State.LOST


# Lost after.


def test_a_run_is_lost_when_its_agent_says_so_and_not_before(agent: Agent) -> None:
    patient, hasty = make_run(agent=allow(agent, lost_after_seconds=600)), make_run(agent=make_agent("hasty"))
    allow(hasty.agent, lost_after_seconds=5)
    unheard(SILENT_SECONDS + 10)
    assert (tick(timezone.now()), is_lost(patient), is_lost(hasty)) == (1, False, True)
    unheard(SILENT_SECONDS + 590)
    assert tick(timezone.now()) == 0
    unheard(SILENT_SECONDS + 610)
    assert (tick(timezone.now()), is_lost(patient)) == (1, True)


def test_an_agent_that_says_nothing_has_the_grace_that_was_always_given(agent: Agent) -> None:
    assert agent.lost_after_seconds == LOST_GRACE_SECONDS


def test_a_hub_that_was_away_itself_waits_for_as_long_before_it_calls_a_run_lost(agent: Agent) -> None:
    run = make_run(agent=allow(agent, lost_after_seconds=600))
    unheard(3_600)
    now = timezone.now()
    assert tick(now, listening_since=now - timedelta(seconds=SILENT_SECONDS + 590)) == 0
    assert tick(now, listening_since=now - timedelta(seconds=SILENT_SECONDS + 610)) == 1
    assert is_lost(run)


# Stop after.


@pytest.mark.parametrize("seconds", [None, 120])
def test_the_node_is_told_when_to_stop_a_run_by_itself(agent: Agent, seconds: float | None) -> None:
    run = start_run(allow(agent, stop_after_seconds=seconds), by=SYSTEM, prompt="Go.")
    body = Command.objects.get(run=run.pk).body
    assert StartRun.model_validate_json(body).stop_after_seconds == seconds


@pytest.mark.parametrize(
    "policy", [{"lost_after_seconds": 0}, {"lost_after_seconds": 10**9}, {"stop_after_seconds": 9}, {"resume": "maybe"}]
)
def test_a_policy_out_of_bounds_is_refused(agent: Agent, alice: User, policy: dict[str, object]) -> None:
    agent.worktree_repo = "/srv/quay"
    with pytest.raises(Invalid) as refused:
        edit_agent(agent, by=actor_of(alice), **policy)
    assert policy.keys() == refused.value.data["fields"].keys()


# Resume.


@pytest.fixture
def steadfast(agent: Agent) -> Agent:
    return allow(agent, resume=True)


def end(run: Run, reason: Reason) -> None:
    """The node says so, in the run's records."""
    commit(run, RunFailed(reason=reason.value, message="It died."))


def again(run: Run) -> Run | None:
    return Run.objects.filter(resumes=run).first()


@pytest.mark.parametrize("reason", [Reason.NODE_REBOOTED, Reason.SUPERVISOR_LOST])
def test_a_run_whose_node_or_supervisor_died_begins_anew(steadfast: Agent, bob: User, reason: Reason) -> None:
    run = make_run(agent=steadfast, user=bob, keep_open=True)
    end(run, reason)
    anew = again(run)
    assert anew and (anew.state, anew.prompt, anew.user, anew.keep_open) == (State.QUEUED, run.prompt, bob, True)
    entry = AuditEvent.objects.get(name="run.queued", run=anew.pk)
    assert (entry.actor_kind, entry.data) == ("system", {"resumes": str(run.pk)})
    assert scheduler.tick(timezone.now()) == 1
    assert json.loads(Command.objects.get(run=anew.pk).body)["prompt"] == run.prompt


def test_it_begins_anew_once(steadfast: Agent) -> None:
    run = make_run(agent=steadfast)
    commit(run, MessageDelta(message_id="m", text="hi"), RunFailed(reason=Reason.NODE_REBOOTED))
    commit(run, MessageDelta(message_id="m", text="hi"), RunFailed(reason=Reason.NODE_REBOOTED))
    anew = again(run)
    assert anew and Run.objects.count() == 2
    Run.objects.filter(pk=anew.pk).update(state=State.RUNNING)
    end(anew, Reason.NODE_REBOOTED)
    assert again(anew) is None


@pytest.mark.parametrize("reason", [Reason.AGENT_EXITED, Reason.DISCONNECTED, Reason.NODE_LOST_RUN, Reason.INTERNAL])
def test_no_other_ending_begins_a_run_anew(steadfast: Agent, reason: Reason) -> None:
    run = make_run(agent=steadfast)
    end(run, reason)
    assert again(run) is None


def test_an_agent_that_does_not_ask_for_it_leaves_it_at_that(agent: Agent) -> None:
    run = make_run(agent=agent)
    end(run, Reason.NODE_REBOOTED)
    assert again(run) is None


def test_a_run_that_somebody_cancelled_does_not_begin_anew(steadfast: Agent) -> None:
    run = make_run(agent=steadfast)
    cancel_run(run, by=SYSTEM)
    end(run, Reason.SUPERVISOR_LOST)
    assert again(run) is None


def test_a_run_that_somebody_went_on_from_does_not_begin_anew(steadfast: Agent) -> None:
    """It was taken for over, was resumed, and then its node came back and said how it had ended."""
    run = make_run(agent=steadfast)
    resumed = make_run(agent=steadfast, resumes=run)
    end(run, Reason.NODE_REBOOTED)
    assert again(run) == resumed and Run.objects.count() == 2


def test_an_archived_agent_begins_nothing_anew(steadfast: Agent) -> None:
    run = make_run(agent=steadfast)
    archive_agent(steadfast, by=SYSTEM)
    end(run, Reason.SUPERVISOR_LOST)
    assert again(run) is None


def test_nothing_is_begun_anew_for_who_may_start_no_runs_any_more(steadfast: Agent) -> None:
    make_project(mona=Role.DEVELOPER)
    mona = make_user("mona")
    run = make_run(agent=steadfast, user=mona)
    Membership.objects.filter(user=mona).delete()
    end(run, Reason.SUPERVISOR_LOST)
    assert again(run) is None
