"""Runs of agents that are bound to no node: to which they go, what they wait for, and that they never move."""

import threading
from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agenthub_site.accounts.actors import SYSTEM
from agenthub_site.accounts.authentication import actor_of
from agenthub_site.accounts.models import Project, User
from agents import reconciler, scheduler
from agents.models import Agent, Run, RunEvent
from agents.queries import waiting_for
from agents.scheduler import tick
from agents.services.agents import edit_agent
from agents.services.placing import place_runs
from agents.services.runs import start_run
from agents.states import State
from audit.models import AuditEvent, Stream
from nodes.contract.commands import StartRun
from nodes.contract.errors import Invalid
from nodes.contract.limits import NODE_GONE_SECONDS
from nodes.contract.reasons import Reason
from nodes.models import Command, Node
from tests.factories import make_agent, make_node, make_project, make_run

TOMORROW = timezone.now() + timedelta(days=1)


@pytest.fixture
def gpus(db: None) -> list[Node]:
    """Two nodes of the pool ``gpu``, and one beside them."""
    make_node("oslo")
    return [make_node(f"gpu-0{n}", pool="gpu", capacity=2, labels={"arch": "arm64"}) for n in (1, 2)]


@pytest.fixture
def anywhere(gpus: list[Node], project: Project) -> Agent:
    """An agent that runs on any node of the pool."""
    return make_pool_agent("any", project=project)


def make_pool_agent(name: str, pool: str = "gpu", project: Project | None = None, **labels: str) -> Agent:
    return Agent.objects.create(
        name=name,
        project=project or make_project(),
        pool=pool,
        node_labels=labels,
        preset="scripted",
        worktree_repo="/srv/quay",
    )


def make_queued(agent: Agent, number: int = 1) -> list[Run]:
    return [make_run(agent=agent, state=State.QUEUED) for _ in range(number)]


def fresh(run: Run) -> Run:
    return Run.objects.get(pk=run.pk)


def places(runs: list[Run]) -> list[str]:
    return [fresh(run).runs_on for run in runs]


def test_a_run_starts_at_once_on_a_node_that_fits(anywhere: Agent) -> None:
    run = start_run(anywhere, by=SYSTEM, prompt="Go.")
    command = Command.objects.get(run=run.pk)
    assert (fresh(run).state, fresh(run).runs_on, command.node_id) == (State.STARTING, "node:gpu-01", run.node_id)
    assert (command.number, command.kind, fresh(run).placed_at is not None) == (1, "start_run", True)
    assert AuditEvent.objects.get(name="run.starting").node == run.node_id


def test_runs_spread_over_the_nodes_that_fit(anywhere: Agent) -> None:
    runs = make_queued(anywhere, 5)
    assert tick(timezone.now()) == 4
    assert sorted(places(runs)) == ["any node of pool gpu", *["node:gpu-01"] * 2, *["node:gpu-02"] * 2]
    assert waiting_for(fresh(runs[-1])) == "a free place: all 2 nodes of pool gpu are full"


def test_an_agent_that_no_node_could_start_holds_up_nobody_else(anywhere: Agent) -> None:
    broken = make_pool_agent("broken")
    Agent.objects.filter(pk=broken.pk).update(approval_seconds=-1, turn_seconds=0)  # as an older hub let it be saved
    (bad,), (good,) = make_queued(broken), make_queued(anywhere)
    assert tick(timezone.now()) == 1
    assert (fresh(bad).state, fresh(bad).reason, fresh(good).state) == (State.FAILED, Reason.REFUSED, State.STARTING)
    assert "approval_seconds" in fresh(bad).message and "turn_seconds" in fresh(bad).message
    assert RunEvent.objects.get(run=bad).type == "run.failed"
    broken.refresh_from_db()
    with pytest.raises(Invalid) as refused:
        start_run(broken, by=SYSTEM, prompt="Go.")
    assert sorted(refused.value.data["fields"]) == ["approval_seconds", "turn_seconds"]
    assert not Run.objects.filter(agent=broken, state=State.QUEUED).exists()


@pytest.mark.parametrize("wrong", [{"approval_seconds": 0}, {"turn_seconds": -1}, {"turn_seconds": 8 * 86_400}])
def test_an_agents_bounds_are_within_reason(anywhere: Agent, wrong: dict[str, float]) -> None:
    with pytest.raises(Invalid) as refused:
        edit_agent(anywhere, by=SYSTEM, **wrong)
    assert list(refused.value.data["fields"]) == list(wrong)


def test_a_run_that_waits_for_a_place_gets_the_next_one(anywhere: Agent) -> None:
    runs = make_queued(anywhere, 5)
    tick(timezone.now())
    Run.objects.filter(pk=runs[0].pk).update(state=State.SUCCEEDED, ended_at=timezone.now())
    assert tick(timezone.now()) == 1
    assert (fresh(runs[4]).state, fresh(runs[4]).message) == (State.STARTING, "")


