"""Following: cut at any time, nothing missed, nothing twice."""

import json
from pathlib import Path

import pytest

from integrations.cli.client import Client, HubRefused, HubUnreachable
from integrations.cli.exits import Exit
from integrations.cli.follow import Event, Gap, Pause, follow

from .conftest import Cli
from .small_hub import RUN, SmallHub, event, serve, story

Capture = pytest.CaptureFixture[str]


def seqs(home: Path, after: int = 0) -> list[int]:
    frames = follow(Client.over_socket(home / "hub.sock"), RUN, after)
    return [frame.envelope["seq"] for frame in frames if isinstance(frame, Event)]


def test_a_reader_that_is_cut_after_every_event_misses_nothing(home: Path, hub: SmallHub) -> None:
    hub.cut_every = 1
    assert seqs(home) == [1, 2, 3, 4, 5, 6]


def test_it_begins_after_the_number_given(home: Path, hub: SmallHub) -> None:
    assert seqs(home, after=4) == [5, 6]


def test_a_run_that_is_over_ends_the_following_at_once(home: Path, hub: SmallHub) -> None:
    hub.state = "succeeded"
    assert seqs(home, after=6) == []


def test_a_hub_that_was_never_there_is_an_error_at_once(home: Path) -> None:
    with pytest.raises(HubUnreachable):
        seqs(home)


def test_a_hub_that_goes_away_is_waited_for(home: Path) -> None:
    hub = SmallHub(events=story()[:3])
    reading = follow(Client.over_socket(home / "hub.sock"), RUN, 0)
    with serve(hub, home / "hub.sock"):
        first = [next(reading) for _ in range(4)]
        assert isinstance(next(reading), Pause)
    hub.events = story()
    with serve(hub, home / "hub.sock"):
        rest = list(reading)
    frames = [frame.envelope["seq"] for frame in [*first, *rest] if isinstance(frame, Event)]
    assert frames == [1, 2, 3, 4, 5, 6]
    assert any(isinstance(frame, Pause) and frame.back for frame in rest)


def test_patience_has_an_end(home: Path) -> None:
    hub = SmallHub(events=story()[:1])
    reading = follow(Client.over_socket(home / "hub.sock"), RUN, 0, patience=0.2)
    with serve(hub, home / "hub.sock"):
        next(reading)
    with pytest.raises(HubUnreachable, match="nothing is lost"):
        list(reading)


def test_a_refused_reader_does_not_insist(home: Path, hub: SmallHub) -> None:
    with pytest.raises(HubRefused):
        list(follow(Client.over_socket(home / "hub.sock"), RUN.replace("a", "b") + "/../x", 0, is_known=True))


def test_a_true_gap_is_told(home: Path) -> None:
    from integrations.cli.follow import Position

    position = Position(7, True)
    assert position.take(Gap(7, 12)) and position.last == 11
    assert not position.take(Event("", event(11, "run.output")))
    assert position.take(Event("", event(12, "run.output")))


@pytest.mark.parametrize(
    ("ending", "code"),
    [("run.completed", Exit.OK), ("run.failed", Exit.FAILED), ("run.cancelled", Exit.CANCELLED)],
)
def test_the_exit_code_is_the_runs_outcome(cli: Cli, hub: SmallHub, ending: str, code: Exit) -> None:
    hub.events = story(ending=ending)
    assert cli("logs", RUN, "--follow") == code
    assert cli("logs", RUN, "--follow", "--json") == code


def test_a_cut_is_said_on_standard_error(cli: Cli, hub: SmallHub, capsys: Capture) -> None:
    hub.cut_every = 3
    assert cli("logs", RUN, "--follow") == Exit.OK
    told = capsys.readouterr()
    assert "waiting for it to come back" in told.err and "nothing was missed" in told.err
    assert "Hello, world.\n" in told.out


def test_with_json_events_are_passed_on_as_they_came(cli: Cli, hub: SmallHub, capsys: Capture) -> None:
    cli("logs", RUN, "--follow", "--json")
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line) for line in lines] == hub.events
    assert lines[0] == json.dumps(hub.events[0])


def test_logs_without_follow_reads_pages(cli: Cli, hub: SmallHub, capsys: Capture) -> None:
    def page(seen: object) -> tuple[int, object]:
        after = int(seen.query["after"][0])  # type: ignore[attr-defined]
        return 200, {"results": hub.events[after : after + 4], "next": None, "last_seq": 6, "state": "running"}

    hub.routes["GET", f"/api/v1/runs/{RUN}/events"] = page
    assert cli("logs", RUN, "--json", "--after", "1") == Exit.OK
    assert [json.loads(line)["seq"] for line in capsys.readouterr().out.splitlines()] == [2, 3, 4, 5, 6]
