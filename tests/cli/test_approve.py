from typing import Any

import pytest

from integrations.cli.exits import Exit

from .conftest import Cli
from .small_hub import RUN, Json, SmallHub

Capture = pytest.CaptureFixture[str]
FIRST, SECOND = "0199a1b2-0000-7000-8000-0000000000a1", "0199a1b2-0000-7000-8000-0000000000b2"
OPTIONS = [
    {"option_id": "always", "name": "Always", "kind": "allow_always"},
    {"option_id": "once", "name": "Once", "kind": "allow_once"},
    {"option_id": "no", "name": "No", "kind": "reject_once"},
]


def approval(number: str = FIRST, options: list[Json] = OPTIONS) -> Json:
    return {
        "id": number,
        "run": RUN,
        "state": "pending",
        "kind": "write",
        "title": "Write notes.md",
        "command": "rm -r x\nls",
        "paths": [],
        "options": options,
    }


CONTENT = [{"type": "diff", "path": "notes.md", "old_text": "one\n", "new_text": "one\ntwo \x1b[2K\n", "text": ""}]


def decided_with(hub: SmallHub, number: str = FIRST) -> Any:
    return [seen.body for seen in hub.asked("POST", f"/api/v1/runs/{RUN}/approvals/{number}/decide/")]


def pending(hub: SmallHub, *approvals: Json) -> None:
    hub.routes["GET", "/api/v1/approvals/"] = (200, {"results": list(approvals), "next": None})
    hub.routes["GET", f"/api/v1/runs/{RUN}/"] = (
        200,
        {"id": RUN, "agent_name": "demo", "prompt_excerpt": "Take a note"},
    )
    for item in approvals:
        hub.routes["GET", f"/api/v1/approvals/{item['id']}/"] = (200, {"content": CONTENT, **item})
        route = ("POST", f"/api/v1/runs/{RUN}/approvals/{item['id']}/decide/")
        hub.routes[route] = lambda seen: (
            200,
            {**approval(), "option_id": seen.body.get("option_id", ""), "outcome": "x"},
        )


@pytest.mark.parametrize(
    ("answer", "sent"),
    [
        (["--allow"], {"option_id": "once"}),
        (["--always"], {"option_id": "always"}),
        (["--reject"], {"option_id": "no"}),
        (["--cancel"], {"outcome": "cancelled"}),
        (["--option", "once"], {"option_id": "once"}),
    ],
)
def test_an_answer_is_chosen_by_its_meaning(cli: Cli, hub: SmallHub, answer: list[str], sent: Json) -> None:
    pending(hub, approval())
    assert cli("approve", RUN, *answer) == Exit.OK
    assert decided_with(hub) == [sent]


def test_without_an_answer_the_question_is_shown_and_nothing_decided(cli: Cli, hub: SmallHub, capsys: Capture) -> None:
    pending(hub, approval())
    assert cli("approve", RUN) == Exit.USAGE
    told = capsys.readouterr()
    assert "Write notes.md (write)" in told.out and "$ rm -r x" in told.out and "[y] Once" in told.out
    assert "Run 0000abcd of demo (Take a note) asks:" in told.out
    assert "--option ID (always, once, no)" in told.err
    assert not decided_with(hub)


@pytest.mark.parametrize("command", [("approve", RUN), ("approvals",)], ids=lambda command: command[0])
def test_what_would_change_is_shown_with_control_characters_written_out(
    cli: Cli, hub: SmallHub, capsys: Capture, command: tuple[str, ...]
) -> None:
    pending(hub, approval())
    cli(*command)
    told = capsys.readouterr().out
    assert "notes.md" in told and "+two \\x1b[2K" in told and "\x1b" not in told


def test_a_title_cannot_pass_for_lines_of_ours(cli: Cli, hub: SmallHub, capsys: Capture) -> None:
    pending(hub, approval() | {"title": "Read\n  [y] Harmless", "command": "x" * 10_000 + "\n" + "y\n" * 1_000})
    cli("approve", RUN)
    told = capsys.readouterr().out
    assert "Read [y] Harmless (write)" in told
    assert "9602 characters more" in told and "989 lines more" in told and len(told) < 3_000


def test_an_allowance_that_is_not_offered_is_not_invented(cli: Cli, hub: SmallHub, capsys: Capture) -> None:
    pending(hub, approval(options=OPTIONS[2:]))
    assert cli("approve", RUN, "--allow") == Exit.USAGE
    assert "no (reject_once)" in capsys.readouterr().err and not decided_with(hub)


