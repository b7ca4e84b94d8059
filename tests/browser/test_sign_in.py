"""Signing in as people do: by a real identity provider; and out again."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.journeys.hub import Hub, running_hub
from tests.support import eventually

from .conftest import PATIENCE_MS
from .identity import SECRET, IdentityProvider, sign_in_there

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def provider() -> Iterator[IdentityProvider]:
    provider = IdentityProvider()
    yield provider
    provider.close()


@pytest.fixture(scope="module")
def hub(provider: IdentityProvider) -> Iterator[Hub]:
    with running_hub(
        AGENTHUB_OIDC__ISSUER=provider.issuer,
        AGENTHUB_OIDC__CLIENT_ID="agenthub",
        AGENTHUB_OIDC__CLIENT_SECRET=SECRET,
        AGENTHUB_OIDC__NAME="Harbour ID",
    ) as hub:
        yield hub


@pytest.fixture
def door(hub: Hub, browser: Browser) -> Iterator[Page]:
    """The page to sign in, opened by a name, as passkeys need it. Nothing on it may break its content policy."""
    broken: list[str] = []
    context = browser.new_context(base_url=hub.told["address"].replace("127.0.0.1", "localhost"))
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.on("console", lambda said: broken.append(said.text) if "Content Security Policy" in said.text else None)
    page.on("pageerror", lambda error: broken.append(str(error)))
    page.goto("/login/")
    yield page
    context.close()
    assert broken == []


@pytest.fixture
def serving(door: Page, provider: IdentityProvider) -> IdentityProvider:
    """The provider, once it knows the hub and the hub asks it: for some seconds nobody asks one that did not answer."""
    provider.serve(str(door.url).removesuffix("/login/"))
    eventually(lambda: is_led_there(door, provider), PATIENCE_MS / 1000)
    door.goto("/login/")
    return provider


def is_led_there(page: Page, provider: IdentityProvider) -> bool:
    page.goto("/login/")
    by_provider(page)
    page.wait_for_load_state()
    return page.url.startswith(provider.issuer)


def by_provider(page: Page) -> None:
    page.get_by_role("link", name="Sign in with Harbour ID").click()


def by_password(page: Page, hub: Hub) -> None:
    page.get_by_label("Username").fill(hub.told["user"])
    page.get_by_label("Password").fill(hub.told["password"])
    page.get_by_role("button", name="Sign in", exact=True).click()


def sign_out(page: Page) -> None:
    page.locator(".user-menu summary").click()
    page.get_by_role("button", name="Sign out").click()


def expect_signed_in_as(page: Page, name: str) -> None:
    page.wait_for_url("**/runs/")
    expect(page.locator(".user-menu summary")).to_contain_text(name)


def test_1_while_the_provider_is_away_the_page_says_so_and_a_password_signs_in(door: Page, hub: Hub) -> None:
    by_provider(door)
    expect(door.get_by_text("does not answer at present")).to_be_visible()
    by_password(door, hub)
    expect_signed_in_as(door, "root")


def test_2_a_person_signs_in_by_the_provider_and_out_of_both(door: Page, serving: IdentityProvider) -> None:
    door.goto("/login/?next=/projects/")
    by_provider(door)
    sign_in_there(door, "anna")
    door.wait_for_url("**/projects/")
    expect(door.locator(".user-menu summary")).to_contain_text("anna")
    expect(door.get_by_role("link", name="Admin")).to_have_count(0)
    sign_out(door)
    expect(door.get_by_role("heading", name="You are signed out")).to_be_visible()
    door.get_by_role("link", name="Sign out of Harbour ID too").click()
    door.get_by_role("button", name=re.compile("Yes")).click()
    door.wait_for_url("**/login/**")
    by_provider(door)
    expect(door.locator('input[name="login"]')).to_be_visible()


def test_3_who_leaves_the_provider_is_out_here_too(door: Page, serving: IdentityProvider) -> None:
    by_provider(door)
    sign_in_there(door, "anna")
    expect_signed_in_as(door, "anna")
    there = door.context.new_page()
    there.goto(f"{serving.issuer}/session/end")
    there.get_by_role("button", name=re.compile("Yes")).click()
    expect(there.get_by_text("Sign-out Success")).to_be_visible()
    door.goto("/runs/")
    expect(door).to_have_url(re.compile("/login/"))
