"""The official MCP client, in both eras of the protocol, under each of the two servers."""

import json

import pytest

from tests.mcp.test_serve import NEW, OLD, client, use

from .conftest import HubProcess


@pytest.mark.parametrize(("mode", "version"), [("auto", NEW), ("legacy", OLD)])
async def test_both_eras_are_answered(hub: HubProcess, mode: str, version: str) -> None:
    async with client(f"{hub.url}/mcp", hub.alice, mode) as alice:
        assert alice.protocol_version == version
        assert (await use(alice, "hub_status"))["ok"]
        assert (await use(alice, "assignment_list"))["error"] == "AGENTS_ONLY"
        assert len((await alice.list_tools()).tools) == 16
        (message,) = (await alice.get_prompt("worker")).messages
        assert "assignment_claim" in json.dumps(message.model_dump())
        assert len((await alice.list_resource_templates()).resource_templates) == 4
