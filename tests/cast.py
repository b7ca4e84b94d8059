"""The cast as fixtures."""

import pytest

from agenthub_site.accounts.models import Project, Role, User
from agents.models import Agent, Run
from agents.states import State
from nodes.models import Node
from tests.factories import make_agent, make_node, make_project, make_root, make_run, make_user


@pytest.fixture
def root(db: None) -> User:
    return make_root()


@pytest.fixture
def alice(db: None) -> User:
    return make_user("alice")


@pytest.fixture
def bob(db: None) -> User:
    return make_user("bob")


@pytest.fixture
def charlie(db: None) -> User:
    return make_user("charlie")


@pytest.fixture
def project(alice: User, bob: User, charlie: User) -> Project:
    """Alice owns it, Bob develops in it, Charlie may not see it."""
    return make_project(owner=alice, bob=Role.DEVELOPER)


@pytest.fixture
def oslo(db: None) -> Node:
    """A node that is up."""
    return make_node("oslo")


@pytest.fixture
def lima(db: None) -> Node:
    """A node that has been silent for an hour."""
    return make_node("lima")


@pytest.fixture
def agent(project: Project, oslo: Node) -> Agent:
    return make_agent(project=project, node=oslo)


@pytest.fixture
def run(agent: Agent) -> Run:
    """A run that is under way."""
    return make_run(agent=agent, state=State.RUNNING)
