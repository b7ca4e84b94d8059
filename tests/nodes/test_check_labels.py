"""Pools and labels: what a node may have an agent may ask for, and nothing else."""

from typing import Any

import pytest

from agenthub_site.accounts.actors import SYSTEM
from agents.models import Agent
from agents.services.agents import edit_agent
from nodes.contract.errors import Invalid
from nodes.labels import MOST_ASKED_FOR, MOST_OF_A_NODE
from nodes.models import Node
from nodes.services import edit_node


def refused(do: Any, thing: Any, field: str, value: Any, **more: Any) -> str:
    with pytest.raises(Invalid) as error:
        do(thing, by=SYSTEM, **{field: value}, **more)
    return str(error.value.data["fields"][field][0])


@pytest.mark.parametrize("labels", [{"": "x"}, {"a" * 64: "x"}, {"a": "x" * 257}, {"a": 1}, {"a": "\x00"}, ["a"]])
def test_labels_that_do_not_fit_are_refused_alike(agent: Agent, oslo: Node, labels: Any) -> None:
    why = refused(edit_node, oslo, "labels", labels).replace(str(MOST_OF_A_NODE), str(MOST_ASKED_FOR))
    assert why == refused(edit_agent, agent, "node_labels", labels, node=None)


@pytest.mark.parametrize("pool", ["a b", "a" * 65, "ä", "a\n"])
def test_a_pool_that_does_not_fit_is_refused(agent: Agent, oslo: Node, pool: str) -> None:
    refused(edit_agent, agent, "pool", pool, node=None)
    refused(edit_node, oslo, "pool", pool)


def test_a_node_has_more_labels_than_an_agent_asks_for(agent: Agent, oslo: Node) -> None:
    many = {f"label-{number}": "yes" for number in range(MOST_OF_A_NODE)}
    assert edit_node(oslo, by=SYSTEM, labels=many).labels == many
    assert f"at most {MOST_ASKED_FOR} texts" in refused(edit_agent, agent, "node_labels", many, node=None)
