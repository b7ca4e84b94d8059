"""Who belongs to a project, and the tokens of programs: what is made is shown once."""

import re

import pytest
from django.test import Client

from agenthub_site.accounts.authentication import actor_of_token
from agenthub_site.accounts.models import Membership, Project, Token, User
from agenthub_site.accounts.tokens import find_token
from agenthub_site.pages.forms import AgentTokenForm
from agents.models import Agent
from integrations.mcp.tool import tools_for
from tests.factories import make_root

from .test_see_pages import SignIn


@pytest.fixture
def address(project: Project) -> str:
    return f"/projects/{project.slug}/people/"


def secret_in(page: bytes) -> str:
    found = re.search(r'class="secret">(aht_[\w-]+)<', page.decode())
    assert found, "no secret is shown"
    return found[1]


def test_a_service_account_gets_a_role_and_a_token_that_is_shown_once(
    web: Client, address: str, project: Project
) -> None:
    assert web.post(f"{address}programs/", {"name": "quay-ci", "role": "developer"})["Location"] == address
    account = User.objects.get(username="quay-ci")
    assert Membership.objects.get(user=account).role == "developer"
    form = {"name": "nightly", "days": "30", "scope": "run"}
    secret = secret_in(web.post(f"{address}programs/{account.pk}/tokens/", form).content)
    token = Token.objects.get(user=account)
    assert (token.digest, token.project) == (Token.digest_of(secret), project)
    page = web.get(address).content.decode()
    assert token.hint in page and secret not in page
    web.post(f"{address}tokens/{token.pk}/revoke/")
    token.refresh_from_db()
    assert token.revoked_at and token.hint not in web.get(address).content.decode()


def test_a_taken_name_is_said_beside_it(web: Client, address: str, bob: User) -> None:
    answer = web.post(f"{address}programs/", {"name": bob.username, "role": "viewer"})
    assert answer.status_code == 400 and "There is a user named bob already." in answer.content.decode()


def test_a_persons_token_is_not_an_owners_to_make_or_revoke(web: Client, address: str, bob: User) -> None:
    assert web.post(f"{address}programs/{bob.pk}/tokens/", {"name": "x", "scope": "all"}).status_code == 404
    assert not Token.objects.exists()


def test_a_maintainer_makes_an_agents_token_and_a_developer_does_not(
    web: Client, sign_in: SignIn, bob: User, agent: Agent
) -> None:
    address, form = f"/agents/{agent.pk}/tokens/", {"name": "mcp", "days": "", "scope": "all"}
    assert sign_in(bob).post(address, form).status_code == 403
    assert "Its tokens" not in sign_in(bob).get(f"/agents/{agent.pk}/").content.decode()
    secret = secret_in(web.post(address, form).content)
    token = Token.objects.get(agent_id=agent.pk)
    assert token.digest == Token.digest_of(secret) and token.expires_at is None
    assert secret not in web.get(f"/agents/{agent.pk}/").content.decode()
    web.post(f"{address}{token.pk}/revoke/")
    token.refresh_from_db()
    assert token.revoked_at


def test_an_agents_token_lets_it_work_unless_told_otherwise(web: Client, agent: Agent) -> None:
    page = AgentTokenForm()
    given = {"name": "mcp", "days": page["days"].initial, "scope": page["scope"].initial}
    secret = secret_in(web.post(f"/agents/{agent.pk}/tokens/", given).content)
    shown = {tool.name for tool in tools_for(actor_of_token(find_token(secret)))}
    assert {"inbox_pull", "assignment_claim", "lock_acquire"} <= shown and "run_start" not in shown
    assert {scope for scope, _ in page.fields["scope"].choices} == {"all", "all hub:tools", "read"}  # type: ignore[attr-defined]


def test_who_removes_themselves_lands_where_they_may_be(
    web: Client, address: str, project: Project, alice: User, bob: User
) -> None:
    Membership.objects.filter(user=bob).update(role="owner")
    mine = Membership.objects.get(project=project, user=alice)
    assert web.post(f"{address}members/{mine.pk}/remove/")["Location"] == "/projects/"


def test_only_owners_and_root_see_the_page(web: Client, sign_in: SignIn, address: str, bob: User) -> None:
    assert sign_in(bob).get(address).status_code == 403
    assert web.get(address).status_code == sign_in(make_root()).get(address).status_code == 200