def test_a_rejection_that_is_not_offered_is_a_cancel(cli: Cli, hub: SmallHub) -> None:
    pending(hub, approval(options=OPTIONS[:1]))
    assert cli("approve", RUN, "--reject") == Exit.OK
    assert decided_with(hub) == [{"outcome": "cancelled"}]


def test_of_several_questions_one_must_be_named(cli: Cli, hub: SmallHub, capsys: Capture) -> None:
    pending(hub, approval(), approval(SECOND))
    assert cli("approve", RUN, "--allow") == Exit.USAGE
    assert "000000a1" in (told := capsys.readouterr().err) and "000000b2" in told
    assert cli("approve", RUN, "b2", "--allow") == Exit.OK
    assert decided_with(hub, SECOND) == [{"option_id": "once"}] and not decided_with(hub)


def test_a_run_without_questions_is_refused(cli: Cli, hub: SmallHub) -> None:
    pending(hub)
    assert cli("approve", RUN, "--allow") == Exit.REFUSED


def test_who_comes_second_is_told(cli: Cli, hub: SmallHub, capsys: Capture) -> None:
    pending(hub, approval())
    error = {"error": {"code": "already_decided", "message": "Bob answered: Once.", "data": {}}}
    hub.routes["POST", f"/api/v1/runs/{RUN}/approvals/{FIRST}/decide/"] = (409, error)
    assert cli("approve", RUN, "--reject") == Exit.REFUSED
    assert "Bob answered" in capsys.readouterr().err


def test_a_question_is_answered_by_its_own_id(cli: Cli, hub: SmallHub) -> None:
    pending(hub, approval(), approval(SECOND))
    assert cli("approve", "000000b2", "--reject") == Exit.OK
    assert decided_with(hub, SECOND) == [{"option_id": "no"}]


def test_several_are_answered_at_once_and_each_is_told(cli: Cli, hub: SmallHub, capsys: Capture) -> None:
    pending(hub, approval(), approval(SECOND))
    error = {"code": "already_decided", "message": "Bob answered this already.", "data": {}}
    results = [{"option_id": "once", "error": None}, {"option_id": None, "error": error}]
    hub.routes["POST", "/api/v1/approvals/decide/"] = (207, {"results": results, "decided": 1, "refused": 1})
    assert cli("approve", "a1", "b2", "--allow") == Exit.REFUSED
    (sent,) = hub.asked("POST", "/api/v1/approvals/decide/")
    assert sent.body == {"approvals": [FIRST, SECOND], "answer": "allow_once"}
    told = capsys.readouterr().out
    assert "Write notes.md: once" in told and "Bob answered this already." in told


def test_several_are_never_answered_for_good(cli: Cli, hub: SmallHub, capsys: Capture) -> None:
    pending(hub, approval(), approval(SECOND))
    assert cli("approve", "a1", "b2", "--always") == Exit.USAGE
    assert "--allow or --reject" in capsys.readouterr().err and not hub.asked("POST", "/api/v1/approvals/decide/")


def test_both_facts_of_an_answer_are_listed(cli: Cli, hub: SmallHub, capsys: Capture) -> None:
    decided = {"label": "bob", "kind": "user"}
    times = {"decided_at": "2026-11-21T06:20:04.5Z", "resolved_at": "2026-11-21T06:20:05.1Z"}
    answered = approval() | {"state": "applied", "option_id": "once", "outcome": "selected", "decided_by": decided}
    pending(hub, answered | times)
    assert cli("approvals", "--all") == Exit.OK
    assert "once, decided by bob at 2026-11-21T06:20:04Z, applied at 2026-11-21T06:20:05Z" in capsys.readouterr().out


@pytest.mark.parametrize("named", [(FIRST,), ("000000a1",), (RUN,)], ids=["its id", "a part of it", "its run"])
def test_a_late_answer_is_told_who_was_first(cli: Cli, hub: SmallHub, capsys: Capture, named: tuple[str, ...]) -> None:
    closed = approval() | {"state": "applied"}
    pending(hub, closed)
    hub.routes["GET", "/api/v1/approvals/"] = lambda seen: (
        200,
        {"results": [] if "state" in seen.query else [closed], "next": None},
    )
    hub.routes["GET", "/api/v1/runs/"] = (200, {"results": [], "next": None})
    error = {"code": "already_decided", "message": "alice answered this already.", "data": {}}
    hub.routes["POST", f"/api/v1/runs/{RUN}/approvals/{FIRST}/decide/"] = (409, {"error": error})
    assert cli("approve", *named, "--allow") == Exit.REFUSED
    assert "alice answered this already." in capsys.readouterr().err
