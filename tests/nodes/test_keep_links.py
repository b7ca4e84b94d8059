"""Which nodes the control plane keeps a link to."""

import pytest

from agenthub_site.controlplane import nodes_to_dial
from agents.models import Agent
from agents.states import ENDED, ON_NODE, State
from nodes.contract.commands import CancelRun
from nodes.models import Node
from nodes.outbox import answer_command, queue_command
from tests.factories import make_run


@pytest.fixture
def oslo(oslo: Node) -> Node:
    oslo.grpc_target = "127.0.0.1:1"
    oslo.save(update_fields=["grpc_target"])
    return oslo


@pytest.mark.parametrize("state", sorted(ON_NODE))
def test_a_disabled_node_keeps_its_link_while_it_has_runs(agent: Agent, oslo: Node, state: State) -> None:
    make_run(agent=agent, state=state)
    Node.objects.update(is_enabled=False)
    assert nodes_to_dial("hub-a") == [oslo.pk]


@pytest.mark.parametrize("state", sorted(ENDED | {State.QUEUED}))
def test_a_disabled_node_without_runs_loses_it(agent: Agent, oslo: Node, state: State) -> None:
    make_run(agent=agent, state=state)
    assert nodes_to_dial("hub-a") == [oslo.pk]
    Node.objects.update(is_enabled=False)
    assert nodes_to_dial("hub-a") == []


def test_a_disabled_node_is_still_told_to_stop_what_the_hub_gave_up(agent: Agent, oslo: Node) -> None:
    run = make_run(agent=agent, state=State.CANCELLED)
    command = queue_command(oslo.pk, CancelRun(run=str(run.pk)), run=run.pk)
    Node.objects.update(is_enabled=False)
    assert nodes_to_dial("hub-a") == [oslo.pk]
    answer_command(command.pk, oslo.pk, accepted=True)
    assert nodes_to_dial("hub-a") == []
