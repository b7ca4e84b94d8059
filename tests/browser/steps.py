"""What a person does on the pages, in their words."""

import re

from playwright.sync_api import Locator, Page, expect

from .conftest import PATIENCE_MS

expect.set_options(timeout=PATIENCE_MS)


def start_run(page: Page, prompt: str, *, keep_open: bool = False) -> str:
    """Start ``demo`` from the form; leaves the browser on the run's page. Returns the run's id."""
    page.get_by_role("link", name="Start a run").locator("visible=true").first.click()
    demo = page.locator("#id_agent option", has_text=re.compile(r"^demo/demo ")).get_attribute("value")
    page.get_by_label("Agent", exact=True).select_option(demo)
    page.get_by_label("Prompt").fill(prompt)
    page.get_by_label("Keep the session open").set_checked(keep_open)
    page.get_by_role("button", name="Start", exact=True).click()
    page.wait_for_url(re.compile(r"/runs/[0-9a-f-]{36}/$"))
    return page.url.rstrip("/").rpartition("/")[2]


def expect_state(page: Page, state: str) -> None:
    """The header's badge says so, by itself."""
    expect(page.locator("#run-head")).to_have_attribute("data-state", state)


def expect_connection(page: Page, status: str) -> None:
    expect(page.locator("#connection")).to_have_attribute("data-status", status)


def approval(page: Page, state: str = "pending") -> Locator:
    """The approval card in this state, once it is there."""
    card = page.locator(f'.approval[data-state="{state}"]')
    expect(card).to_be_visible()
    return card


def answer(page: Page, kind: str) -> None:
    """Press the runtime's own button of this kind: ``primary`` allows once, ``outline-danger`` rejects."""
    approval(page).locator(f"button.btn-{kind}").first.click()


def said(page: Page) -> str:
    """All that the agent has said so far, as the page shows it."""
    return "\n".join(page.locator(".message").all_inner_texts())
