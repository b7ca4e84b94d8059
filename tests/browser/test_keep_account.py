"""One's own account in a browser: app, recovery codes, passkeys, sessions, password; and coming in by an invitation."""

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.journeys.hub import Hub

from .conftest import PATIENCE_MS
from .contrast import faint_texts

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
PASSWORD = "the tide turns at noon"
STEP_SECONDS = 30
AUTHENTICATOR = {
    "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
    "isUserVerified": True, "automaticPresenceSimulation": True,
}  # fmt: skip

OpenTab = Callable[[], Page]


@pytest.fixture
def open_tab(hub: Hub, browser: Browser) -> Iterator[OpenTab]:
    """Browsers of their own, at the hub by a name, as passkeys need it. Nothing may break the content policy."""
    broken: list[str] = []
    contexts: list[BrowserContext] = []

    def open_one() -> Page:
        context = browser.new_context(base_url=hub.told["address"].replace("127.0.0.1", "localhost"))
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", lambda said: broken.append(said.text) if "Content Security Policy" in said.text else None)
        page.on("pageerror", lambda error: broken.append(str(error)))
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert broken == []


@pytest.fixture
def person(hub: Hub, request: pytest.FixtureRequest) -> str:
    """Somebody with a password, new for each test."""
    name = re.sub(r"\W", "-", request.node.originalname.removeprefix("test_"))[:40].strip("-")
    assert hub.cli("user", "create", name, "--password", PASSWORD).returncode == 0
    return name


def give_password(page: Page, name: str, password: str = PASSWORD) -> None:
    page.goto("/login/")
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()


def sign_out(page: Page) -> None:
    page.goto("/runs/")
    page.locator(".user-menu summary").click()
    page.get_by_role("button", name="Sign out").click()


def expect_signed_in(page: Page, name: str) -> None:
    page.wait_for_url("**/runs/")
    expect(page.locator(".user-menu summary")).to_contain_text(name)


def confirm(page: Page) -> None:
    """Whoever changes how they sign in shows once more that it is they."""
    expect(page.get_by_role("heading", name="Show once more that it is you")).to_be_visible()
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Continue").click()


