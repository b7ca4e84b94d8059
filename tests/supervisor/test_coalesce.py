"""Deltas: the first at once, the rest gathered, nothing lost and nothing out of order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.contract.limits import DELTA_SECONDS
from nodes.server.coalesce import PIECE_CHARS, Coalescer


class Desk:
    def __init__(self) -> None:
        self.now = 100.0
        self.written: list[tuple[str, str]] = []
        self.coalescer = Coalescer[str](lambda key, text: self.written.append((key, text)), lambda: self.now)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_the_first_delta_is_written_at_once(desk: Desk) -> None:
    desk.coalescer.add("a", "Hello")
    assert desk.written == [("a", "Hello")] and desk.coalescer.due is None


def test_what_follows_is_gathered(desk: Desk) -> None:
    for piece in ("one", " two", " three"):
        desk.coalescer.add("a", piece)
    assert desk.written == [("a", "one")] and desk.coalescer.due == desk.now + DELTA_SECONDS
    desk.coalescer.flush()
    assert desk.written == [("a", "one"), ("a", " two three")]


def test_a_pause_makes_the_next_one_the_first_again(desk: Desk) -> None:
    desk.coalescer.add("a", "one")
    desk.now += 2 * DELTA_SECONDS
    desk.coalescer.add("a", "two")
    assert len(desk.written) == 2


def test_a_large_piece_does_not_wait(desk: Desk) -> None:
    desk.coalescer.add("a", "one")
    desk.coalescer.add("a", "x" * 5_000)
    assert len(desk.written) == 2


def test_a_new_kind_of_text_comes_after_what_waits(desk: Desk) -> None:
    desk.coalescer.add("a", "1")
    desk.coalescer.add("a", "2")
    desk.coalescer.add("b", "3")
    assert desk.written == [("a", "1"), ("a", "2"), ("b", "3")]


def test_two_that_take_turns_are_gathered_too(desk: Desk) -> None:
    for _ in range(1_000):
        desk.coalescer.add("out", "o")
        desk.coalescer.add("err", "e")
    desk.coalescer.flush()
    assert len(desk.written) == 4


@given(st.lists(st.tuples(st.sampled_from("ab"), st.text(max_size=30_000), st.floats(0, 0.1)), max_size=20))
def test_no_text_is_lost(pieces: list[tuple[str, str, float]]) -> None:
    desk = Desk()
    for key, text, pause in pieces:
        desk.coalescer.add(key, text)
        desk.now += pause
    desk.coalescer.flush()
    for key in "ab":
        assert "".join(t for k, t in desk.written if k == key) == "".join(t for k, t, _ in pieces if k == key)
    assert all(len(text) <= PIECE_CHARS for _, text in desk.written)
