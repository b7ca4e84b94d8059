"""The approvals page: what exactly is asked, as text and bounded, answered in place."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from agenthub_site.accounts.authentication import actor_of
from agenthub_site.accounts.models import User
from agenthub_site.pages.questions import DIFF_LINES, Card, line_diff
from agents.models import Agent, Approval, Run
from agents.services.approvals import decide_approval
from agents.states import State
from nodes.contract.events import ToolContent
from tests.factories import make_approval, make_run


def ask(run: Run, **request: Any) -> Approval:
    """A question of the run's with other details."""
    approval = make_approval(run)
    content = [piece.model_dump() for piece in request.pop("content", [])]
    Approval.objects.filter(pk=approval.pk).update(
        title=request.get("title", approval.title),
        kind=request.get("kind", approval.kind),
        request={**approval.request, **request, "content": content},
    )
    return approval


def diff(old: str | None, new: str | None, path: str = "src/quay.py") -> ToolContent:
    return ToolContent(type="diff", path=path, old_text=old, new_text=new)


def shown(web: Client) -> str:
    return web.get("/approvals/").content.decode()


def card_of(approval: Approval) -> Card:
    return Card(Approval.objects.get(pk=approval.pk), may_answer=True)


def test_a_command_is_shown_whole_and_once(web: Client, run: Run) -> None:
    ask(run, title="make test && rm -r build", command="make test && rm -r build")
    page = shown(web)
    assert page.count("make test &amp;&amp; rm -r build") == 1
    assert "May it run this command?" in page


def test_a_change_is_shown_line_by_line(web: Client, run: Run) -> None:
    ask(
        run,
        kind="write",
        title="Write src/quay.py",
        command="",
        paths=["src/quay.py"],
        content=[diff("a\nb\n", "a\nc\n")],
    )
    page = shown(web)
    assert '<div class="line line-del"><span class="line-sign">-</span>b</div>' in page
    assert '<div class="line line-add"><span class="line-sign">+</span>c</div>' in page
    assert page.count("<code>src/quay.py</code>") == 1, "named by the change, and not again as a path"


def test_a_new_file_is_said_to_be_new(web: Client, run: Run) -> None:
    ask(run, kind="write", command="", content=[diff(None, "hello\n")])
    assert ">new</span>" in shown(web)


def test_what_is_asked_is_never_markup(web: Client, run: Run) -> None:
    evil = "<img src=x onerror=alert(1)>"
    ask(
        run, title=evil, command=evil, paths=[evil],
        content=[diff(evil, evil + evil, path=evil), ToolContent(type="text", text=f"See {evil}")],
    )  # fmt: skip
    page = shown(web)
    assert "<img" not in page and page.count("&lt;img") >= 5


def test_a_long_change_and_a_long_command_are_bounded(web: Client, run: Run) -> None:
    new = "".join(f"line {number} {'x' * 2_000}\n" for number in range(1_000))
    ask(run, kind="write", command="y" * 50_000, content=[diff(None, new)])
    page = shown(web)
    assert len(page) < 200_000 and page.count('class="line line-add"') == DIFF_LINES
    assert f"{1_000 - DIFF_LINES} more lines" in page and "more characters" in page


def test_a_question_without_details_says_so(web: Client, run: Run) -> None:
    ask(run, kind="network", title="Fetch something", command="")
    page = shown(web)
    assert "May it use the network?" in page and "no more details" in page


def test_a_path_that_nothing_else_names_is_shown(run: Run) -> None:
    approval = ask(run, kind="read", title="Read README.md", command="", paths=["README.md", "docs/api.md"])
    assert card_of(approval).paths == ["docs/api.md"]


def test_questions_of_several_runs_stand_in_one_list(web: Client, agent: Agent) -> None:
    runs = [make_run(agent=agent, state=State.WAITING, prompt=f"Errand {number}") for number in range(3)]
    for run in runs:
        ask(run)
    page = shown(web)
    assert page.count("<article") == 3
    for run in runs:
        assert run.prompt in page and reverse("run", args=[run.pk]) in page
    assert "demo" in page and "asked" in page and "then the answer is no" in page


