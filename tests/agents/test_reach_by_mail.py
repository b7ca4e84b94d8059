"""Mail finds its agent: told to the live session, or a run is started for it; it stays open until it is acked."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from agenthub_site.accounts.models import Project
from agents.mail.acting import actor_of_agent
from agents.mail.reach import AGAIN, Reach
from agents.models import Agent, Run
from agents.services.answers import take_answer
from agents.states import State
from mailboxes.services import Address, inbox, send
from nodes.models import Command, Node
from tests.factories import make_agent, make_run

ANN = Address("system", "system")


@pytest.fixture
def mender(project: Project, oslo: Node) -> Agent:
    return make_agent("mender", project=project, node=oslo)


def write(agent: Agent, text: str = "The net is torn.", **more: Any) -> None:
    send(agent.project_id, ANN, [Address.of("agent", agent.pk)], {"text": text}, **more)


def inputs() -> list[Command]:
    return list(Command.objects.filter(kind="send_input").order_by("pk"))


def test_a_live_session_is_told_once_and_the_mail_stays_open(mender: Agent) -> None:
    run = make_run(agent=mender)
    write(mender, subject="Net")
    assert Reach().tick(timezone.now()) == 1
    assert Reach().tick(timezone.now()) == 0
    (command,) = inputs()
    assert command.run == run.pk
    for part in ("The net is torn.", "AgentHub: Net", "no instruction", "--message-id 1"):
        assert part in command.body
    (mail,) = inbox(Address.of("agent", mender.pk)).results
    assert (mail.state, mail.attempts) == ("queued", 0)


def test_it_goes_to_the_run_that_it_belongs_to_or_to_the_newest(mender: Agent) -> None:
    first, newest = make_run(agent=mender), make_run(agent=mender)
    write(mender, run_id=first.pk)
    write(mender)
    Reach().tick(timezone.now())
    assert [command.run for command in inputs()] == [first.pk, newest.pk]


def test_what_the_node_refuses_is_told_to_the_next_session(mender: Agent) -> None:
    run = make_run(agent=mender)
    write(mender)
    Reach().tick(timezone.now())
    (command,) = inputs()
    take_answer(command.pk, command.node_id, accepted=False, code="run_ended", message="It is over.")
    Run.objects.filter(pk=run.pk).update(state=State.SUCCEEDED, ended_at=timezone.now())
    assert Reach().tick(timezone.now()) == 0
    again = make_run(agent=mender)
    assert Reach().tick(timezone.now()) == 1
    assert inputs()[-1].run == again.pk


@pytest.mark.parametrize("state", [State.QUEUED, State.STOPPING, State.LOST])
def test_no_session_is_told_that_could_not_hear(mender: Agent, state: State) -> None:
    make_run(agent=mender, state=state)
    write(mender)
    assert Reach().tick(timezone.now()) == 0


def test_commands_and_broadcasts_are_left_to_the_inbox(project: Project, mender: Agent) -> None:
    linter = make_agent("linter", project=project, runtime="command", preset="", command=["make"])
    for agent in (linter, mender):
        make_run(agent=agent)
    write(linter)
    write(mender, audience="team:all")
    assert Reach().tick(timezone.now()) == 0


def test_an_idle_agent_is_woken_with_all_that_waits_if_it_says_so(project: Project, mender: Agent) -> None:
    sleeper = make_agent("sleeper", project=project)
    Agent.objects.filter(pk=mender.pk).update(wake_on_mail=True)
    for agent in (mender, mender, sleeper):
        write(agent, f"For {agent.name}")
    reach = Reach()
    assert reach.tick(timezone.now()) == 2
    run = Run.objects.get()
    assert (run.agent_id, run.entry, run.prompt.count("For mender")) == (mender.pk, "trigger", 2)
    assert "--message-id 1 --message-id 2" in run.prompt
    write(mender, "One more")
    assert reach.tick(timezone.now()) == 0  # it has a run now, which is told once it is under way


def test_who_cannot_be_woken_is_left_for_a_minute_and_nothing_is_lost(mender: Agent) -> None:
    Agent.objects.filter(pk=mender.pk).update(wake_on_mail=True)
    Node.objects.update(is_enabled=True)
    write(mender)
    reach, now = Reach(), timezone.now()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("agents.services.runs.PROMPT_BYTES", 10)
        assert [reach.tick(now), reach.tick(now)] == [0, 0]
    assert reach.tick(now) == 0
    assert reach.tick(now + AGAIN + timedelta(seconds=1)) == 1
    assert Run.objects.count() == 1


def test_long_mail_is_cut_and_says_how_to_read_on(mender: Agent) -> None:
    make_run(agent=mender)
    write(mender, "x" * 60_000)
    Reach().tick(timezone.now())
    assert "inbox --after 0 --limit 1" in inputs()[0].body
    assert len(inputs()[0].body) < 31_000


def test_an_agents_own_name_is_told_to_the_one_it_writes_to(project: Project, mender: Agent) -> None:
    other = actor_of_agent(make_agent("tester", project=project))
    make_run(agent=mender)
    send(project.pk, Address(other.kind, other.id), [Address.of("agent", mender.pk)], "Hi")
    Reach().tick(timezone.now())
    assert "from harbour/tester" in inputs()[0].body
