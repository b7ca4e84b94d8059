"""An agent on a node that this hub could not dial is refused at once, with what is missing."""

from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from agenthub_site.accounts.actors import SYSTEM
from agenthub_site.accounts.authentication import actor_of
from agenthub_site.accounts.models import Project, User
from agents.models import Agent, Run
from agents.services.agents import create_agent, edit_agent
from agents.services.runs import start_run
from nodes.contract.config import Config
from nodes.link.peers import PeerNotConfigured
from nodes.models import Node
from tests.factories import make_node


@pytest.fixture
def bergen(db: None) -> Node:
    """By configuration, which this hub does not have."""
    return make_node("bergen", is_joined=False, grpc_target="https://bergen.internal:50051")


def test_creating_an_agent_there_is_refused(project: Project, bergen: Node) -> None:
    with pytest.raises(PeerNotConfigured, match=r"internal_grpc\.enabled = true"):
        create_agent(project, by=SYSTEM, name="far", node=bergen, preset="scripted", worktree_repo="/srv/quay")
    assert not Agent.objects.filter(name="far").exists()


def test_moving_an_agent_there_is_refused(agent: Agent, bergen: Node) -> None:
    with pytest.raises(PeerNotConfigured):
        edit_agent(agent, by=SYSTEM, node=bergen, worktree_repo="/srv/quay")
    assert Agent.objects.get().node != bergen


def test_files_that_cannot_be_used_are_not_named_to_members(
    agent: Agent, bergen: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ca-cert.pem").write_text("no certificate")
    config = Config(internal_grpc={"enabled": True, "security": {"cert_dir": str(tmp_path)}})
    monkeypatch.setattr(settings, "CONFIG", config)
    with pytest.raises(PeerNotConfigured, match="agenthub doctor") as refused:
        edit_agent(agent, by=SYSTEM, node=bergen, worktree_repo="/srv/quay")
    assert str(tmp_path) not in refused.value.text


def test_starting_a_run_there_is_refused_and_leaves_none(agent: Agent, bob: User, bergen: Node) -> None:
    agent.node = bergen
    with pytest.raises(PeerNotConfigured):
        start_run(agent, by=actor_of(bob), prompt="hello")
    assert not Run.objects.exists()


@pytest.mark.parametrize("fields", [{"is_joined": True}, {"direction": Node.Direction.TUNNEL, "is_joined": False}])
def test_a_node_that_joined_needs_none(agent: Agent, bob: User, fields: dict[str, Any]) -> None:
    agent.node = make_node("molde", **fields)
    assert start_run(agent, by=actor_of(bob), prompt="hello").pk
