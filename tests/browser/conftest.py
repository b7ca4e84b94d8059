"""A real hub, and headless Chromium signed in to it. A console error or a request to elsewhere fails the test."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.journeys.hub import Hub, running_hub

from .relay import Relay

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or "/usr/bin/chromium"
PATIENCE_MS = 60_000
"""Bound of every wait; nothing waits so long unless it fails."""


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    return {**browser_type_launch_args, "executable_path": CHROMIUM, "args": ["--no-sandbox", "--disable-gpu"]}


@pytest.fixture(scope="session")
def base_url() -> str:
    """None: the hub says its address. (The plugin's own fixture is of a kind that pytest is about to drop.)"""
    return ""


@pytest.fixture(scope="package")
def hub() -> Iterator[Hub]:
    """One hub for all browser tests: each starts runs of its own."""
    with running_hub() as hub:
        yield hub


@pytest.fixture(scope="package")
def session_cookies(hub: Hub, browser: Any) -> Any:
    """Signed in once, as root, through the form."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{hub.told['address']}/login/")
    page.get_by_label("Username").fill(hub.told["user"])
    page.get_by_label("Password").fill(hub.told["password"])
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/runs/")
    cookies = context.cookies()
    context.close()
    return cookies


@pytest.fixture
def tab(context: BrowserContext, session_cookies: Any) -> Page:
    context.add_cookies(session_cookies)
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    return page


@pytest.fixture
def web(hub: Hub, tab: Page) -> Iterator[Page]:
    """A tab of root's, which must stay without errors and within the hub's origin."""
    troubles: list[str] = []
    tab.on("console", lambda said: troubles.append(said.text) if said.type in ("error", "warning") else None)
    yield from _open(tab, hub.told["address"], troubles)
    assert troubles == []


@pytest.fixture
def relay(hub: Hub) -> Iterator[Relay]:
    relay = Relay(hub.told["address"])
    yield relay
    relay.close()


@pytest.fixture
def shaky_web(relay: Relay, tab: Page) -> Iterator[Page]:
    """The same over a line that can be cut, which a browser may complain about."""
    yield from _open(tab, relay.address, [])


def _open(page: Page, origin: str, troubles: list[str]) -> Iterator[Page]:
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("request", lambda request: None if _is_ours(request.url, origin) else troubles.append(request.url))
    page.goto(origin)
    yield page
    assert troubles == []


def _is_ours(url: str, origin: str) -> bool:
    return url.startswith((f"{origin}/", "data:", "blob:", "about:"))
