"""Going on from a run that is over: whose session and worktree the new one is given, and who may do it."""

import pytest
from django.utils import timezone

from agenthub_site.accounts.authentication import actor_of
from agenthub_site.accounts.models import User
from agents.models import Agent, Run
from agents.services.left_off import GO_ON
from agents.services.runs import AlreadyResumed, start_run
from agents.states import State
from nodes.contract.commands import StartRun
from nodes.contract.errors import Invalid, WrongState
from nodes.contract.events import RunCompleted, RunFailed, RunStarted
from nodes.contract.reasons import Reason
from nodes.models import Command
from tests.agents.records import commit
from tests.api.clients import Api, refusal
from tests.factories import make_agent, make_node, make_project, make_run, make_user


def over(agent: Agent, *, session: str = "s-1", is_failed: bool = False) -> Run:
    """A run of this agent that has ended, after it had worked in a worktree."""
    run = make_run(agent=agent)
    started = RunStarted(runtime="acp", workspace="/srv/quay/demo-1", branch="agenthub/1", session_id=session)
    commit(run, started, RunFailed(reason=Reason.AGENT_KILLED) if is_failed else RunCompleted())
    return Run.objects.get(pk=run.pk)


def sent(run: Run) -> StartRun:
    return StartRun.model_validate_json(Command.objects.get(run=run.pk, kind=StartRun.KIND).body)


def resume(run: Run, by: User, prompt: str = "") -> Run:
    return start_run(run.agent, by=actor_of(by), prompt=prompt, resumes=run)


def test_it_goes_on_in_the_session_and_the_worktree(agent: Agent, alice: User) -> None:
    earlier = over(agent)
    run = resume(earlier, alice, "Now the tests.")
    command = sent(run)
    assert (command.session, command.prompt) == ("s-1", "Now the tests.")
    assert (command.workspace.mode, command.workspace.workdir) == ("reuse_worktree", "/srv/quay/demo-1")
    assert run.resumes_id == earlier.pk


def test_without_a_prompt_it_is_the_same_task_which_was_cut_off(agent: Agent, alice: User) -> None:
    earlier = over(agent, is_failed=True)
    run = resume(earlier, alice)
    assert run.prompt == earlier.prompt
    assert sent(run).prompt == GO_ON + earlier.prompt


def test_an_agents_own_directory_stays_its_own(agent: Agent, alice: User) -> None:
    Agent.objects.filter(pk=agent.pk).update(workspace_mode="use_existing", workdir="/srv/quay")
    command = sent(resume(over(Agent.objects.get(pk=agent.pk)), alice))
    assert (command.workspace.mode, command.workspace.workdir) == ("use_existing", "/srv/quay")


@pytest.mark.parametrize("what", ["another node", "no session", "presumed"])
def test_where_nothing_is_left_it_begins_anew(agent: Agent, alice: User, what: str) -> None:
    earlier = over(agent, session="" if what == "no session" else "s-1")
    if what == "another node":
        Run.objects.filter(pk=earlier.pk).update(node=make_node("elsewhere"))
    if what == "presumed":
        Run.objects.filter(pk=earlier.pk).update(presumed_at=timezone.now())
    command = sent(resume(earlier, alice, "Go on."))
    assert (command.session, command.prompt, command.workspace.mode) == ("", "Go on.", "create_worktree")


def test_each_run_is_resumed_once(agent: Agent, alice: User) -> None:
    earlier = over(agent)
    again = resume(earlier, alice)
    with pytest.raises(AlreadyResumed) as refused:
        resume(earlier, alice)
    assert refused.value.data == {"run": str(again.pk)}
    assert Run.objects.count() == 2


def test_a_run_that_is_not_over_takes_an_input_instead(agent: Agent, alice: User) -> None:
    with pytest.raises(WrongState):
        resume(make_run(agent=agent, state=State.RUNNING), alice)


def test_no_agent_goes_on_in_anothers_session(agent: Agent, alice: User) -> None:
    other = make_agent("other", project=agent.project, node=agent.node)
    with pytest.raises(Invalid) as refused:
        start_run(other, by=actor_of(alice), prompt="", resumes=over(agent))
    assert "resumes" in refused.value.data["fields"]


def test_a_foreign_run_is_not_found(agent: Agent, alice: User) -> None:
    body = {"agent": str(agent.pk), "resumes": str(over(agent).pk)}
    stranger = make_user("dora")
    theirs = make_agent(project=make_project("shoal", owner=stranger), node=agent.node)
    assert refusal(Api(stranger).post("/api/v1/runs/", body | {"agent": str(theirs.pk)}, format="json"))[0] == 404
    answered = Api(alice).post("/api/v1/runs/", body, format="json")
    assert (answered.status_code, answered.json()["resumes"]) == (201, body["resumes"])
