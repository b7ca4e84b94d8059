"""Sessions: listed, ended one by one or all, and by a changed password or a deactivated account."""

import pytest
from allauth.usersessions.models import UserSession
from django.core.cache import cache
from django.test import Client

from agenthub_site.accounts.actors import SYSTEM
from agenthub_site.accounts.models import User
from agenthub_site.accounts.services import edit_user
from audit.models import AuditEvent
from tests.factories import PASSWORD, make_root, make_token, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def dora() -> User:
    cache.clear()
    return make_user("dora", password=PASSWORD)


def browser(user_agent: str = "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0") -> Client:
    client = Client(SERVER_NAME="localhost", HTTP_USER_AGENT=user_agent, REMOTE_ADDR="10.0.0.7")
    client.post("/login/", {"username": "dora", "password": PASSWORD})
    assert is_in(client)
    return client


def is_in(client: Client) -> bool:
    return client.get("/api/v1/me/").status_code == 200


def test_sessions_are_listed_with_their_browser_and_address(dora: User) -> None:
    here = browser()
    browser("Mozilla/5.0 (iPhone) Safari/605")
    page = here.get("/account/sessions/").content.decode()
    assert "Firefox on Linux" in page and "Safari on iPhone" in page and "10.0.0.7" in page
    assert page.count("this one") == 1 + page.count("not opened by")


def test_one_other_session_is_ended(dora: User) -> None:
    here, there = browser(), browser()
    other = UserSession.objects.get(session_key=there.session.session_key)
    here.post(f"/account/sessions/{other.pk}/end/")
    assert (is_in(here), is_in(there)) == (True, False)
    assert AuditEvent.objects.get(name="session.ended").actor_label == "dora"


def test_all_others_are_ended(dora: User) -> None:
    here, there, elsewhere = browser(), browser(), browser()
    here.post("/account/sessions/end/")
    assert [is_in(one) for one in (here, there, elsewhere)] == [True, False, False]


def test_nobody_ends_the_sessions_of_others(dora: User) -> None:
    there = browser()
    make_user("eve", password=PASSWORD)
    eve = Client(SERVER_NAME="localhost")
    eve.post("/login/", {"username": "eve", "password": PASSWORD})
    other = UserSession.objects.get(session_key=there.session.session_key)
    assert eve.post(f"/account/sessions/{other.pk}/end/").status_code == 404
    assert is_in(there)


def test_a_changed_password_ends_the_others_and_keeps_this_one(dora: User) -> None:
    here, there = browser(), browser()
    before = here.session.session_key
    new = "a longer horse than before"
    wrong = {"old_password": "wrong", "new_password1": new, "new_password2": new}
    assert here.post("/account/password/", wrong).status_code == 400
    here.post("/account/password/", {**wrong, "old_password": PASSWORD})
    assert (is_in(here), is_in(there)) == (True, False)
    assert here.session.session_key != before
    assert list(UserSession.objects.values_list("session_key", flat=True)) == [here.session.session_key]
    assert AuditEvent.objects.filter(name="user.password_changed").exists()


def test_deactivation_ends_sessions_and_tokens_for_good(dora: User) -> None:
    here, secret = browser(), make_token(dora)
    make_root()
    edit_user(dora, by=SYSTEM, is_active=False)
    bearer = Client(SERVER_NAME="localhost", headers={"Authorization": f"Bearer {secret}"})
    assert (is_in(here), is_in(bearer)) == (False, False)
    edit_user(dora, by=SYSTEM, is_active=True)
    assert (is_in(here), is_in(bearer)) == (False, False), "they do not come back to life"
