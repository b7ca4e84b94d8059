"""A run's page says in words what it waits for or why it ended, and what to do next."""

import re

import pytest
from django.test import Client
from django.urls import reverse

from agenthub_site.pages import words
from agents.models import Agent, Run
from agents.states import ENDED, State
from nodes.contract.reasons import Reason
from tests.factories import make_agent, make_node, make_run


def said(web: Client, run: Run) -> str:
    """The words under the title, without markup."""
    page = web.get(reverse("run", args=[run.pk])).content.decode()
    found = re.search(r'<p class="run-why"[^>]*>(.*?)</p>', page, re.DOTALL)
    return re.sub(r"<[^>]+>", "", found[1]) if found else ""


@pytest.mark.parametrize(
    ("state", "reason", "parts"),
    [
        (State.QUEUED, Reason.QUEUED, ("Waiting for its turn", "starts by itself")),
        (State.QUEUED, Reason.NODE_OFFLINE, ("node, which is offline", "when the node is back")),
        (State.QUEUED, Reason.CAPACITY, ("free place on its node", "when another run there ends")),
        (State.STARTING, Reason.STARTING, ("starting the runtime", "in a moment")),
        (
            State.STARTING,
            Reason.NODE_OFFLINE,
            ("node, which is offline", "or cancel the run"),
        ),
        (State.WAITING, Reason.APPROVAL, ("Waiting for an approval", "Answer the question")),
        (State.WAITING, Reason.INPUT, ("Waiting for your next prompt", "Write below")),
        (State.STOPPING, Reason.CANCEL_REQUESTED, ("Stopping", "ends by itself")),
        (State.LOST, Reason.NODE_SILENT, ("fate is unknown", "look at the machine")),
        (State.FAILED, Reason.RUNTIME_NOT_INSTALLED, ("not installed", "Install it there")),
        (State.FAILED, Reason.AGENT_EXITED, ("ended with an error", "start another run")),
        (State.TIMED_OUT, Reason.TURN_TIMEOUT, ("longer than the agent allows", "Raise the turn")),
        (State.CANCELLED, Reason.CANCELLED, ("Cancelled before", "run it again")),
    ],
)
def test_each_state_says_what_it_is_about_and_what_to_do(
    web: Client, agent: Agent, state: State, reason: Reason, parts: tuple[str, str]
) -> None:
    text = said(web, make_run(agent=agent, state=state, reason=reason))
    assert all(part in text for part in parts)


def test_a_run_that_works_or_went_well_needs_no_words(web: Client, agent: Agent) -> None:
    for state in (State.RUNNING, State.SUCCEEDED):
        assert said(web, make_run(agent=agent, state=state)) == ""


def test_a_live_run_on_a_silent_node_says_that_it_may_be_old(web: Client) -> None:
    run = make_run(agent=make_agent(node=make_node("lima")), state=State.WAITING)
    assert "Its node has fallen silent" in said(web, run)


def test_an_ended_run_does_not_care_about_its_node(web: Client) -> None:
    run = make_run(agent=make_agent(node=make_node("lima")), state=State.FAILED)
    assert "silent" not in said(web, run)


def test_every_reason_to_wait_or_fail_says_what_to_do() -> None:
    without = {reason for reason, said in words.REASONS.items() if not said.next}
    assert without <= {Reason.FINISHED}


@pytest.mark.parametrize("state", sorted(ENDED))
def test_an_ended_run_offers_to_run_again_and_not_to_cancel(web: Client, agent: Agent, state: State) -> None:
    page = web.get(reverse("run", args=[make_run(agent=agent, state=state).pk])).content.decode()
    assert "Run again" in page and "Cancel this run?" not in page
