"""What the hub counts by itself of reaching a node: rates, clocks, and the last trouble."""

from datetime import UTC, datetime

import pytest

from nodes.contract.errors import HubError
from nodes.contract.limits import HEARTBEAT_SECONDS
from nodes.leases import LeaseLost
from nodes.link.errors import LinkClosed, LinkSilent, NodeUnreachable, PeerRefused
from nodes.measured import AGAIN_SECONDS, LEAST_ATTEMPTS, WINDOW_SECONDS, Measured

NOW = datetime(2026, 11, 21, 8, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Watched:
    """What is measured of a node, on a clock of the test's."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.measured = Measured(self.clock)

    def hear(self, beats: int) -> None:
        for _ in range(beats):
            self.clock.now += HEARTBEAT_SECONDS
            self.measured.beat(1.0, 0, 0)

    def fail(self, error: HubError | None = None, times: int = 1, every: float = HEARTBEAT_SECONDS) -> None:
        for _ in range(times):
            self.clock.now += every
            self.measured.failed(error or NodeUnreachable(), NOW)

    @property
    def rate(self) -> float | None:
        return self.measured.failure_rate


@pytest.fixture
def node() -> Watched:
    watched = Watched()
    watched.measured.reached()
    return watched


def test_few_attempts_tell_no_rate(node: Watched) -> None:
    node.fail(times=2)
    node.hear(LEAST_ATTEMPTS - 4)
    assert node.rate is None
    node.hear(1)
    assert node.rate == 2 / LEAST_ATTEMPTS


def test_a_link_that_holds_has_no_failures(node: Watched) -> None:
    node.hear(500)
    assert node.rate == 0


def test_a_node_that_nobody_reaches_fails_always() -> None:
    node = Watched()
    node.fail(times=LEAST_ATTEMPTS)
    assert node.rate == 1


def test_knocking_often_within_a_heartbeat_is_one_attempt(node: Watched) -> None:
    node.hear(98)
    node.fail(times=40, every=0.1)
    assert node.rate == 0.01


def test_a_node_does_not_improve_its_rate_by_beating_fast(node: Watched) -> None:
    node.hear(80)
    node.fail()
    rate = node.rate
    for _ in range(5_000):
        node.clock.now += 0.0005
        node.measured.beat(1.0, 0, 0)
    assert rate and node.rate == pytest.approx(rate, rel=0.05)


def test_what_failed_before_the_first_link_does_not_count() -> None:
    node = Watched()
    node.fail(times=30)
    node.measured.reached()
    node.hear(LEAST_ATTEMPTS)
    assert node.rate == 0


def test_a_node_that_said_goodbye_is_not_blamed_for_being_away(node: Watched) -> None:
    node.hear(50)
    node.fail(LinkClosed("The node server is stopping.", code="stopping"))
    node.fail(times=10)
    node.measured.reached()
    node.hear(1)
    assert node.rate == 0
    node.fail(LinkSilent())
    assert node.rate


@pytest.mark.parametrize("error", [LeaseLost(), LinkClosed("Taken over.", code="superseded")])
def test_what_is_nobodys_fault_is_no_failure(node: Watched, error: HubError) -> None:
    node.hear(50)
    node.fail(error)
    assert node.rate == 0 and node.measured.as_row()["trouble"] is None


def test_what_is_long_ago_is_forgotten(node: Watched) -> None:
    node.fail(times=30)
    node.clock.now += WINDOW_SECONDS
    node.hear(LEAST_ATTEMPTS)
    assert node.rate == 0


@pytest.mark.parametrize(("latency", "clock", "skew"), [(None, 2_000_000, 2.0), (500.0, -1_000_000, -0.75)])
def test_a_nodes_clock_is_compared_with_ours_less_the_way(latency: float | None, clock: int, skew: float) -> None:
    measured = Measured()
    measured.beat(latency, clock, 0)
    assert measured.clock_skew_s == skew


def test_the_last_trouble_is_kept_in_its_words_until_the_next_link(node: Watched) -> None:
    node.fail(PeerRefused("unauthorized: \x00 no.", cause="unauthorized"))
    assert node.measured.as_row()["trouble"] == {
        "code": "link_refused", "cause": "unauthorized", "text": "unauthorized: \ufffd no.", "at": NOW.isoformat(),
    }  # fmt: skip
    node.measured.reached()
    assert node.measured.as_row()["trouble"] is None


def test_the_same_trouble_is_written_now_and_then_and_another_at_once(node: Watched) -> None:
    assert not node.measured.is_worth_writing()
    written = []
    for _ in range(int(2 * AGAIN_SECONDS / HEARTBEAT_SECONDS)):
        node.fail()
        written.append(node.measured.is_worth_writing())
    assert sum(written) == 2
    node.fail(PeerRefused())
    assert node.measured.is_worth_writing()
