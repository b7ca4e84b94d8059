"""The name of an agent is taken once, however many ask for it at the same moment."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection

from agenthub_site.accounts.actors import SYSTEM
from agents.models import Agent
from agents.services import agents as services
from agents.services.agents import NameTaken, create_agent, edit_agent
from tests.factories import make_agent, make_node, make_project


@pytest.fixture
def unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each looks for the name just before the other one takes it."""
    looks = iter([False])
    real = services._is_taken
    monkeypatch.setattr(services, "_is_taken", lambda agent: next(looks, None) is None and real(agent))


def test_a_name_that_was_taken_since_it_was_looked_for_is_a_conflict(agent: Agent, unseen: None) -> None:
    with pytest.raises(NameTaken):
        create_agent(agent.project, by=SYSTEM, name="demo", node=agent.node, preset="scripted", worktree_repo="/r")
    assert Agent.objects.count() == 1


def test_so_it_is_when_an_agent_is_renamed(agent: Agent, unseen: None) -> None:
    other = make_agent("other", project=agent.project, worktree_repo="/r")
    with pytest.raises(NameTaken):
        edit_agent(other, by=SYSTEM, name="demo")
    assert Agent.objects.get(pk=other.pk).name == "other"


@pytest.mark.django_db(transaction=True)
def test_of_many_at_once_one_gets_the_name() -> None:
    project, node = make_project(), make_node()

    def outcome(work: Callable[[], object]) -> str:
        try:
            work()
        except NameTaken as error:
            return error.code
        else:
            return "made"
        finally:
            connection.close()

    def make(_: int) -> str:
        fields = {"name": "demo", "node": node, "preset": "scripted", "worktree_repo": "/r"}
        return outcome(lambda: create_agent(project, by=SYSTEM, **fields))

    with ThreadPoolExecutor(6) as threads:
        assert sorted(threads.map(make, range(12))) == ["made"] + ["name_taken"] * 11
