"""The other pages, on a wide screen and on a phone, by mouse and by keyboard."""

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.journeys.hub import Hub

from .contrast import faint_texts
from .steps import answer, approval, expect_state, start_run

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]
PAGES = [
    "/runs/",
    "/runs/new/",
    "/approvals/",
    "/agents/",
    "/agents/new/",
    "/projects/",
    "/projects/demo/",
    "/projects/demo/edit/",
    "/projects/demo/policy/",
    "/projects/demo/usage/",
    "/projects/demo/people/",
    "/projects/demo/webhooks/",
    "/projects/demo/audit/",
    "/policy/",
    "/routes/",
    "/nodes/",
    "/nodes/local/",
    "/nodes/join/",
    "/messages/",
    "/messages/?tab=dead",
    "/messages/new/",
    "/tasks/",
    "/tokens/",
    "/approvals/?tab=history",
    "/account/",
    "/account/password/",
    "/account/sessions/",
]


@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_fits_the_screen(web: Page, hub: Hub, width: int, scheme: str) -> None:
    web.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    web.set_viewport_size({"width": width, "height": 740})
    for path in [*PAGES, f"/runs/{hub.told['run']}/"]:
        web.goto(hub.told["address"] + path)
        expect(web.locator("h1").first).to_be_visible()
        assert web.evaluate("document.documentElement.scrollWidth") <= width, path
        assert web.evaluate("document.documentElement.dataset.bsTheme") == scheme


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(web: Page, hub: Hub, scheme: str) -> None:
    web.emulate_media(color_scheme="dark" if scheme == "dark" else "light", reduced_motion="reduce")
    run = hub.start_run("@write faint.md can this be read?")
    for path in [*PAGES, f"/runs/{hub.told['run']}/", f"/runs/{run}/"]:
        web.goto(hub.told["address"] + path)
        expect(web.locator("h1").first).to_be_visible()
        assert faint_texts(web) == {}, path
    approval(web)
    assert faint_texts(web) == {}
    answer(web, "outline-danger")


def test_an_approval_is_answered_from_the_inbox(web: Page, hub: Hub) -> None:
    run = hub.start_run("@ask shell @say thank you")
    web.goto(f"{hub.told['address']}/approvals/")
    card = web.locator(".approval-card", has=web.locator(f'a[href^="/runs/{run}/"]'))
    card.locator("button.btn-primary").click()
    expect(card).to_have_count(0)
    expect(web.locator(f'.row-item a[href^="/runs/{run}/"]')).to_be_visible()
    web.goto(f"{hub.told['address']}/runs/{run}/")
    expect_state(web, "succeeded")


def test_a_change_is_judged_and_answered_by_keyboard_in_the_inbox(web: Page, hub: Hub) -> None:
    run = hub.start_run("@write keyboard.md a line of its own")
    web.goto(f"{hub.told['address']}/approvals/")
    card = web.locator(".approval-card", has=web.locator(f'a[href^="/runs/{run}/"]'))
    expect(card.locator(".line-add")).to_contain_text("a line of its own")
    card.locator(".file-diff-lines").focus()
    web.keyboard.press("Tab")
    expect(card.locator(".row-meta a")).to_be_focused()
    web.keyboard.press("Tab")
    expect(card.get_by_role("button", name="Allow once")).to_be_focused()
    web.keyboard.press("Enter")
    expect(web.locator(f'.row-item a[href^="/runs/{run}/"]')).to_be_visible()
    expect(card).to_have_count(0)
    expect(web.locator("#approval-cards:focus, #approval-cards :focus")).to_be_attached()  # the keyboard kept its place