def test_an_answer_in_place_gives_the_card_as_it_is_now(web: Client, run: Run) -> None:
    approval = make_approval(run)
    answer = web.post(
        reverse("decide_approval", args=[approval.pk]), {"option_id": "yes"}, headers={"HX-Request": "true"}
    )
    card = answer.content.decode()
    assert "“Allow” chosen by alice; on its way to the node" in card and "<button" not in card


def test_an_answer_that_came_too_late_says_who_was_first(web: Client, run: Run) -> None:
    approval = make_approval(run)
    address = reverse("decide_approval", args=[approval.pk])
    web.post(address, {"option_id": "no"})
    card = web.post(address, {"option_id": "yes"}, headers={"HX-Request": "true"}).content.decode()
    assert "alice answered this already." in card and "“Reject” chosen by alice" in card


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("applied", "“Allow” chosen by bob"),
        ("expired", "Nobody answered in time"),
        ("superseded", "No longer needed"),
        ("hash_mismatch", "but not applied"),
    ],
)
def test_what_became_of_a_question_is_in_words(web: Client, run: Run, state: str, words: str) -> None:
    decided = {} if state == "expired" else {"option_id": "yes", "decided_by_label": "bob", "decided_by_kind": "user"}
    make_approval(run, state=state, **decided)
    assert words in shown(web)


def test_an_expired_question_has_no_buttons(web: Client, run: Run) -> None:
    make_approval(run, expires_at=timezone.now() - timedelta(seconds=1))
    page = shown(web)
    assert "Nothing waits for you" in page and 'name="option_id"' not in page


def signs(old: str, new: str) -> str:
    return "".join(line.sign for line in line_diff(old, new))


def test_a_line_diff_leaves_out_what_is_far_from_a_change() -> None:
    old = "\n".join(str(number) for number in range(20))
    assert signs(old, old.replace("10", "ten")) == "…   -+   …"
    assert signs(old, old) == "…" and signs("", "a\nb") == "++" and signs("a", "") == "-"


def test_long_texts_are_not_aligned() -> None:
    old = [f"old {number}" for number in range(1_000)]
    new = [f"new {number}" for number in range(1_000)]
    text = signs("\n".join(["same", *old, "same"]), "\n".join(["same", *new, "same"]))
    assert text == "…" + "-" * 1_000 + "+" * 1_000 + "…"


def test_many_are_answered_together_and_what_was_refused_is_said(web: Client, run: Run, bob: User) -> None:
    first, taken = make_approval(run), make_approval(run)
    decide_approval(taken, by=actor_of(bob), option_id="no")
    body = {"approvals": [str(first.pk), str(taken.pk)], "answer": "allow_once"}
    text = web.post(reverse("decide_approvals"), body, headers={"HX-Request": "true"}).content.decode()
    assert "1 answered. 1 not:" in text and "bob answered this already." in text
    first.refresh_from_db()
    assert (first.state, first.option_id) == ("decided", "yes")


def test_boxes_and_buttons_for_many_come_with_the_second_question(web: Client, run: Run) -> None:
    make_approval(run)
    assert 'id="bulk"' not in shown(web)
    make_approval(run)
    assert 'id="bulk"' in shown(web) and shown(web).count("data-pick>") == 2


def test_a_question_for_others_is_shown_without_buttons(web: Client, run: Run) -> None:
    make_approval(run, offered_roles=" reviewer ")
    text = shown(web)
    assert "The policy asks: reviewer." in text and 'name="option_id"' not in text


def test_the_history_has_both_facts(web: Client, run: Run) -> None:
    now = timezone.now()
    make_approval(
        run, state="applied", option_id="yes", decided_by_label="bob", decided_at=now - timedelta(seconds=2),
        resolved_at=now - timedelta(seconds=1.96), expires_at=now,
    )  # fmt: skip
    text = web.get("/approvals/?tab=history").content.decode()
    assert "“Allow” chosen by bob" in text and "(after 40 ms)" in text
    assert "Nothing older" in web.get(f"/approvals/?tab=history&before={run.pk}").content.decode()


def test_the_inbox_takes_the_same_queries_however_long(
    web: Client, run: Run, django_assert_max_num_queries: Any
) -> None:
    for _ in range(5):
        make_approval(run)
    with django_assert_max_num_queries(8):
        shown(web)
