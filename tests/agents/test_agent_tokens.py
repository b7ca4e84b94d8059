"""Tokens that speak for an agent: in its project alone, narrowly, and no longer than the agent is there."""

import pytest

from agenthub_site.accounts.authentication import actor_of, actor_of_token
from agenthub_site.accounts.models import Token, User
from agenthub_site.accounts.permissions import Can, may
from agenthub_site.accounts.tokens import find_token
from agents.models import Agent, Approval, Run
from agents.services.agents import archive_agent
from agents.services.approvals import decide_approval
from agents.services.runs import start_run
from agents.services.tokens import create_agent_token
from nodes.contract.errors import Forbidden, Invalid, InvalidToken
from tests.api.clients import Api
from tests.factories import make_agent, make_approval, make_project, make_user

pytestmark = pytest.mark.django_db


def test_it_speaks_for_the_agent_in_its_project(agent: Agent, alice: User) -> None:
    _, secret = create_agent_token(agent, "mcp", by=actor_of(alice))
    actor = actor_of_token(find_token(secret))
    assert (actor.kind, actor.id, actor.label) == ("agent", str(agent.pk), "harbour/demo")
    other = make_project("pier", owner=make_user("olga"))
    make_agent(project=other)
    assert list(Agent.objects.visible_to(actor)) == [agent]
    assert may(actor, Can.VIEW, agent.project_id) and not may(actor, Can.VIEW, other.pk)
    with pytest.raises(Forbidden):
        start_run(agent, by=actor, prompt="Another of me.")


def test_it_answers_nothing_that_is_not_offered_to_it(agent: Agent, run: Run, alice: User) -> None:
    _, secret = create_agent_token(agent, "mcp", by=actor_of(alice))
    with pytest.raises(Forbidden):
        decide_approval(make_approval(run), by=actor_of_token(find_token(secret)), option_id="yes")
    assert Approval.objects.get().state == Approval.State.PENDING


def test_maintainers_make_it(agent: Agent, bob: User) -> None:
    with pytest.raises(Forbidden):
        create_agent_token(agent, "mcp", by=actor_of(bob))


def test_it_ends_with_the_agent(agent: Agent, alice: User) -> None:
    _, secret = create_agent_token(agent, "mcp", by=actor_of(alice))
    archive_agent(agent, by=actor_of(alice))
    with pytest.raises(InvalidToken):
        find_token(secret)
    with pytest.raises(Invalid):
        create_agent_token(agent, "again", by=actor_of(alice))


def test_over_rest_it_is_told_once_and_revoked(agent: Agent, alice: User) -> None:
    api, address = Api(alice), f"/api/v1/agents/{agent.pk}/tokens/"
    made = api.post(address, {"name": "mcp", "scope": "read"}).json()
    as_agent = Api()
    as_agent.credentials(HTTP_AUTHORIZATION=f"Bearer {made['token']}")
    me = as_agent.get("/api/v1/me/").json()
    assert (me["kind"], me["id"], me["projects"][0]["role"]) == ("agent", str(agent.pk), "agent")
    assert as_agent.post("/api/v1/tokens/", {"name": "more"}).status_code == 403
    assert made["token"] not in api.get(address).content.decode()
    assert api.delete(f"/api/v1/tokens/{made['id']}/").status_code == 204
    assert as_agent.get("/api/v1/me/").status_code == 401
    assert Token.objects.get(agent_id=agent.pk).revoked_at
