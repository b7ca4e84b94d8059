"""Teams on a project's page of people, and in what one may write to."""

import pytest
from django.test import Client

from agenthub_site.accounts.models import Membership, Project, User
from agents.models import Agent
from agents.teams.models import Team
from tests.factories import make_agent

from .test_see_pages import SignIn


@pytest.fixture
def address(project: Project) -> str:
    return f"/projects/{project.slug}/people/"


@pytest.fixture
def mender(project: Project) -> Agent:
    return make_agent("mender", project=project)


def test_a_page_without_teams_says_what_one_is_for(web: Client, address: str) -> None:
    page = web.get(address).content.decode()
    assert "No teams yet" in page and "New team" in page


def test_a_team_is_made_filled_emptied_and_deleted(
    web: Client, address: str, project: Project, mender: Agent, bob: User
) -> None:
    form = {"slug": "docs", "name": "Who <writes>", "members": "mender"}
    assert web.post(f"{address}teams/", form)["Location"] == f"{address}#team-docs"
    team = Team.objects.get()
    one = f"{address}teams/{team.pk}/"
    assert web.post(f"{one}members/", {"members": "user:bob, mender"}).status_code == 302
    page = web.get(address).content.decode()
    assert "team:docs" in page and "Who &lt;writes&gt;" in page
    assert "Take mender out of team:docs" in page and "Take bob out of team:docs" in page
    assert "No teams yet" not in page
    web.post(f"{one}remove/", {"member": f"user:{bob.pk}"})
    assert [str(member) for member in team.members.all()] == ["mender"]
    assert '<option value="team:docs">' in web.get("/messages/new/").content.decode()
    page = web.post(f"{one}delete/", follow=True).content.decode()
    assert "team:docs is gone" in page and not Team.objects.exists()


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"slug": "all"}, "it is everybody"),
        ({"slug": "A b"}, "slug has a-z"),
        ({"slug": "docs"}, "has a team &#x27;docs&#x27; already"),
        ({"slug": "nets", "members": "ghost"}, "no agent or member &#x27;ghost&#x27;"),
    ],
)
def test_what_does_not_fit_is_said_in_the_form(
    web: Client, address: str, project: Project, form: dict[str, str], said: str
) -> None:
    Team.objects.create(project=project, slug="docs", name="docs")
    answer = web.post(f"{address}teams/", form)
    assert answer.status_code == 400 and said in answer.content.decode()
    assert Team.objects.count() == 1


def test_who_is_nobody_is_said_beside_the_team(web: Client, address: str, project: Project, mender: Agent) -> None:
    docs, nets = (Team.objects.create(project=project, slug=slug, name=slug) for slug in ("docs", "nets"))
    answer = web.post(f"{address}teams/{docs.pk}/members/", {"members": "mender, ghost"})
    page = answer.content.decode()
    assert answer.status_code == 400 and page.count("no agent or member &#x27;ghost&#x27;") == 1
    assert 'value="mender, ghost"' in page and not docs.members.exists()
    answer = web.post(f"{address}teams/{nets.pk}/remove/", {"member": "mender"}, follow=True)
    assert "is not in the team" in answer.content.decode()


def test_a_maintainer_sees_teams_and_no_invitations_programs_or_ways_to_change_members(
    sign_in: SignIn, address: str, project: Project, bob: User
) -> None:
    assert sign_in(bob).get(address).status_code == 403
    Membership.objects.filter(user=bob).update(role="maintainer")
    web = sign_in(bob)
    page = web.get(address).content.decode()
    assert "New team" in page and "alice" in page
    assert not [word for word in ("Invite somebody", "Programs", "Remove alice", "Adding a member") if word in page]
    assert web.post(f"{address}teams/", {"slug": "docs", "members": "user:alice"}).status_code == 302
    assert web.post(f"{address}members/", {"username": "alice", "role": "viewer"}).status_code == 403