def test_always_allow_is_kept_with_the_answer_and_asked_no_more(web: Page, hub: Hub) -> None:
    run = hub.start_run("@write always.md the first time")
    web.goto(f"{hub.told['address']}/runs/{run}/")
    approval(web).get_by_role("link", name="Always allow this (a rule)…").click()
    panel = web.locator(".always")
    expect(panel).to_contain_text("write ./always.md")
    expect(panel).to_contain_text("of the last 30 days")
    assert faint_texts(web) == {}
    panel.get_by_role("button", name="Allow, and from now on").click()
    expect(approval(web, "applied")).to_contain_text("chosen by root and applied on node:local")
    expect(approval(web, "applied")).to_contain_text("is allowed without asking until")
    expect_state(web, "succeeded")
    again = hub.start_run("@write always.md the second time")
    web.goto(f"{hub.told['address']}/runs/{again}/")
    expect_state(web, "succeeded")
    expect(web.locator(".approval")).to_have_count(0)
    web.goto(f"{hub.told['address']}/projects/demo/policy/")
    answer_kept = web.locator(".policy-row", has_text="./always.md")
    web.once("dialog", lambda dialog: dialog.accept())
    answer_kept.get_by_role("button", name="Withdraw").click()
    expect(web.get_by_text("From now on that is asked again")).to_be_visible()


def test_an_opened_panel_stays_while_the_inbox_changes_around_it(web: Page, hub: Hub) -> None:
    run = hub.start_run("@write stays.md a line")
    web.goto(f"{hub.told['address']}/approvals/")
    card = web.locator(".approval-card", has=web.locator(f'a[href^="/runs/{run}/"]'))
    card.get_by_role("link", name="Always allow this (a rule)…").click()
    card.get_by_label("It ends after").select_option("7")
    other = hub.start_run("@ask shell @say hello")
    expect(web.locator(".approval-card", has=web.locator(f'a[href^="/runs/{other}/"]'))).to_be_visible()
    expect(card.get_by_label("It ends after")).to_have_value("7")
    assert hub.cli("approve", other, "--reject").returncode == 0
    assert hub.cli("approve", run, "--reject").returncode == 0
    expect(card).to_have_count(0)


def test_a_rule_is_written_and_tried_out_in_place(web: Page, hub: Hub) -> None:
    web.goto(f"{hub.told['address']}/projects/demo/policy/")
    web.get_by_text("Add a rule").click()
    adder = web.locator(".adder")
    adder.get_by_label("Verdict").select_option("deny")
    adder.get_by_label("Command").fill("tides --publish*")
    adder.get_by_role("button", name="Add rule").click()
    expect(web.get_by_text("The rule is in force")).to_be_visible()
    trial = web.locator("#trial")
    trial.get_by_label("Command").fill("cd quay && tides --publish all")
    trial.get_by_label("Command").press("Enter")
    expect(trial.locator(".trial-verdict")).to_contain_text("It would be told no.")
    expect(trial.get_by_role("link", name="rule 1")).to_be_visible()
    assert faint_texts(web) == {}
    web.once("dialog", lambda dialog: dialog.accept())
    web.locator(".policy-row", has_text="tides").get_by_role("button", name="Remove rule 1").click()
    expect(web.locator(".policy-row", has_text="tides")).to_have_count(0)


def test_what_the_policy_denies_is_seen_in_the_run_with_its_rule(web: Page, hub: Hub) -> None:
    added = hub.ask("policy", "add", "deny", "--project", "demo", "--path", "denied.md")
    run = hub.start_run("@write denied.md nothing")
    web.goto(f"{hub.told['address']}/runs/{run}/")
    notice = web.locator(".notice", has_text="The policy said no")
    expect(notice).to_contain_text("By a rule of the project.")
    notice.get_by_role("link", name="See the rule").click()
    expect(web.locator(f"#rule-{added['id']}")).to_contain_text("denied.md")
    assert hub.cli("policy", "remove", added["id"]).returncode == 0


def test_the_list_of_runs_follows_by_itself(web: Page, hub: Hub) -> None:
    web.goto(f"{hub.told['address']}/runs/")
    run = hub.start_run("@ask write")
    row = web.locator(f"#run-{run}")
    expect(row).to_contain_text("waiting")
    assert hub.cli("approve", run, "--reject").returncode == 0
    expect(row).to_contain_text("succeeded")


def test_filters_change_the_address_and_the_list(web: Page, hub: Hub) -> None:
    web.goto(f"{hub.told['address']}/runs/")
    web.get_by_label("State").select_option("lost")
    expect(web.get_by_text("No run fits these filters")).to_be_visible()
    assert "state=lost" in web.url


