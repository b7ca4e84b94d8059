"""The link of an invitation, as a person follows it."""

import pytest
from django.core.cache import cache
from django.test import Client

from agenthub_site.accounts.models import Membership, Project, User
from tests.factories import PASSWORD

pytestmark = pytest.mark.django_db


@pytest.fixture
def link(project: Project, alice: User) -> str:
    cache.clear()
    owner = Client(SERVER_NAME="localhost")
    owner.force_login(alice)
    page = owner.post(f"/projects/{project.slug}/people/invitations/", {"role": "viewer", "days": "7"}).content.decode()
    address = page.partition('class="secret">')[2].partition("<")[0]
    assert address.startswith("http://localhost/invitations/")
    assert address not in owner.get(f"/projects/{project.slug}/people/").content.decode()
    return address.removeprefix("http://localhost")


def test_somebody_new_makes_an_account_and_is_in(link: str, project: Project) -> None:
    guest = Client(SERVER_NAME="localhost")
    page = guest.get(link, follow=True)
    assert page.request["PATH_INFO"] == "/invitations/" and "alice invites you" in page.content.decode()
    assert guest.post("/invitations/", {"username": "dora", "password": "12345"}).status_code == 400
    assert guest.post("/invitations/", {"username": "dora", "password": PASSWORD}).status_code == 302
    assert Membership.objects.get(project=project, user__username="dora").role == "viewer"
    assert guest.get(link).status_code == 404


def test_somebody_known_joins_as_themselves(link: str, project: Project, charlie: User) -> None:
    guest = Client(SERVER_NAME="localhost")
    guest.get(link)
    assert "/login/?next=/invitations/" in guest.get("/invitations/").content.decode()
    guest.force_login(charlie)
    guest.get(link)
    assert guest.post("/invitations/")["Location"] == f"/projects/{project.slug}/"
    assert guest.get(f"/projects/{project.slug}/").status_code == 200


def test_a_link_that_is_none_leads_nowhere() -> None:
    cache.clear()
    guest = Client(SERVER_NAME="localhost")
    assert guest.get("/invitations/nonsense/").status_code == 404 == guest.get("/invitations/").status_code
