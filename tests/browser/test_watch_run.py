"""The run page against a real hub, node and agent: what a person sees, while it happens."""

import re

import pytest
from playwright.sync_api import Dialog, Page, expect

from tests.journeys.hub import Hub

from .relay import Relay
from .steps import answer, approval, expect_connection, expect_state, said, start_run

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]
WORDS = 150


def words_in(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\bword(\d+)\b", text)]


def test_text_arrives_before_the_run_ends_and_the_diff_is_there_at_its_end(web: Page) -> None:
    start_run(web, "Write a note about the quay")
    expect(web.locator(".message").first).to_contain_text("scripted")
    expect(web.locator(".ending")).to_have_count(0)
    expect_state(web, "waiting")
    expect(web.locator("#announcement[aria-live='polite']")).to_have_text("Approval needed: Write demo-notes.md")
    answer(web, "primary")
    expect(approval(web, "applied")).to_contain_text("chosen by root and applied")
    expect(web.locator(".ending-succeeded")).to_be_visible()
    expect_state(web, "succeeded")
    expect_connection(web, "ended")
    expect(web.locator("#announcement")).to_have_text("The run has ended: succeeded.")
    web.get_by_role("button", name="View changes").click()
    changed = web.locator(".diff-file", has_text="demo-notes.md")
    expect(changed.locator(".d2h-ins .d2h-code-line-ctn")).to_contain_text("Write a note about the quay")


def test_a_reload_in_mid_run_finds_nothing_missing(web: Page) -> None:
    start_run(web, f"@say {WORDS} @ask write @say {WORDS}")
    approval(web)
    before = web.locator("#timeline").inner_text()
    web.reload()
    approval(web)
    expect(web.locator("#timeline")).to_have_text(re.compile(rf"word{WORDS}\b"))
    assert _without_times(web.locator("#timeline").inner_text()) == _without_times(before)
    answer(web, "primary")
    expect(web.locator(".ending-succeeded")).to_be_visible()
    assert words_in(said(web)) == [*range(1, WORDS + 1)] * 2


def _without_times(text: str) -> str:
    """Without the parts that a clock changes."""
    return re.sub(r"just now|\d+ s ago|\d+:\d+ left", "", text)


def test_a_cut_line_is_shown_and_made_good(shaky_web: Page, relay: Relay) -> None:
    start_run(shaky_web, f"@say 20 @delay 3 @say {WORDS} @ask write")
    expect(shaky_web.locator(".message").first).to_contain_text("word20")
    relay.cut()
    expect_connection(shaky_web, "reconnecting")
    relay.mend()
    expect_connection(shaky_web, "live")
    approval(shaky_web)
    assert words_in(said(shaky_web)) == [*range(1, 21), *range(1, WORDS + 1)]
    answer(shaky_web, "outline-danger")
    expect(shaky_web.locator(".ending")).to_be_visible()


def test_a_line_that_fell_silent_is_noticed(shaky_web: Page, relay: Relay) -> None:
    start_run(shaky_web, "@say 5 @ask write")
    approval(shaky_web)
    expect_connection(shaky_web, "live")
    shaky_web.clock.install()
    shaky_web.reload()
    approval(shaky_web)
    expect_connection(shaky_web, "live")
    relay.freeze()
    shaky_web.clock.fast_forward("00:30")  # of 45; the page's clock goes on by itself as well
    expect_connection(shaky_web, "live")
    shaky_web.clock.fast_forward("00:16")
    expect_connection(shaky_web, "reconnecting")
    relay.mend()
    expect_connection(shaky_web, "live")
    answer(shaky_web, "outline-danger")
    expect(shaky_web.locator(".ending")).to_be_visible()


def test_the_page_shows_what_the_stream_holds(web: Page, hub: Hub) -> None:
    run = start_run(web, "Write a line")
    answer(web, "primary")
    expect(web.locator(".ending")).to_be_visible()
    types = [event["type"] for event in hub.events(run)]
    assert web.locator(".turn").count() == types.count("run.turn.started") == 1
    assert web.locator(".approval").count() == types.count("run.approval.requested") == 1
    shown = web.locator(".tool").count()
    assert shown == len({e["payload"]["tool_call_id"] for e in hub.events(run) if e["type"].startswith("run.tool.")})
    assert shown >= 2
    expect(web.locator("#plan li[data-status='completed']")).to_have_count(3)


def test_a_rejected_action_is_not_done(web: Page) -> None:
    start_run(web, "Change something")
    answer(web, "outline-danger")
    expect(approval(web, "applied")).to_contain_text("chosen by root and applied")
    expect(web.locator(".ending")).to_be_visible()
    web.get_by_role("tab", name="Changes").click()
    expect(web.locator("#panel-diff")).to_contain_text(re.compile("Nothing changed|No changes yet"))


def test_the_second_answer_is_told_who_was_first(shaky_web: Page, relay: Relay, hub: Hub) -> None:
    run = start_run(shaky_web, "@ask shell @say after")
    card = approval(shaky_web)
    shaky_web.route("**/events*", lambda route: route.abort())  # the page hears of no event any more
    shaky_web.route("**/events/stream", lambda route: route.abort())
    relay.cut()
    expect_connection(shaky_web, "reconnecting")
    assert hub.cli("approve", run, "--reject").returncode == 0
    relay.mend()
    card.locator("button.btn-primary").click()
    expect(shaky_web.locator(".approval").get_by_role("alert")).to_contain_text("root answered this already")
    shaky_web.unroute_all()
    expect(approval(shaky_web, "applied")).to_be_visible()


def test_a_run_is_cancelled_after_a_question(web: Page) -> None:
    start_run(web, "@say 5 @delay 90")
    expect(web.locator(".message").first).to_contain_text("word5")
    questions: list[str] = []

    def agree(dialog: Dialog) -> None:
        questions.append(dialog.message)
        dialog.accept()

    web.on("dialog", agree)
    web.get_by_role("button", name="Cancel").click()
    expect(web.locator(".ending-cancelled")).to_be_visible()
    expect_state(web, "cancelled")
    assert len(questions) == 1 and "Cancel this run?" in questions[0]


def test_a_follow_up_becomes_the_next_turn(web: Page) -> None:
    start_run(web, "@say first things", keep_open=True)
    expect(web.locator(".state")).to_contain_text("Waiting for your next prompt.")
    web.get_by_label("Follow-up prompt").fill("@say second things")
    web.get_by_role("button", name="Send").click()
    expect(web.locator(".turn").nth(1)).to_contain_text("Turn 2")
    expect(web.locator(".message").last).to_contain_text("second things")
    expect(web.locator(".turn-pending")).to_have_count(0)
    web.once("dialog", lambda dialog: dialog.accept())
    web.get_by_role("button", name="Cancel").click()
    expect(web.locator(".ending")).to_be_visible()
    expect(web.get_by_role("button", name="Continue in a new run")).to_be_visible()


def test_a_prompt_may_interrupt_the_turn(web: Page) -> None:
    start_run(web, "@say 5 @delay 90", keep_open=True)
    expect(web.locator(".message").first).to_contain_text("word5")
    web.get_by_label("Follow-up prompt").fill("@say instead")
    web.get_by_role("button", name="Interrupt").click()
    expect(web.locator(".message").last).to_contain_text("instead")
    expect(web.locator("#timeline")).to_contain_text("The turn was interrupted")
    web.once("dialog", lambda dialog: dialog.accept())
    web.get_by_role("button", name="Cancel").click()
    expect(web.locator(".ending")).to_be_visible()


def test_what_is_written_after_the_end_goes_on_in_a_new_run(web: Page) -> None:
    start_run(web, "@say first")
    expect_state(web, "succeeded")
    expect(web.get_by_role("button", name="Interrupt")).to_be_hidden()
    before = web.url
    web.get_by_label("Follow-up prompt").fill("@recall")
    web.get_by_role("button", name="Continue in a new run").click()
    expect(web.locator(".run-head")).to_contain_text("It goes on from an earlier run")
    assert web.url != before
    expect(web.locator(".message").first).to_contain_text("I remember: @say first.")
    web.get_by_role("link", name="an earlier run").click()
    expect(web.locator(".run-head")).to_contain_text("It goes on in a later run")
    expect(web.get_by_label("Follow-up prompt")).to_be_hidden()


def test_what_an_agent_writes_is_data(web: Page, hub: Hub) -> None:
    start_run(
        web,
        "@say <img src=/api/v1/ onerror=document.title='owned'> <script>document.title='owned'</script> "
        "![a picture](https://evil.example/x.png) [go](javascript:document.title='owned') "
        "[here](/logout/) [web](https://docs.python.org/3/)",
    )
    expect(web.locator(".ending")).to_be_visible()
    message = web.locator(".message").first
    expect(message).to_contain_text("<script>")
    assert message.locator("img, script, iframe, form, style").count() == 0
    links = message.locator("a").evaluate_all("links => links.map(link => [link.href, link.rel, link.target])")
    assert [link[0] for link in links] == ["https://evil.example/x.png", "https://docs.python.org/3/"]
    assert all(link[1:] == ["noopener noreferrer nofollow", "_blank"] for link in links)
    assert "owned" not in web.title()


def test_an_ending_says_what_to_do_next(web: Page) -> None:
    start_run(web, "@exit 3")
    ending = web.locator(".ending-failed")
    expect(ending).to_contain_text("exit code 3")
    expect(web.locator("#run-head")).to_contain_text("The agent's program ended with an error.")
    expect(web.locator("#run-head")).to_contain_text("start another run")
    assert "ended with an error" not in ending.inner_text(), "said once, in the header"
    expect(ending.get_by_role("link", name="Try again")).to_be_visible()


def test_an_ended_run_shows_nothing_under_way(web: Page) -> None:
    lines = "\n\n".join(f"@say paragraph {number}" for number in range(60))
    start_run(web, f"@plan Look, Change, Answer @unfinished {lines} @exit 1")
    expect(web.locator(".ending-failed")).to_be_attached()
    expect(web.locator("#plan li").first).to_have_attribute("data-status", "unfinished")
    expect(web.locator(".tool").first).to_have_attribute("data-status", "unfinished")
    web.reload()
    expect(web.locator(".ending-failed")).to_be_attached()
    expect(web.locator("#plan li").first).to_have_attribute("data-status", "unfinished")
    expect(web.get_by_role("button", name="Jump to latest")).to_be_hidden()


def test_whoever_scrolls_up_while_text_comes_is_not_pulled_back(web: Page) -> None:
    start_run(web, f"@say 600 @say {WORDS} @delay 3 @say 600 @ask write")
    expect(web.locator(".message").first).to_contain_text("word600")
    web.mouse.move(600, 300)
    web.mouse.wheel(0, -60)
    expect(web.get_by_role("button", name=re.compile("Jump to latest|Approval needed"))).to_be_visible()
    approval(web)
    expect(web.get_by_role("button", name="Approval needed")).to_be_visible()


def test_a_long_way_up_has_a_way_back_down(web: Page) -> None:
    lines = "\n\n".join(f"@say paragraph {number}" for number in range(60))
    start_run(web, f"{lines} @ask write")
    approval(web)
    expect(web.get_by_role("button", name=re.compile("Jump to latest|Approval needed"))).to_be_hidden()
    web.mouse.wheel(0, -20_000)
    expect(web.locator("html")).to_have_js_property("scrollTop", 0)
    web.get_by_role("button", name="Approval needed").click()
    expect(approval(web).locator("button.btn-primary")).to_be_in_viewport()
    answer(web, "outline-danger")
    expect(web.locator(".ending")).to_be_visible()
