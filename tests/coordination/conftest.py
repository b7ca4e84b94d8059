"""Ada plans, Wim and Zoe work: agents that come by MCP. Bob is the operator; Eve's agents are of another project."""

from dataclasses import dataclass
from typing import Any

import pytest

from agenthub_site.accounts.actors import AGENT_ROLE, Actor, ActorKind, Entry
from agenthub_site.accounts.authentication import actor_of
from agenthub_site.accounts.models import Project, User
from agents.coordination.models import Assignment, Limits, Round, Task
from agents.coordination.services.assignments import Work, claim_assignment, complete_assignment
from agents.coordination.services.rounds import Planned, approve_round, submit_plan
from agents.coordination.services.tasks import create_task
from agents.models import Agent
from tests.factories import make_project, make_user


def make_external(name: str, project: Project) -> Agent:
    return Agent.objects.create(name=name, project=project, runtime=Agent.Runtime.EXTERNAL)


def actor_for(agent: Agent) -> Actor:
    roles = {agent.project_id: AGENT_ROLE}
    return Actor(ActorKind.AGENT, str(agent.pk), f"x/{agent.name}", roles=roles, entry=Entry.MCP)


@dataclass
class Crew:
    """A project's agents as actors, and short ways to where a test begins."""

    project: Project
    operator: Actor
    ada: Actor
    wim: Actor
    zoe: Actor

    def agent(self, name: str) -> Agent:
        return Agent.objects.get(project=self.project, name=name)

    def limit(self, **limits: Any) -> None:
        Limits.objects.update_or_create(project=self.project, defaults=limits)

    def draft(self, key: str = "T-1") -> Task:
        return create_task(self.project, by=self.ada, key=key, title="Mend the nets")

    def plan(self, *workers: str | None, task: Task | None = None) -> Round:
        """A round of a new task (or of ``task``) with a goal for each: for Wim, if none is named."""
        names = workers or ("wim",)
        planned = [Planned(f"Goal {n}", self.agent(name) if name else None) for n, name in enumerate(names)]
        return submit_plan(task or self.draft(), planned, by=self.ada)

    def approved(self, *workers: str | None, task: Task | None = None) -> list[Assignment]:
        round_ = approve_round(self.plan(*workers, task=task), by=self.operator)
        return list(round_.assignments.order_by("position"))

    def done(self, *, task: Task | None = None) -> Round:
        """A round of Wim's that waits for its review."""
        (assignment,) = self.approved(task=task)
        claim_assignment(assignment, by=self.wim)
        complete_assignment(assignment, Work(), by=self.wim)
        return assignment.round


@pytest.fixture
def crew(project: Project, bob: User) -> Crew:
    agents = [actor_for(make_external(name, project)) for name in ("ada", "wim", "zoe")]
    return Crew(project, actor_of(bob), *agents)


@pytest.fixture
def eve(db: None) -> Actor:
    """An agent of another project."""
    return actor_for(make_external("eve", make_project("island", owner=make_user("erik"))))
