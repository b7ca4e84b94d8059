"""Names whose resolver does not answer hold up nobody but who waits for them, and that for a bounded time."""

import threading
from collections.abc import Iterator

import pytest

from agents.webhooks.lookups import Lookups
from agents.webhooks.posting import post


class Resolver:
    """Answers at once; for names that begin with ``slow`` not before it is let go."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.let_go = threading.Event()

    def __call__(self, host: str) -> list[str]:
        self.asked.append(host)
        if host.startswith("slow"):
            self.let_go.wait()
        if host.startswith("unknown"):
            raise OSError("no such name")
        return ["93.184.215.14"]


@pytest.fixture
def resolver() -> Iterator[Resolver]:
    resolver = Resolver()
    yield resolver
    resolver.let_go.set()


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("look-up ")]


def test_a_resolver_that_hangs_is_left_behind_and_the_others_go_on(resolver: Resolver) -> None:
    lookups = Lookups(resolver, seconds=0.01)
    answer = post("https://slow.example.com/", {}, b"", [], lookups)
    assert (answer.status, answer.error) == (
        0, "There was no answer in time: no name server has told the address of slow.example.com within 0.01 s",
    )  # fmt: skip
    lookups = Lookups(resolver, seconds=60)
    assert lookups.find("quick.example.com") == ["93.184.215.14"]


def test_names_that_never_answer_hold_one_thread_each_and_no_more_than_a_bound(resolver: Resolver) -> None:
    lookups = Lookups(resolver, seconds=0.01, at_once=3)
    for number in range(3):
        for _ in range(4):
            with pytest.raises(TimeoutError):
                lookups.find(f"slow-{number}.example.com")
    assert len(threads()) == len(resolver.asked) == 3
    with pytest.raises(OSError, match="3 other names"):
        lookups.find("quick.example.com")
    assert lookups.find("192.0.2.7") == ["192.0.2.7"]  # an address needs no name server


def test_what_comes_late_is_told_to_who_still_waits_and_makes_room(resolver: Resolver) -> None:
    lookups = Lookups(resolver, seconds=60, at_once=1)
    found: list[object] = []
    waiting = threading.Thread(target=lambda: found.append(lookups.find("slow.example.com")))
    waiting.start()
    resolver.let_go.set()
    waiting.join(60)
    assert found == [["93.184.215.14"]]
    assert lookups.find("quick.example.com") == ["93.184.215.14"]


def test_a_name_that_leads_nowhere_is_asked_for_anew(resolver: Resolver) -> None:
    lookups = Lookups(resolver)
    for _ in range(2):
        with pytest.raises(OSError, match="no such name"):
            lookups.find("unknown.example.com")
    assert resolver.asked == ["unknown.example.com"] * 2
