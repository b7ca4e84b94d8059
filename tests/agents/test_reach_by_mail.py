"""Mail finds its agent: told to the live session, or a run is started for it; it stays open until it is acked."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from agenthub_site.accounts.actors import SYSTEM, Entry
from agenthub_site.accounts.authentication import actor_of
from agenthub_site.accounts.models import Membership, Project, Role, User
from agents.mail.acting import actor_of_agent
from agents.mail.reach import AGAIN, IN_ONE_TICK, Reach
from agents.models import Agent, Run
from agents.scheduler import tick
from agents.services.agents import edit_agent
from agents.services.answers import take_answer
from agents.services.losses import fail_run
from agents.states import State
from mailboxes.limits import TELLINGS
from mailboxes.models import Delivery
from mailboxes.services import Address, inbox, send
from nodes.contract.reasons import Reason
from nodes.models import Command, Node, Route
from nodes.routes import add_route
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


@pytest.fixture
def woken_for_alice(mender: Agent, alice: User) -> Agent:
    Route.objects.all().delete()
    add_route(mender.project, by=SYSTEM, node=mender.node)
    agent = edit_agent(mender, by=actor_of(alice), wake_on_mail=True, worktree_repo="/srv/repo")
    Route.objects.all().delete()
    return agent


@pytest.mark.parametrize(
    ("whose", "entry", "is_led"),
    [("alice", "trigger", True), ("alice", "web", False), ("bob", "trigger", False), (None, "trigger", True),
     (None, "web", False)],
)  # fmt: skip
def test_mail_wakes_for_who_saved_the_agent_by_their_routes(
    woken_for_alice: Agent, bob: User, whose: str | None, entry: str, *, is_led: bool
) -> None:
    node, user = woken_for_alice.node, User.objects.filter(username=whose).first()
    add_route(woken_for_alice.project, by=SYSTEM, node=node, user=user, entries=[entry])
    write(woken_for_alice)
    assert Reach().tick(timezone.now()) == is_led
    mine = Run.objects.filter(user__username="alice", entry=Entry.TRIGGER)
    assert (mine.count(), Run.objects.count()) == (is_led, is_led)


def test_a_woken_run_that_waited_is_placed_by_the_routes_that_let_it_start(woken_for_alice: Agent, alice: User) -> None:
    add_route(woken_for_alice.project, by=SYSTEM, node=woken_for_alice.node, user=alice)
    Node.objects.update(is_cordoned=True)
    write(woken_for_alice)
    assert Reach().tick(timezone.now()) == 1
    assert Run.objects.get().state == State.QUEUED
    Node.objects.update(is_cordoned=False)
    tick(timezone.now())
    assert Run.objects.get().state == State.STARTING


def test_who_changes_a_waking_agent_lends_it_their_own_routes(woken_for_alice: Agent, alice: User, bob: User) -> None:
    add_route(woken_for_alice.project, by=SYSTEM, node=woken_for_alice.node, user=alice)
    Membership.objects.filter(user=bob).update(role=Role.OWNER)
    edit_agent(woken_for_alice, by=actor_of(bob), description="Mine now")
    write(woken_for_alice)
    assert Reach().tick(timezone.now()) == 0


def test_mail_wakes_for_nobody_who_left_and_an_agent_of_nobodys_only_by_routes_for_all(
    woken_for_alice: Agent, alice: User
) -> None:
    add_route(woken_for_alice.project, by=SYSTEM, node=woken_for_alice.node, entries=["trigger"])
    write(woken_for_alice)
    Membership.objects.filter(user=alice).delete()
    assert Reach().tick(timezone.now()) == 0
    Agent.objects.update(wakes_for=None)
    assert Reach().tick(timezone.now()) == 1
    assert Run.objects.get().user is None


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


def refuse(command: Command) -> None:
    take_answer(command.pk, command.node_id, accepted=False, code="run_ended", message="It is over.")


def test_what_is_refused_is_sent_again_to_the_same_session_a_few_times(mender: Agent) -> None:
    make_run(agent=mender)
    write(mender)
    told = []
    for _ in range(TELLINGS + 1):
        told.append(Reach().tick(timezone.now()))
        refuse(inputs()[-1])
    assert told == [1] * TELLINGS + [0]
    assert len({command.key for command in inputs()}) == TELLINGS
    assert len(inbox(Address.of("agent", mender.pk)).results) == 1


def test_mail_of_a_run_that_cannot_hear_yet_waits_for_it(mender: Agent) -> None:
    first, starting = make_run(agent=mender), make_run(agent=mender, state=State.STARTING)
    write(mender, run_id=starting.pk)
    write(mender, run_id=make_run().pk)  # of its sender's run
    assert Reach().tick(timezone.now()) == 1
    assert [command.run for command in inputs()] == [first.pk]
    Run.objects.filter(pk=starting.pk).update(state=State.RUNNING)
    assert Reach().tick(timezone.now()) == 1
    assert inputs()[-1].run == starting.pk


def test_much_mail_of_one_agent_keeps_no_other_waiting(
    project: Project, mender: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agents.mail.reach.AT_ONCE", 12)
    tester = make_agent("tester", project=project)
    for agent in (mender, tester):
        make_run(agent=agent)
    for number in range(IN_ONE_TICK + 5):
        write(mender, str(number))
    write(tester)
    assert Reach().tick(timezone.now()) == IN_ONE_TICK + 1
    assert Reach().tick(timezone.now()) == 5


def test_who_has_mail_is_woken_however_many_have_none(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.mail.reach.AT_ONCE", 1)
    sleepers = [make_agent(f"sleeper-{number}", project=project, wake_on_mail=True) for number in range(3)]
    for sleeper in sleepers[1:]:
        write(sleeper)
    reach = Reach()
    assert [reach.tick(timezone.now()) for _ in range(3)] == [1, 1, 0]
    assert set(Run.objects.values_list("agent", flat=True)) == {sleeper.pk for sleeper in sleepers[1:]}


def test_the_mail_of_a_run_that_failed_wakes_again_later_a_few_times(mender: Agent) -> None:
    Agent.objects.filter(pk=mender.pk).update(wake_on_mail=True)
    write(mender)
    reach, now = Reach(), timezone.now()
    for number in range(1, TELLINGS + 1):
        assert reach.tick(now) == 1
        assert Run.objects.count() == number
        fail_run(Run.objects.get(ended_at=None).pk, reason=Reason.REFUSED, message="No.")
        assert reach.tick(now) == 0
        now += AGAIN + timedelta(seconds=1)
    assert reach.tick(now) == 0
    assert not Delivery.objects.exclude(told_run=None)


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.CANCELLED])
def test_a_run_that_ended_well_or_by_wish_is_not_started_again_for_its_mail(mender: Agent, state: State) -> None:
    Agent.objects.filter(pk=mender.pk).update(wake_on_mail=True)
    write(mender)
    reach, now = Reach(), timezone.now()
    assert reach.tick(now) == 1
    Run.objects.update(state=state, ended_at=now)
    assert reach.tick(now + AGAIN * 2) == 0


def test_a_broadcast_is_not_looked_at_again(mender: Agent) -> None:
    write(mender, audience="team:all")
    assert not Delivery.objects.filter(told_at=None)