def test_a_run_bound_to_a_node_never_goes_elsewhere(lima: Node, gpus: list[Node]) -> None:
    run = start_run(make_agent("far", node=lima), by=SYSTEM, prompt="Go.")
    assert tick(timezone.now()) == 0
    assert (fresh(run).state, fresh(run).reason, fresh(run).node) == (State.QUEUED, Reason.NODE_OFFLINE, lima)
    assert waiting_for(fresh(run)) == "a node: lima is offline"


def test_a_run_whose_node_falls_silent_after_it_was_handed_over_stays_there(anywhere: Agent) -> None:
    run = start_run(anywhere, by=SYSTEM, prompt="Go.")
    Node.objects.filter(pk=run.placed_node_id).update(last_heard_at=timezone.now() - timedelta(minutes=1))
    assert tick(timezone.now()) == 0
    assert (fresh(run).runs_on, Command.objects.count()) == ("node:gpu-01", 1)


def test_a_run_waits_with_the_reason_where_nothing_fits_and_starts_when_something_does(gpus: list[Node]) -> None:
    run = start_run(make_pool_agent("fast", disk="fast"), by=SYSTEM, prompt="Go.")
    assert (run.state, run.reason, run.node) == (State.QUEUED, Reason.NO_MATCHING_NODE, None)
    assert waiting_for(run) == "a node that fits: no node of pool gpu has label disk=fast"
    Node.objects.filter(pk=gpus[1].pk).update(labels={"disk": "fast", "arch": "arm64"})
    assert (tick(timezone.now()), fresh(run).runs_on) == (1, "node:gpu-02")


@pytest.mark.parametrize(
    ("change", "reason", "words"),
    [
        ({"is_cordoned": True}, Reason.NODE_CORDONED, "all 2 nodes of pool gpu are cordoned"),
        ({"is_cordoned": True, "is_draining": True}, Reason.NODE_CORDONED, "all 2 nodes of pool gpu are draining"),
        ({"is_enabled": False}, Reason.NODE_OFFLINE, "all 2 nodes of pool gpu are disabled"),
        ({"last_heard_at": None}, Reason.NODE_OFFLINE, "all 2 nodes of pool gpu are offline"),
        (
            {"last_heard_at": timezone.now() + timedelta(days=1)},
            Reason.NODE_OFFLINE,
            "all 2 nodes of pool gpu are offline",
        ),
        ({"removed_at": timezone.now()}, Reason.NO_MATCHING_NODE, "no node is in pool gpu"),
        (
            {"runtimes": [{"preset": "scripted", "found": True, "logged_in": False}]},
            Reason.NO_MATCHING_NODE,
            "no node of pool gpu has scripted installed and signed in",
        ),
        (
            {"runtimes": [{"preset": "codex", "found": True, "logged_in": True}]},
            Reason.NO_MATCHING_NODE,
            "no node of pool gpu has scripted installed and signed in",
        ),
    ],
)
def test_what_a_run_waits_for_is_written_down_when_it_changes(
    anywhere: Agent, change: dict[str, object], reason: Reason, words: str
) -> None:
    (run,) = make_queued(anywhere)
    Node.objects.filter(pool="gpu").update(**change)
    assert tick(timezone.now()) == 0
    assert (fresh(run).reason, fresh(run).message) == (reason, words)


def test_a_run_is_told_where_its_node_makes_worktrees(gpus: list[Node], anywhere: Agent, project: Project) -> None:
    Node.objects.update(default_worktree_root="/data/worktrees")
    runs = [make_queued(anywhere)[0], start_run(anywhere, by=SYSTEM, prompt="Go.")]
    local = make_agent("here", project=project, node=make_node("local", default_worktree_root="/home/x/worktrees"))
    runs.append(start_run(local, by=SYSTEM, prompt="Go."))
    tick(timezone.now())
    told = [StartRun.model_validate_json(Command.objects.get(run=run.pk).body).workspace for run in runs]
    assert [workspace.worktree_root for workspace in told] == ["/data/worktrees", "/data/worktrees", ""]


def test_nothing_is_written_while_nothing_changes(anywhere: Agent) -> None:
    Node.objects.filter(pool="gpu").update(is_cordoned=True)
    make_queued(anywhere, 3)
    tick(timezone.now())
    with CaptureQueriesContext(
        connection,
    ) as queries:
        tick(timezone.now())
    assert not [query for query in queries if "UPDATE" in query["sql"]]


