"""Tools as agents call them, without the wire; and the real server, for those who want the wire."""

from collections.abc import Callable
from typing import Any

import pytest

from agenthub_site.accounts.actors import Actor
from integrations.mcp.tool import find_tool, told
from nodes.contract.errors import HubError
from tests.coordination.conftest import Crew, crew, eve  # noqa: F401

Call = Callable[..., dict[str, Any]]


def call(actor: Actor, tool: str, **arguments: Any) -> dict[str, Any]:
    """The tool's answer, or its error."""
    try:
        return find_tool(actor, tool).call(actor, arguments)
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