def test_the_form_shows_the_fields_that_matter(web: Page, hub: Hub) -> None:
    web.goto(f"{hub.told['address']}/agents/new/")
    expect(web.get_by_label("Command")).to_be_hidden()
    expect(web.get_by_label("Pool", exact=True)).to_be_hidden()
    web.get_by_label("Execution node").select_option("")
    expect(web.get_by_label("Pool", exact=True)).to_be_visible()
    expect(web.get_by_label("Labels that a node must have")).to_be_visible()
    web.get_by_label("Runtime").select_option("command")
    expect(web.get_by_label("Command")).to_be_visible()
    expect(web.get_by_label("Preset")).to_be_hidden()
    web.get_by_label("Workspace").select_option("use_existing")
    expect(web.get_by_label("Directory")).to_be_visible()
    expect(web.get_by_label("Repository")).to_be_hidden()


def test_the_theme_is_chosen_and_kept(web: Page) -> None:
    web.emulate_media(color_scheme="light")
    web.get_by_role("button", name="Dark").click()
    expect(web.locator("html")).to_have_attribute("data-bs-theme", "dark")
    web.reload()
    expect(web.locator("html")).to_have_attribute("data-bs-theme", "dark")
    expect(web.get_by_role("button", name="Dark")).to_have_attribute("aria-pressed", "true")
    web.get_by_role("button", name="Auto").click()
    expect(web.locator("html")).to_have_attribute("data-bs-theme", "light")


def test_the_keyboard_leads_to_the_content_and_can_be_followed(web: Page) -> None:
    web.keyboard.press("Tab")
    expect(web.get_by_role("link", name="Skip to content")).to_be_focused()
    web.keyboard.press("Enter")
    web.keyboard.press("Tab")
    outline = web.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    shadow = web.evaluate("getComputedStyle(document.activeElement).boxShadow")
    assert outline != "none" or shadow != "none"


def test_a_phone_has_its_menu_behind_a_button(web: Page) -> None:
    web.set_viewport_size({"width": 375, "height": 740})
    expect(web.get_by_role("link", name="Nodes")).to_be_hidden()
    web.get_by_role("button", name="Menu").click()
    web.get_by_role("link", name="Nodes").click()
    expect(web.get_by_role("heading", name="Nodes")).to_be_visible()
    expect(web.locator(".node").first).to_contain_text("online")


def test_a_run_is_started_from_a_phone(web: Page) -> None:
    web.set_viewport_size({"width": 375, "height": 740})
    start_run(web, "@say hello from afar @ask write")
    expect(web.locator(".message").first).to_contain_text("hello from afar")
    answer(web, "primary")
    expect(web.locator(".ending-succeeded")).to_be_visible()


def test_a_nodes_page_follows_by_itself_and_tests_its_connection(web: Page, hub: Hub) -> None:
    web.goto(f"{hub.told['address']}/nodes/local/")
    expect(web.locator(".figure-row", has_text="Link latency")).to_contain_text("ok")
    web.get_by_role("button", name="Test connection").click()
    expect(web.get_by_text("Connected: local answers as itself")).to_be_visible()
    web.get_by_role("button", name="Cordon").click()
    expect(web.locator("#node-part .state-badge").first).to_have_text("cordoned")
    web.get_by_role("button", name="Uncordon").click()
    expect(web.locator("#node-part .state-badge").first).not_to_have_text("cordoned")


def test_a_token_to_join_is_made_and_copied(web: Page, hub: Hub) -> None:
    web.context.grant_permissions(["clipboard-read", "clipboard-write"])
    web.goto(f"{hub.told['address']}/agents/")
    web.get_by_role("link", name="Join node with token").click()
    web.get_by_label("Node id").fill("gpu-browser")
    web.get_by_role("button", name="Make a token").click()
    command = web.locator("#join-command").inner_text()
    assert command.startswith("agenthub node join http")
    web.get_by_role("button", name="Copy").click()
    expect(web.get_by_role("button", name="Copied")).to_be_visible()
    assert web.evaluate("navigator.clipboard.readText()") == command
    web.goto(f"{hub.told['address']}/nodes/gpu-browser/")
    expect(web.locator("#node-part")).to_contain_text("never connected")
    expect(web.locator("body")).not_to_contain_text("ahj_")


