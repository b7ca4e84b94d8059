from typing import Any

import pytest

from agenthub_site.accounts.authentication import actor_of
from agenthub_site.accounts.models import Project, User
from agents.models import Agent
from agents.queries import AmbiguousAgent, find_agent
from agents.services.agents import NameTaken, archive_agent, create_agent, edit_agent
from nodes.contract.errors import Forbidden, Invalid, NotFound
from nodes.models import Node
from tests.factories import make_agent, make_project


def create(project: Project, node: Node, by: User, **fields: Any) -> Agent:
    fields = {"name": "demo", "preset": "scripted", "worktree_repo": "/srv/repo", "node": node, **fields}
    return create_agent(project, by=actor_of(by), **fields)


def test_an_owner_creates_an_agent_and_a_developer_may_not(
    project: Project, oslo: Node, alice: User, bob: User
) -> None:
    assert create(project, oslo, alice).project == project
    with pytest.raises(Forbidden):
        create(project, oslo, bob, name="second")


def test_a_name_is_taken_once_per_project_and_free_again_when_archived(
    project: Project, oslo: Node, alice: User
) -> None:
    first = create(project, oslo, alice)
    with pytest.raises(NameTaken):
        create(project, oslo, alice)
    archive_agent(first, by=actor_of(alice))
    assert create(project, oslo, alice).pk != first.pk


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": "no spaces"}, "name"),
        ({"name": "all"}, "name"),
        ({"name": "user"}, "name"),
        ({"preset": ""}, "preset"),
        ({"preset": "codxe"}, "preset"),
        ({"runtime": "command"}, "command"),
        ({"command": "make"}, "command"),
        ({"runtime": "magic"}, "runtime"),
        ({"environment": {"A B": "x"}}, "environment"),
        ({"environment": {"AGENTHUB_RUN_ID": "x"}}, "environment"),
        ({"worktree_repo": ""}, "worktree_repo"),
        ({"workspace_mode": "use_existing"}, "workdir"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_made(
    project: Project, oslo: Node, alice: User, fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(Invalid) as refused:
        create(project, oslo, alice, **fields)
    assert field in refused.value.data["fields"]
    assert not Agent.objects.exists()


def test_editing_checks_what_creating_checks(agent: Agent, alice: User) -> None:
    agent.worktree_repo = "/srv/repo"
    agent.save()
    assert edit_agent(agent, by=actor_of(alice), model="large").model == "large"
    with pytest.raises(Invalid):
        edit_agent(agent, by=actor_of(alice), name="")


@pytest.mark.parametrize("word", ["all", "user"])
def test_a_word_that_means_others_in_mail_is_no_name_for_an_agent(agent: Agent, alice: User, word: str) -> None:
    Agent.objects.filter(pk=agent.pk).update(worktree_repo="/srv/repo")
    agent.refresh_from_db()
    with pytest.raises(Invalid, match=f"In mail '{word}' means"):
        edit_agent(agent, by=actor_of(alice), name=word)
    Agent.objects.update(name=word)  # as before this was refused
    agent.refresh_from_db()
    edit_agent(agent, by=actor_of(alice), name=word, description="Still editable.")
    edit_agent(agent, by=actor_of(alice), name="demo")


def test_an_agent_is_found_by_id_by_name_and_by_project_and_name(agent: Agent, bob: User) -> None:
    actor = actor_of(bob)
    assert find_agent(actor, str(agent.pk)) == find_agent(actor, "demo") == find_agent(actor, "harbour/demo") == agent


def test_an_ambiguous_name_lists_the_candidates(agent: Agent, alice: User, oslo: Node) -> None:
    make_agent("demo", project=make_project("quarry", owner=alice), node=oslo)
    with pytest.raises(AmbiguousAgent) as refused:
        find_agent(actor_of(alice), "demo")
    assert refused.value.data["agents"] == ["harbour/demo", "quarry/demo"]


def test_what_one_may_not_see_is_not_found(agent: Agent, charlie: User) -> None:
    for name in (str(agent.pk), "demo", "harbour/demo", "nobody"):
        with pytest.raises(NotFound):
            find_agent(actor_of(charlie), name)


def test_an_agent_of_a_command_preset_is_a_command(project: Project, oslo: Node, alice: User) -> None:
    agent = create(project, oslo, alice, preset="aider")
    assert (agent.runtime, agent.command) == ("command", [])
    with pytest.raises(Invalid) as refused:
        edit_agent(agent, by=actor_of(alice), preset="codex")
    assert "command" in refused.value.data["fields"]
    back = edit_agent(Agent.objects.get(pk=agent.pk), by=actor_of(alice), preset="codex", runtime="acp")
    assert back.runtime == "acp"


def test_a_known_agent_becomes_a_command_with_its_preset(project: Project, oslo: Node, alice: User) -> None:
    agent = edit_agent(create(project, oslo, alice, preset="codex"), by=actor_of(alice), preset="aider")
    agent.refresh_from_db()
    assert (agent.preset, agent.runtime) == ("aider", "command")