def test_the_scheduler_reads_as_often_for_many_runs_agents_and_nodes_as_for_few(anywhere: Agent) -> None:
    Node.objects.update(capacity=0)

    def queries_of_a_tick() -> int:
        tick(timezone.now())
        with CaptureQueriesContext(connection) as queries:
            tick(timezone.now())
        return len(queries)

    make_queued(anywhere)
    few = queries_of_a_tick()
    for number in range(5):
        make_queued(make_pool_agent(f"more-{number}", arch="arm64"), 4)
        make_queued(make_agent(f"bound-{number}", node=make_node(f"n-{number}", capacity=0)), 3)
    assert (few, queries_of_a_tick()) == (9, 9)


def test_a_tick_reads_and_places_no_more_than_its_share_and_the_next_goes_on(
    anywhere: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "_READ_AT_ONCE", 4)
    monkeypatch.setattr(scheduler, "_AT_ONCE", 3)
    monkeypatch.setattr(scheduler, "_IN_ONE_GO", 2)
    Node.objects.update(capacity=100)
    far = make_pool_agent("fast", disk="fast")
    waits = make_queued(far, 3)
    make_queued(anywhere, 4), make_queued(make_pool_agent("more"), 3)
    assert [tick(timezone.now()) for _ in range(4)] == [3, 3, 1, 0]
    assert {fresh(run).reason for run in waits} == {Reason.NO_MATCHING_NODE}


def test_places_are_given_away_by_a_fixed_number_of_statements(anywhere: Agent) -> None:
    def queries_of_placing(number: int) -> int:
        runs = make_queued(anywhere, number)
        node = Node.objects.get(slug="gpu-01")
        with CaptureQueriesContext(connection) as queries:
            assert place_runs({run.pk: node.pk for run in runs}, timezone.now()) == number
        return len(queries)

    Node.objects.update(capacity=100)
    assert queries_of_placing(1) == queries_of_placing(30)


def test_a_project_with_one_run_does_not_wait_behind_another_ones_thousand(anywhere: Agent) -> None:
    Node.objects.filter(slug="gpu-01").update(capacity=1)
    Node.objects.filter(slug="gpu-02").update(is_cordoned=True)
    many = make_queued(anywhere, 20)
    (one,) = make_queued(make_pool_agent("lone", project=make_project("small")))
    assert (tick(timezone.now()), fresh(many[0]).state) == (1, State.STARTING)
    Run.objects.filter(pk=many[0].pk).update(state=State.SUCCEEDED, ended_at=timezone.now())
    assert (tick(timezone.now()), fresh(one).state) == (1, State.STARTING)


def test_a_new_run_does_not_overtake_those_that_wait_for_a_place_it_could_have(anywhere: Agent) -> None:
    (waiting,) = make_queued(anywhere)
    newest = start_run(anywhere, by=SYSTEM, prompt="Go.")
    assert (newest.state, newest.reason) == (State.QUEUED, Reason.QUEUED)
    tick(timezone.now())
    assert [fresh(run).state for run in (waiting, newest)] == [State.STARTING] * 2


def test_runs_that_wait_for_other_nodes_hold_up_no_new_one(anywhere: Agent) -> None:
    make_queued(make_pool_agent("fast", disk="fast"))
    assert start_run(anywhere, by=SYSTEM, prompt="Go.").state == State.STARTING


def test_queued_runs_follow_their_agent_and_handed_over_ones_stay(
    anywhere: Agent, lima: Node, alice: User, bob: User
) -> None:
    bound = make_agent("far", node=lima, worktree_repo="/srv/quay")
    queued, under_way = make_queued(bound)[0], make_run(agent=bound, state=State.RUNNING)
    edit_agent(bound, by=actor_of(alice), pool="gpu")
    bound.refresh_from_db()
    assert (bound.node, bound.runs_on, fresh(queued).node) == (None, "any node of pool gpu", None)
    assert AuditEvent.objects.get(name="agent.edited").data == {"changed": ["pool"], "queued_runs": 1}
    assert tick(timezone.now()) == 1
    assert [fresh(queued).runs_on, fresh(under_way).runs_on] == ["node:gpu-01", "node:lima"]
    edit_agent(bound, by=actor_of(alice), node=lima)
    assert (bound.pool, bound.runs_on, fresh(queued).runs_on) == ("", "node:lima", "node:gpu-01")


def test_a_queued_run_that_names_a_node_its_agent_has_left_goes_where_the_agent_runs(
    anywhere: Agent, lima: Node
) -> None:
    astray, after = make_queued(anywhere, 2)
    Run.objects.filter(pk=astray.pk).update(node=lima)  # queued by a transaction that had read the agent before
    assert tick(timezone.now()) == 2
    assert places([astray, after]) == ["node:gpu-01", "node:gpu-02"]