def code_of(secret: str) -> str:
    """RFC 6238, as an authenticator app computes it."""
    key = base64.b32decode(secret.replace(" ", "") + "=" * (-len(secret.replace(" ", "")) % 8))
    digest = hmac.new(key, int(time.time() // STEP_SECONDS).to_bytes(8, "big"), hashlib.sha1).digest()
    at = digest[-1] & 15
    return f"{(int.from_bytes(digest[at : at + 4], 'big') & 0x7FFFFFFF) % 10**6:06}"


def with_authenticator(page: Page) -> tuple[Any, str]:
    """A device that holds passkeys, and says yes by itself; the session that commands it, and its id."""
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    made = session.send("WebAuthn.addVirtualAuthenticator", {"options": AUTHENTICATOR})
    return session, made["authenticatorId"]


def expect_fit(page: Page) -> None:
    """Legible, and within a phone's screen."""
    assert faint_texts(page) == {}, page.url
    size = page.viewport_size
    page.set_viewport_size({"width": 375, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 375, page.url
    if size:
        page.set_viewport_size(size)


def test_an_app_and_its_recovery_codes(open_tab: OpenTab, person: str) -> None:
    page = open_tab()
    give_password(page, person)
    expect_signed_in(page, person)
    page.goto("/account/")
    expect_fit(page)
    page.locator(".row-item", has_text="Authenticator app").get_by_role("link", name="Add").click()
    expect_fit(page)
    confirm(page)
    expect(page.locator("img.qr")).to_be_visible()
    expect_fit(page)
    secret = page.locator(".secret").inner_text()
    page.get_by_label("Code", exact=True).fill("000000")
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_role("alert")).to_be_visible()
    page.get_by_label("Code", exact=True).fill(code_of(page.locator(".secret").inner_text()))
    used = code_of(secret)
    page.get_by_role("button", name="Add").click()
    page.goto("/account/codes/")
    codes = page.locator(".codes code").all_inner_texts()
    assert len(codes) == 10
    expect_fit(page)
    sign_out(page)

    give_password(page, person)
    expect(page.get_by_label("Code of your authenticator app")).to_be_visible()
    expect_fit(page)
    page.get_by_label("Code of your authenticator app").fill("000000")
    page.get_by_role("button", name=re.compile("Sign in|Continue")).click()
    expect(page.get_by_role("alert")).to_be_visible()
    while code_of(secret) == used:  # one counts once
        time.sleep(0.5)
    page.get_by_label("Code of your authenticator app").fill(code_of(secret))
    page.get_by_role("button", name=re.compile("Sign in|Continue")).click()
    expect_signed_in(page, person)
    sign_out(page)

    give_password(page, person)
    page.get_by_label("Code of your authenticator app").fill(codes[0])
    page.get_by_role("button", name=re.compile("Sign in|Continue")).click()
    expect_signed_in(page, person)
    page.goto("/account/")
    expect(page.get_by_text("9 left, for when the device is lost")).to_be_visible()
    page.locator(".row-item", has_text="Authenticator app").get_by_role("link", name="Remove").click()
    confirm(page)
    page.get_by_role("button", name="Remove").click()
    expect(page.locator(".row-item", has_text="Authenticator app").get_by_role("link", name="Add")).to_be_visible()


def test_a_passkey_in_place_of_the_password(open_tab: OpenTab, person: str) -> None:
    page = open_tab()
    with_authenticator(page)
    give_password(page, person)
    expect_signed_in(page, person)
    page.goto("/account/passkeys/add/")
    confirm(page)
    expect_fit(page)
    page.get_by_label("Name, to tell it from others").fill("My laptop")
    page.get_by_role("button", name="Add passkey").click()
    page.wait_for_url(re.compile(r"/account/(?!passkeys/add)"))
    page.goto("/account/")
    row = page.locator(".row-item", has_text="My laptop")
    expect(row).to_contain_text("passkey")
    sign_out(page)

    page.goto("/login/?next=/agents/")
    expect_fit(page)
    page.get_by_role("button", name="Sign in with a passkey").click()
    page.wait_for_url("**/agents/")
    expect(page.locator(".user-menu summary")).to_contain_text(person)
    page.goto("/account/")
    row.get_by_role("link", name="Rename").click()
    confirm(page)
    page.get_by_label("Name").fill("Old laptop")
    page.get_by_role("button", name="Save").click()
    page.goto("/account/")
    page.locator(".row-item", has_text="Old laptop").get_by_role("link", name="Remove").click()
    page.get_by_role("button", name="Remove").click()
    page.goto("/account/")
    expect(page.locator(".row-item", has_text="Old laptop")).to_have_count(0)


def test_a_security_key_beside_the_password(open_tab: OpenTab, person: str) -> None:
    page = open_tab()
    with_authenticator(page)
    give_password(page, person)
    expect_signed_in(page, person)
    page.goto("/account/passkeys/add/")
    confirm(page)
    page.get_by_label("Name, to tell it from others").fill("My key")
    page.get_by_label("It may sign me in by itself").uncheck()
    page.get_by_role("button", name="Add passkey").click()
    page.wait_for_url(re.compile(r"/account/(?!passkeys/add)"))
    page.goto("/account/")
    expect(page.locator(".row-item", has_text="My key")).to_contain_text("security key")
    sign_out(page)
    give_password(page, person)
    expect_fit(page)
    page.get_by_role("button", name=re.compile("passkey|key", re.IGNORECASE)).click()
    expect_signed_in(page, person)


def test_a_passkey_that_is_not_there_says_so(open_tab: OpenTab, person: str) -> None:
    page = open_tab()
    session, device = with_authenticator(page)
    give_password(page, person)
    page.wait_for_url("**/runs/")
    page.goto("/account/passkeys/add/")
    confirm(page)
    session.send("WebAuthn.setUserVerified", {"authenticatorId": device, "isUserVerified": False})
    page.get_by_label("Name, to tell it from others").fill("Nothing")
    page.get_by_role("button", name="Add passkey").click()
    expect(page.get_by_role("alert")).to_contain_text("it was cancelled, or took too long")


def test_another_session_is_seen_and_ended(open_tab: OpenTab, person: str) -> None:
    here, there = open_tab(), open_tab()
    for page in (here, there):
        give_password(page, person)
        expect_signed_in(page, person)
    here.goto("/account/sessions/")
    expect(here.locator(".row-item")).to_have_count(2)
    expect(here.locator(".row-item", has_text="this one")).to_have_count(1)
    expect_fit(here)
    here.get_by_role("button", name=re.compile("End the session")).click()
    expect(here.locator(".row-item")).to_have_count(1)
    there.goto("/runs/")
    expect(there).to_have_url(re.compile("/login/"))


def test_a_new_password_ends_other_sessions(open_tab: OpenTab, person: str) -> None:
    here, there = open_tab(), open_tab()
    for page in (here, there):
        give_password(page, person)
        expect_signed_in(page, person)
    here.goto("/account/password/")
    expect_fit(here)
    here.get_by_label("Present password").fill(PASSWORD)
    here.get_by_label("New password", exact=True).fill("and again at midnight")
    here.get_by_label("New password again").fill("and again at midnight")
    here.get_by_role("button", name="Change password").click()
    here.wait_for_url(re.compile(r"/account/$"))
    there.goto("/runs/")
    expect(there).to_have_url(re.compile("/login/"))
    give_password(there, person, "and again at midnight")
    expect_signed_in(there, person)


def invite(page: Page, hub: Hub) -> str:
    """By root, through the page. The link."""
    give_password(page, hub.told["user"], hub.told["password"])
    page.wait_for_url("**/runs/")
    page.goto("/projects/demo/people/")
    page.get_by_role("button", name="Make a link").click()
    return page.locator("#secret").inner_text()


def test_the_invited_make_an_account_and_come_in(open_tab: OpenTab, hub: Hub) -> None:
    link = invite(open_tab(), hub)
    page = open_tab()
    page.goto(link)
    expect(page.get_by_role("heading", name="Join Demo")).to_be_visible()
    assert link.rstrip("/").rpartition("/")[2] not in page.url, "the secret is out of the address"
    expect_fit(page)
    page.get_by_label("Username").fill("newcomer")
    page.get_by_label("Password").fill("short")
    page.get_by_role("button", name="Make an account and join").click()
    expect(page.locator(".invalid-feedback, [role=alert]").first).to_be_visible()
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Make an account and join").click()
    if "/login/" in page.url:
        give_password(page, "newcomer")
    page.goto("/projects/demo/")
    expect(page.get_by_role("heading", name="Demo")).to_be_visible()


def test_the_invited_sign_in_and_come_back(open_tab: OpenTab, hub: Hub, person: str) -> None:
    link = invite(open_tab(), hub)
    page = open_tab()
    page.goto(link)
    page.get_by_role("link", name="Sign in with your account").click()
    page.get_by_label("Username").fill(person)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.get_by_role("button", name="Join").click()
    expect(page.get_by_text("You belong to Demo now")).to_be_visible()
