"""Tools as agents call them, without the wire; and the real server, for those who want the wire."""

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

from agenthub_site.accounts.actors import Actor
from integrations.mcp.tool import Asking, find_tool, told
from nodes.contract.errors import HubError
from tests.coordination.conftest import Crew, crew, eve  # noqa: F401

T = TypeVar("T")
Call = Callable[..., dict[str, Any]]


async def inline(work: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """In the test's own thread, and so in its transaction."""
    return work(*arguments, **named)


def at_once(answer: Coroutine[Any, Any, T]) -> T:
    """What it returns, without a loop: nothing in it waits."""
    try:
        answer.send(None)
    except StopIteration as done:
        said: T = done.value
        return said
    raise AssertionError("It waits for something.")


def call(actor: Actor, tool: str, **arguments: Any) -> dict[str, Any]:
    """The tool's answer, or its error."""
    try:
        return at_once(find_tool(actor, tool).call(Asking(actor, inline), arguments))
    except HubError as error:
        return told(error)


@pytest.fixture
def ada(crew: Crew) -> Call:  # noqa: F811
    """The dispatcher's tools."""
    return lambda tool, **arguments: call(crew.ada, tool, **arguments)


@pytest.fixture
def wim(crew: Crew) -> Call:  # noqa: F811
    return lambda tool, **arguments: call(crew.wim, tool, **arguments)


@pytest.fixture
def zoe(crew: Crew) -> Call:  # noqa: F811
    return lambda tool, **arguments: call(crew.zoe, tool, **arguments)
