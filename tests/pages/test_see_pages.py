"""Who sees what: every page for an owner, a viewer, an outsider and a stranger."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from agenthub_site.accounts.models import Project, Role, User
from agenthub_site.pages.templatetags.pages import ago
from agents.models import Agent, Approval, Run
from tests.factories import make_approval, make_project, make_root, make_run, make_user

SignIn = Callable[[User], Client]
EVERYBODYS = ["runs", "new_run", "approvals", "approvals_badge", "agents", "new_agent", "projects", "nodes", "tokens"]


@pytest.fixture
def vera(project: Project) -> User:
    """She may look, and nothing else."""
    make_project(project.slug, vera=Role.VIEWER)
    return make_user("vera")


def members_pages(project: Project, agent: Agent, run: Run) -> list[str]:
    return [
        reverse("project", args=[project.slug]),
        reverse("agent", args=[agent.pk]),
        reverse("run", args=[run.pk]),
    ]


@pytest.mark.parametrize("name", EVERYBODYS)
def test_a_stranger_is_sent_to_sign_in(client: Client, db: None, name: str) -> None:
    answer = client.get(reverse(name))
    assert answer.status_code == 302 and answer["Location"].startswith("/login/?next=/")


@pytest.mark.parametrize("name", EVERYBODYS)
@pytest.mark.parametrize("who", ["alice", "vera", "charlie"])
def test_lists_show_themselves_to_everybody_who_signed_in(
    sign_in: SignIn, run: Run, vera: User, name: str, who: str
) -> None:
    assert sign_in(make_user(who)).get(reverse(name)).status_code == 200


def test_members_see_what_is_their_projects(
    sign_in: SignIn, project: Project, agent: Agent, run: Run, vera: User
) -> None:
    for user in (make_user("alice"), vera, make_root()):
        for address in members_pages(project, agent, run):
            assert sign_in(user).get(address).status_code == 200, (user, address)


def test_an_outsider_cannot_tell_them_from_what_is_not_there(
    sign_in: SignIn, charlie: User, project: Project, agent: Agent, run: Run
) -> None:
    for address in members_pages(project, agent, run):
        answer = sign_in(charlie).get(address)
        assert answer.status_code == 404 and "or you may not see it" in answer.content.decode()


def test_an_outsiders_lists_are_empty(sign_in: SignIn, charlie: User, run: Run) -> None:
    web = sign_in(charlie)
    for name in ("runs", "agents", "projects", "approvals", "nodes"):
        page = web.get(reverse(name)).content.decode()
        assert not any(word in page for word in ("harbour", "oslo", str(run.pk))) and "empty-title" in page, name


def test_an_outsider_changes_nothing(sign_in: SignIn, charlie: User, project: Project, agent: Agent, run: Run) -> None:
    approval, web = make_approval(run), sign_in(charlie)
    posts = {
        reverse("cancel_run", args=[run.pk]): {},
        reverse("decide_approval", args=[approval.pk]): {"option_id": "yes"},
        reverse("archive_agent", args=[agent.pk]): {},
        reverse("edit_agent", args=[agent.pk]): {"name": "mine"},
        reverse("add_member", args=[project.slug]): {"username": "charlie", "role": "owner"},
    }
    for address, data in posts.items():
        assert web.post(address, data).status_code == 404, address
    approval.refresh_from_db()
    assert approval.state == Approval.State.PENDING


def test_a_viewer_is_offered_nothing_that_is_refused(sign_in: SignIn, vera: User, agent: Agent, run: Run) -> None:
    web = sign_in(vera)
    page = web.get(reverse("run", args=[run.pk])).content.decode()
    assert 'data-may-steer="false"' in page
    card = web.get(reverse("approval", args=[make_approval(run).pk])).content.decode()
    assert "Your role may look at this" in card and "<form" not in card[card.index("<article") :]
    assert 'id="composer"' not in page and reverse("cancel_run", args=[run.pk]) not in page
    assert reverse("edit_agent", args=[agent.pk]) not in web.get(reverse("agent", args=[agent.pk])).content.decode()


def test_a_viewer_who_tries_all_the_same_is_told_why_not(
    sign_in: SignIn, vera: User, project: Project, agent: Agent, run: Run
) -> None:
    web = sign_in(vera)
    for address in (
        reverse("cancel_run", args=[run.pk]),
        reverse("archive_agent", args=[agent.pk]),
        reverse("add_member", args=[project.slug]),
    ):
        answer = web.post(address)
        assert answer.status_code == 403 and "role" in answer.content.decode(), address


def test_only_root_is_shown_the_way_to_the_admin(sign_in: SignIn, alice: User) -> None:
    assert 'href="/admin/"' in sign_in(make_root()).get(reverse("runs")).content.decode()
    assert 'href="/admin/"' not in sign_in(alice).get(reverse("runs")).content.decode()


def test_the_badge_counts_open_questions_of_ones_own_projects(sign_in: SignIn, alice: User, charlie: User) -> None:
    make_approval()
    make_approval(make_run(), state=Approval.State.APPLIED)
    assert sign_in(alice).get(reverse("approvals_badge")).content.decode().count("</span>1</span>") == 2
    assert "hidden" in sign_in(charlie).get(reverse("approvals_badge")).content.decode()


def test_it_is_shown_what_a_project_keeps_its_runs_from(
    sign_in: SignIn, alice: User, project: Project, agent: Agent, run: Run
) -> None:
    Project.objects.filter(pk=project.pk).update(required_network="none")
    Run.objects.filter(pk=run.pk).update(isolation="masked", network="none", started_at=run.created_at)
    shown = [sign_in(alice).get(address).content.decode() for address in members_pages(project, agent, run)]
    assert "masked at the least, without network" in shown[0]
    assert "none, as its project or the hub demands" in shown[1]
    assert "masked, no network" in shown[2]


@pytest.mark.parametrize(
    ("ahead", "words"),
    [
        (timedelta(days=90, seconds=-5), "in 90 d"),
        (timedelta(minutes=59, seconds=50), "in 1 h"),
        (timedelta(minutes=-59, seconds=-50), "59 min ago"),
    ],
)
def test_what_is_to_come_is_told_to_the_nearest_unit(ahead: timedelta, words: str) -> None:
    assert f">{words}</time>" in ago(timezone.now() + ahead)