def test_a_webhook_is_made_and_tried_out(web: Page, hub: Hub) -> None:
    """Its address is one that the hub does not post to, so that nothing leaves this machine."""
    web.set_viewport_size({"width": 375, "height": 740})
    web.goto(f"{hub.told['address']}/projects/demo/webhooks/")
    tab = web.get_by_role("navigation", name="Project").get_by_role("link", name="Webhooks")
    expect(tab).to_be_in_viewport(ratio=0.95)
    web.get_by_label("Name").fill("quay")
    web.get_by_label("Address").fill("https://127.0.0.1:1/")
    web.get_by_role("button", name="Add webhook").click()
    expect(web.locator("#secret")).to_contain_text("whsec_")
    web.get_by_role("button", name="Send a test").click()
    expect(web.locator("body")).not_to_contain_text("whsec_")
    row = web.locator(".delivery")
    expect(row).to_contain_text("127.0.0.1 is no address of the public web")
    for scheme in ("light", "dark"):
        web.emulate_media(color_scheme="dark" if scheme == "dark" else "light", reduced_motion="reduce")
        assert faint_texts(web) == {}
    assert web.evaluate("document.documentElement.scrollWidth") <= 375
    row.get_by_role("button", name="Deliver again").click()
    expect(web.get_by_text("It is posted again.")).to_be_visible()
    expect(row.get_by_role("button", name="Deliver again")).to_be_visible()
    web.once("dialog", lambda dialog: dialog.accept())
    web.get_by_role("button", name="Remove quay").click()
    expect(web.get_by_text("No webhooks yet")).to_be_visible()


def test_nodes_are_managed_without_scripts(hub: Hub, browser: Any, session_cookies: Any) -> None:
    context = browser.new_context(java_script_enabled=False)
    context.add_cookies(session_cookies)
    page = context.new_page()
    page.goto(f"{hub.told['address']}/nodes/join/")
    page.get_by_label("Node id").fill("gpu-plain")
    page.get_by_role("button", name="Make a token").click()
    expect(page.locator("#join-command")).to_contain_text("agenthub node join")
    page.goto(f"{hub.told['address']}/nodes/gpu-plain/")
    page.get_by_role("button", name="Drain").click()
    expect(page.get_by_text("shows as draining until its last run has ended")).to_be_visible()
    page.get_by_role("link", name="Revoke…").click()
    page.get_by_role("button", name="Revoke gpu-plain").click()
    expect(page.get_by_text("is revoked: its link is cut")).to_be_visible()
    context.close()


def test_the_api_docs_load_nothing_from_elsewhere(web: Page, hub: Hub) -> None:
    web.goto(f"{hub.told['address']}/api/docs/")
    expect(web.locator(".swagger-ui .info")).to_be_visible()


def test_no_page_breaks_its_content_policy(web: Page, hub: Hub) -> None:
    broken: list[str] = []

    def note(what: str) -> None:
        broken.append(what)

    web.expose_function("noteViolation", note)
    web.add_init_script(
        "addEventListener('securitypolicyviolation', e => noteViolation(`${location.pathname} ${e.violatedDirective}`))"
    )
    admin = ["/admin/", "/admin/agents/run/", "/admin/agents/agent/add/", "/admin/accounts/user/"]
    for path in [*PAGES, f"/runs/{hub.told['run']}/", "/api/docs/", *admin]:
        web.goto(hub.told["address"] + path)
        expect(web.locator("h1, h2").first).to_be_attached()
        web.wait_for_load_state("networkidle")
    assert broken == []


def test_the_admin_is_one_click_away_for_root(web: Page) -> None:
    web.get_by_role("link", name="Admin").click()
    expect(web).to_have_url(re.compile(r"/admin/$"))


def test_the_admin_has_the_pages_colour_and_a_way_back(web: Page, hub: Hub) -> None:
    web.goto(f"{hub.told['address']}/admin/")
    accent = web.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--color-primary-600').trim()")
    assert accent in {"#3f5bd9", "rgb(63, 91, 217)"}
    web.get_by_role("link", name="Back to the pages").locator("visible=true").first.click()
    expect(web).to_have_url(re.compile(r"/runs/$"))


def test_the_board_follows_its_filter(web: Page, hub: Hub) -> None:
    hub.ask("project", "create", "quay")
    web.goto(f"{hub.told['address']}/tasks/")
    web.get_by_label("Project").select_option("quay")
    web.wait_for_url("**/tasks/?project=quay")