def test_a_run_that_was_chosen_for_a_node_its_agent_has_left_is_not_placed_there(
    anywhere: Agent, gpus: list[Node], oslo: Node, alice: User
) -> None:
    (run,) = make_queued(anywhere)
    edit_agent(anywhere, by=actor_of(alice), node=oslo)
    assert place_runs({run.pk: gpus[0].pk}, timezone.now()) == 0
    assert (fresh(run).state, Command.objects.count()) == (State.QUEUED, 0)


def test_a_run_that_was_chosen_twice_goes_once(anywhere: Agent, gpus: list[Node]) -> None:
    (run,) = make_queued(anywhere)
    now = timezone.now()
    assert [place_runs({run.pk: node.pk}, now) for node in gpus] == [1, 0]
    assert (fresh(run).runs_on, Command.objects.count()) == ("node:gpu-01", 1)


def test_what_was_chosen_beyond_a_nodes_capacity_stays_queued(anywhere: Agent, gpus: list[Node]) -> None:
    runs = make_queued(anywhere, 5)
    assert place_runs({run.pk: gpus[0].pk for run in runs}, timezone.now()) == 2
    assert [fresh(run).state for run in runs] == [State.STARTING] * 2 + [State.QUEUED] * 3


def test_entries_of_many_runs_are_dense_in_each_projects_trail(anywhere: Agent) -> None:
    other = make_pool_agent("other", project=make_project("small"))
    make_queued(anywhere, 2), make_queued(other, 2)
    tick(timezone.now())
    for stream in Stream.objects.all():
        numbers = list(
            AuditEvent.objects.filter(stream=stream.name).order_by("number").values_list("number", flat=True)
        )
        assert numbers == list(range(1, stream.last_number + 1))
    assert AuditEvent.objects.filter(name="run.starting").count() == 4


def test_a_run_for_which_no_node_was_there_for_days_ends_and_says_why(anywhere: Agent) -> None:
    Node.objects.filter(pool="gpu").update(last_heard_at=timezone.now() - timedelta(days=1))
    runs = make_queued(anywhere, 2)
    tick(timezone.now())
    reconciler.tick(timezone.now() + timedelta(seconds=NODE_GONE_SECONDS / 2))
    assert fresh(runs[0]).state == State.QUEUED
    reconciler.tick(timezone.now() + timedelta(seconds=NODE_GONE_SECONDS + 60))
    assert [(fresh(run).state, fresh(run).reason) for run in runs] == [(State.FAILED, Reason.NODE_GONE)] * 2
    assert "all 2 nodes of pool gpu are offline" in fresh(runs[0]).message


def test_a_run_that_waits_for_a_place_of_living_nodes_waits_on_however_long(anywhere: Agent) -> None:
    (run,) = make_queued(anywhere)
    later = timezone.now() + timedelta(seconds=NODE_GONE_SECONDS + 60)
    Node.objects.update(capacity=0, last_heard_at=later)
    reconciler.tick(later)
    assert fresh(run).state == State.QUEUED


@pytest.mark.parametrize("fields", [{}, {"node": True, "pool": "gpu"}, {"node": True, "node_labels": {"a": "b"}}])
def test_the_database_takes_no_agent_with_none_or_two_ways_to_its_nodes(
    oslo: Node, project: Project, fields: dict[str, object]
) -> None:
    if fields.get("node"):
        fields = {**fields, "node": oslo}
    with pytest.raises(IntegrityError), transaction.atomic():
        Agent.objects.create(name="odd", project=project, preset="scripted", **fields)


def test_the_database_takes_no_run_at_work_on_no_node(anywhere: Agent) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        make_run(agent=anywhere, state=State.RUNNING)


@pytest.mark.django_db(transaction=True)
def test_two_control_planes_place_nothing_twice_and_no_more_than_there_is_room_for() -> None:
    """Each with its own connection, at the same moment, again and again."""
    for number in (1, 2, 3):
        make_node(f"gpu-0{number}", pool="gpu", capacity=5)
    runs = [run for n in range(4) for run in make_queued(make_pool_agent(f"a{n}", project=make_project(f"p{n}")), 6)]
    begin = threading.Barrier(2)
    failures: list[BaseException] = []

    def plane() -> None:
        try:
            for _ in range(3):
                begin.wait(30)
                scheduler.tick(timezone.now())
        except BaseException as error:  # noqa: BLE001  (said in the main thread)
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=plane) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    placed = Run.objects.filter(state=State.STARTING)
    assert (placed.count(), Command.objects.count(), len(set(Command.objects.values_list("run")))) == (15, 15, 15)
    assert [node.runs.filter(state=State.STARTING).count() for node in Node.objects.order_by("slug")] == [5, 5, 5]
    assert len(runs) == 24
