"""A run whose agent does not want it to go on without the hub is stopped by its supervisor, whoever else has died."""

import pytest

from nodes.server.disconnection import TELLER_SECONDS, Disconnection
from tests.supervisor.conftest import Node, only


@pytest.fixture
def watch() -> Disconnection:
    return Disconnection(60, lambda: None)


def test_time_without_the_hub_adds_up(watch: Disconnection) -> None:
    assert [watch.pass_time(20) for _ in range(3)] == [False, False, True]


def test_word_of_the_hub_begins_the_count_again(watch: Disconnection) -> None:
    watch.pass_time(59)
    watch.told(True)
    watch.told(False)
    assert not watch.pass_time(59)
    assert watch.pass_time(1)


def test_that_the_hub_is_away_counts_from_the_first_word_of_it(watch: Disconnection) -> None:
    watch.told(True)
    watch.told(False)
    watch.pass_time(40)
    watch.told(False)  # the node server was replaced, and its successor knows no better
    assert watch.pass_time(20)


def test_a_node_server_that_has_fallen_silent_is_believed_for_a_while_only(watch: Disconnection) -> None:
    watch.told(True)
    assert not watch.pass_time(60 + TELLER_SECONDS - 1)
    assert watch.pass_time(1)


def test_a_run_without_the_setting_is_never_stopped() -> None:
    watch = Disconnection(None, lambda: None)
    assert not watch.is_watched and not watch.pass_time(1e9)


async def test_a_run_that_nobody_speaks_to_is_stopped_and_says_why(node: Node) -> None:
    events = await node.finish("sh", "-c", "echo at work; exec sleep 300", stop_after_seconds=2.0)
    ending = only(events, "run.failed")
    assert ending["reason"] == "disconnected"
    assert ending["message"] == "Stopped on its node, which was without its hub for 2 seconds."
    said = [(event.payload["state"], event.payload["reason"]) for event in events if event.type == "run.state.changed"]
    assert said == [("stopping", "disconnected")] and node.leftovers() == []


@pytest.mark.parametrize(("seconds", "asks"), [(600.0, True), (None, False)])
async def test_a_supervisor_asks_for_word_of_the_hub_only_where_it_matters(
    node: Node, seconds: float | None, asks: bool
) -> None:
    run = await node.start("sleep", "300", stop_after_seconds=seconds)
    client = await node.connect(run)
    assert client.hello.asks_link is asks
    await client.aclose()
