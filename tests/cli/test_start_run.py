import io
import json

import pytest

from integrations.cli.exits import Exit

from .conftest import Cli
from .small_hub import RUN, SmallHub

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _starts(hub: SmallHub) -> None:
    hub.routes["POST", "/api/v1/runs/"] = (201, {"id": RUN, "state": "queued"})


def test_in_a_script_the_id_is_all_that_is_printed(cli: Cli, hub: SmallHub, capsys: Capture) -> None:
    assert cli("run", "demo", "Say hello") == Exit.OK
    assert capsys.readouterr().out == f"{RUN}\n"
    assert hub.seen[-1].body == {"agent": "demo", "prompt": "Say hello", "keep_open": False}


def test_the_prompt_may_come_from_standard_input(cli: Cli, hub: SmallHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"A long\nstory\n")))
    assert cli("run", "demo", "-", "--keep-open") == Exit.OK
    assert hub.seen[-1].body == {"agent": "demo", "prompt": "A long\nstory\n", "keep_open": True}


def test_an_empty_prompt_is_not_sent(cli: Cli, hub: SmallHub, capsys: Capture) -> None:
    assert cli("run", "demo", "  ") == Exit.USAGE
    assert not hub.seen and "Say what it should do" in capsys.readouterr().err


def test_following_tells_the_run_in_plain_lines(cli: Cli, capsys: Capture) -> None:
    assert cli("run", "demo", "Say hello", "--follow") == Exit.OK
    assert capsys.readouterr().out.splitlines() == [
        "started acp in /w/1 on agenthub/1",
        "> Say hello",
        "Hello, world.",
        "succeeded",
    ]


def test_following_with_json_prints_events_and_nothing_else(cli: Cli, hub: SmallHub, capsys: Capture) -> None:
    assert cli("run", "demo", "Say hello", "--follow", "--json") == Exit.OK
    assert [json.loads(line)["seq"] for line in capsys.readouterr().out.splitlines()] == [1, 2, 3, 4, 5, 6]


def test_a_run_that_waits_for_input_says_how_to_give_it(cli: Cli, hub: SmallHub, capsys: Capture) -> None:
    hub.state = "waiting"
    hub.reason = "input"
    cli("run", "demo", "Say hello", "--follow")
    assert "agenthub input 0000abcd TEXT" in capsys.readouterr().err


def test_what_is_no_text_on_standard_input_is_said(
    cli: Cli, hub: SmallHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a\xff")))
    assert cli("run", "demo", "-") == Exit.USAGE
    assert "not UTF-8 text" in capsys.readouterr().err and not hub.seen


@pytest.mark.parametrize(
    "words",
    [
        ("demo", "--keep-open", "Say hello"),
        ("--keep-open", "demo", "Say hello"),
        ("demo", "Say hello", "--keep-open"),
        ("--keep-open", "demo", "--", "Say hello"),
    ],
)
def test_options_stand_anywhere(cli: Cli, hub: SmallHub, words: tuple[str, ...]) -> None:
    assert cli("run", *words) == Exit.OK
    assert hub.seen[-1].body == {"agent": "demo", "prompt": "Say hello", "keep_open": True}


def test_a_prompt_that_looks_like_an_option_comes_after_two_hyphens(cli: Cli, hub: SmallHub) -> None:
    assert cli("run", "demo", "--", "--follow") == Exit.OK
    assert hub.seen[-1].body["prompt"] == "--follow"


def test_one_word_too_many_is_named(cli: Cli, capsys: Capture) -> None:
    with pytest.raises(SystemExit):
        cli("run", "demo", "--json", "Say", "hello")
    assert json.loads(capsys.readouterr().out)["error"]["message"].startswith("Unrecognized arguments: hello.")
