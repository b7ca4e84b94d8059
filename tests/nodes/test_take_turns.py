import asyncio

import pytest

from agenthub_site.turns import Turns
from nodes.contract.errors import Unavailable
from tests.support import eventually_async


async def stay(turns: Turns, inside: list[str], name: str, leave: asyncio.Event) -> None:
    async with turns.turn():
        inside.append(name)
        await leave.wait()


async def test_so_many_are_let_in_at_once_and_the_others_in_the_order_they_came() -> None:
    turns, inside, leave = Turns(at_once=2), list[str](), asyncio.Event()
    tasks = [asyncio.create_task(stay(turns, inside, name, leave)) for name in "abcd"]
    await eventually_async(lambda: len(inside) == 2)
    leave.set()
    await asyncio.gather(*tasks)
    assert inside == ["a", "b", "c", "d"]


async def test_who_comes_when_the_line_is_full_is_sent_away() -> None:
    turns, leave = Turns(at_once=1, most_waiting=1), asyncio.Event()
    inside: list[str] = []
    tasks = [asyncio.create_task(stay(turns, inside, name, leave)) for name in "ab"]
    await eventually_async(lambda: turns._waiting == 1)
    with pytest.raises(Unavailable):
        async with turns.turn():
            pass
    leave.set()
    await asyncio.gather(*tasks)


async def test_a_turn_given_up_early_is_the_next_ones_and_can_be_taken_again() -> None:
    turns = Turns(at_once=1)
    async with turns.turn() as first:
        first.end()
        first.end()
        async with turns.turn() as second:
            second.end()
            await first.begin()
    async with asyncio.timeout(30), turns.turn():
        pass


async def test_who_leaves_the_line_takes_no_turn_from_the_others() -> None:
    turns, leave, inside = Turns(at_once=1), asyncio.Event(), list[str]()
    first = asyncio.create_task(stay(turns, inside, "a", leave))
    gone = asyncio.create_task(stay(turns, inside, "b", leave))
    await eventually_async(lambda: turns._waiting == 1)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    leave.set()
    await first
    async with asyncio.timeout(30), turns.turn():
        pass
