"""Second factors: asked for, made at the door where demanded, kept encrypted, and every change in the trail."""

import re
import time
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from django.conf import settings
from django.core.cache import cache
from django.test import Client

from agenthub_site.accounts.actors import SYSTEM
from agenthub_site.accounts.authentication import actor_of
from agenthub_site.accounts.mfa.removal import remove_factors
from agenthub_site.accounts.models import User
from audit.models import AuditEvent
from nodes.contract.errors import Forbidden
from tests.factories import PASSWORD, make_user

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def dora() -> User:
    return make_user("dora", password=PASSWORD)


@pytest.fixture
def visitor() -> Client:
    return Client(SERVER_NAME="localhost")


def sign_in(visitor: Client, name: str = "dora", onward: str = "/account/") -> Any:
    return visitor.post("/login/", {"username": name, "password": PASSWORD, "next": onward})


def code_of(secret: str) -> str:
    return str(format_hotp_value(hotp_value(secret, int(time.time()) // 30)))


def secret_in(page: Any) -> str:
    return re.search(r'<code class="secret">(\w+)</code>', page.content.decode())[1]  # type: ignore[index]


def confirm(visitor: Client) -> None:
    visitor.post("/account/confirm/", {"password": PASSWORD, "next": "/account/"})


def add_app(visitor: Client) -> str:
    confirm(visitor)
    secret = secret_in(visitor.get("/account/app/"))
    assert visitor.post("/account/app/", {"code": code_of(secret)})["Location"] == "/account/codes/"
    return secret


def names() -> list[str]:
    return list(AuditEvent.objects.filter(name__startswith="user.").order_by("id").values_list("name", flat=True))


def demand(monkeypatch: pytest.MonkeyPatch, of: str) -> None:
    monkeypatch.setattr(settings.CONFIG.login, "require_mfa", of)


def test_an_app_is_added_and_asked_for_from_then_on(dora: User, visitor: Client) -> None:
    sign_in(visitor)
    secret = add_app(visitor)
    assert secret not in str(Authenticator.objects.values_list("data", flat=True))
    visitor.post("/logout/")
    assert sign_in(visitor)["Location"] == "/login/second/"
    assert visitor.get("/account/")["Location"].startswith("/login/")
    wrong = visitor.post("/login/second/", {"code": "000000"})
    assert b"Incorrect code" in wrong.content
    assert visitor.post("/login/second/", {"code": code_of(secret)})["Location"] == "/account/"
    assert visitor.get("/account/").status_code == 200
    assert names() == [
        "user.logged_in", "user.mfa_added", "user.mfa_added", "user.logged_out", "user.login_failed", "user.logged_in",
    ]  # fmt: skip
    ways = AuditEvent.objects.filter(name="user.logged_in").order_by("id").values_list("data__how", flat=True)
    assert list(ways) == [["password"], ["password", "totp"]]


def test_changing_factors_asks_for_the_password_again(dora: User, visitor: Client) -> None:
    sign_in(visitor)
    for path in ("/account/app/", "/account/passkeys/add/"):
        assert visitor.get(path)["Location"].startswith("/account/confirm/")


def test_a_code_is_good_once(dora: User, visitor: Client) -> None:
    sign_in(visitor)
    secret = add_app(visitor)
    code = code_of(secret)
    for expected in (302, 200):
        visitor.post("/logout/")
        sign_in(visitor)
        assert visitor.post("/login/second/", {"code": code}).status_code == expected


def test_codes_cannot_be_guessed_for_ever(dora: User, visitor: Client) -> None:
    sign_in(visitor)
    secret = add_app(visitor)
    visitor.post("/logout/")
    sign_in(visitor)
    for _ in range(10):
        visitor.post("/login/second/", {"code": "000000"})
    assert b"Too many" in visitor.post("/login/second/", {"code": code_of(secret)}).content
    assert visitor.get("/account/").status_code == 302


def test_a_recovery_code_replaces_the_device_once(dora: User, visitor: Client) -> None:
    sign_in(visitor)
    add_app(visitor)
    code = re.findall(r"<li><code>(\d+)</code>", visitor.get("/account/codes/").content.decode())[0]
    for expected in (302, 200):
        visitor.post("/logout/")
        sign_in(visitor)
        assert visitor.post("/login/second/", {"code": code}).status_code == expected


@pytest.mark.parametrize("case", [("root", False, False), ("root", True, True), ("all", False, True)])
def test_where_one_is_demanded_it_is_made_before_there_is_a_session(
    dora: User, visitor: Client, monkeypatch: pytest.MonkeyPatch, case: tuple[str, bool, bool]
) -> None:
    of, is_root, asked = case
    demand(monkeypatch, of)
    User.objects.update(is_superuser=is_root, is_staff=is_root)
    answer = sign_in(visitor)
    assert answer["Location"] == ("/login/set-up/" if asked else "/account/")
    if asked:
        assert visitor.get("/account/").status_code == 302
        assert visitor.get("/api/v1/me/").status_code == 401
        secret = secret_in(visitor.get("/login/set-up/"))
        assert visitor.post("/login/set-up/", {"code": "1"}).status_code == 200
        assert visitor.post("/login/set-up/", {"code": code_of(secret)})["Location"] == "/account/codes/"
        assert visitor.get("/account/codes/").status_code == 200


def test_the_last_factor_of_who_must_have_one_stays(
    dora: User, visitor: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_in(visitor)
    add_app(visitor)
    demand(monkeypatch, "all")
    visitor.post("/account/app/remove/")
    assert Authenticator.objects.filter(type="totp").exists()
    demand(monkeypatch, "none")
    visitor.post("/account/app/remove/")
    assert not Authenticator.objects.exists()
    assert names()[-2:] == ["user.mfa_removed", "user.mfa_removed"], "and the recovery codes with it"


def test_root_takes_away_what_was_lost(dora: User, visitor: Client) -> None:
    sign_in(visitor)
    add_app(visitor)
    with pytest.raises(Forbidden):
        remove_factors(dora, by=actor_of(dora))
    assert remove_factors(dora, by=SYSTEM) == 2
    assert visitor.get("/account/").status_code == 302, "whoever has the device is out as well"
    assert sign_in(visitor)["Location"] == "/account/"


def test_the_admin_is_entered_by_the_same_door(dora: User, visitor: Client) -> None:
    User.objects.update(is_superuser=True, is_staff=True)
    assert visitor.get("/admin/login/?next=/admin/")["Location"] == "/login/?next=%2Fadmin%2F"
    login = visitor.post("/admin/login/", {"username": "dora", "password": PASSWORD})
    assert login["Location"].startswith("/login/") and "_auth_user_id" not in visitor.session


def test_who_has_no_password_here_makes_no_other_way_in(dora: User, visitor: Client) -> None:
    dora.set_unusable_password()
    dora.save()
    visitor.force_login(dora, "agenthub_site.accounts.login.PasswordBackend")
    for path in ("/account/app/", "/account/passkeys/add/", "/account/password/", "/account/codes/"):
        assert visitor.get(path)["Location"] == "/account/"


@pytest.fixture(autouse=True)
def _no_attempts_yet(db: None) -> None:
    cache.clear()


@pytest.mark.parametrize("path", [
    "/account/", "/account/password/", "/account/sessions/", "/account/confirm/", "/account/app/",
    "/account/passkeys/add/",
])  # fmt: skip
def test_every_page_of_ones_account_is_there(dora: User, visitor: Client, path: str) -> None:
    sign_in(visitor)
    confirm(visitor)
    page = visitor.get(path)
    assert page.status_code == 200 and b"<h1>" in page.content
    if path == "/account/confirm/":
        assert b'name="password"' in page.content
