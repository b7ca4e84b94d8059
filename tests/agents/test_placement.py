"""Where runs go: rules that hold for any runs and nodes, and the words for those that wait."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.placement import Demand, NodeView, Wait, Waiting, fits, place
from nodes.contract.reasons import Reason
from nodes.health import NodeState

PROJECTS = [UUID(int=number) for number in range(1, 6)]
LABELS = [("gpu", "yes"), ("arch", "arm64"), ("disk", "fast")]
CLOSED = [
    NodeState.OFFLINE,
    NodeState.UNKNOWN,
    NodeState.REVOKED,
    NodeState.DISABLED,
    NodeState.CORDONED,
    NodeState.DRAINING,
]
any_case = settings(deadline=None, max_examples=60)


def node_id(number: int) -> UUID:
    return UUID(int=1_000 + number)


labels = st.frozensets(st.sampled_from(LABELS), max_size=3)
pools = st.sampled_from(["", "gpu", "cpu"])


@st.composite
def node_views(draw: st.DrawFn) -> list[NodeView]:
    return [
        NodeView(
            id=node_id(number),
            name=f"n{number}",
            capacity=draw(st.integers(0, 4)),
            pool=draw(pools),
            labels=draw(labels),
            closed=draw(st.none() | st.none() | st.sampled_from(CLOSED)),
            ready=draw(st.sampled_from([None, frozenset(), frozenset({"codex"})])),
            live=draw(st.dictionaries(st.sampled_from(PROJECTS), st.integers(1, 2), max_size=2)),
        )
        for number in range(draw(st.integers(0, 5)))
    ]


demands = st.builds(Demand, node=st.integers(0, 5).map(node_id)) | st.builds(
    Demand, pool=pools, labels=labels, preset=st.sampled_from(["", "codex"])
)


@st.composite
def queues(draw: st.DrawFn) -> list[Waiting]:
    wanted = draw(st.lists(st.tuples(st.sampled_from(PROJECTS), demands), max_size=30))
    return [Waiting(UUID(int=10_000 + age), project, demand) for age, (project, demand) in enumerate(wanted)]


def placed_on(waiting: Sequence[Waiting], nodes: Sequence[NodeView]) -> dict[UUID, UUID]:
    return {run: where for run, where in place(waiting, nodes).items() if isinstance(where, UUID)}


def pool_of(*capacities: int, **changes: object) -> list[NodeView]:
    views = [
        NodeView(id=node_id(n), name=f"gpu-{n:02}", capacity=room, pool="gpu") for n, room in enumerate(capacities, 1)
    ]
    return [replace(view, **changes) for view in views]  # type: ignore[arg-type]


def runs_of(project: UUID, *ages: int, demand: Demand | None = None) -> list[Waiting]:
    return [Waiting(UUID(int=10_000 + age), project, demand or Demand(pool="gpu")) for age in ages]


# What always holds.


@any_case
@given(queues(), node_views())
def test_no_node_gets_more_than_it_has_places_for(waiting: list[Waiting], nodes: list[NodeView]) -> None:
    given_away = Counter(placed_on(waiting, nodes).values())
    assert all(given_away[view.id] <= view.free for view in nodes)


@any_case
@given(queues(), node_views())
def test_no_run_goes_where_it_may_not_or_where_no_work_is_taken(waiting: list[Waiting], nodes: list[NodeView]) -> None:
    views = {view.id: view for view in nodes}
    demand_of = {run.run: run.demand for run in waiting}
    for run, where in placed_on(waiting, nodes).items():
        assert fits(demand_of[run], views[where]) and views[where].closed is None


@any_case
@given(queues(), node_views())
def test_no_place_stays_free_that_a_waiting_run_could_have(waiting: list[Waiting], nodes: list[NodeView]) -> None:
    decisions = place(waiting, nodes)
    left = {view.id: view.free for view in nodes}
    for where in decisions.values():
        if isinstance(where, UUID):
            left[where] -= 1
    for run in waiting:
        if isinstance(decisions[run.run], Wait):
            assert not any(left[view.id] for view in nodes if fits(run.demand, view))


@any_case
@given(queues(), node_views(), st.randoms(use_true_random=False))
def test_the_order_in_which_runs_and_nodes_are_given_makes_no_difference(
    waiting: list[Waiting], nodes: list[NodeView], random: Random
) -> None:
    expected = place(waiting, nodes)
    random.shuffle(waiting)
    random.shuffle(nodes)
    assert place(waiting, nodes) == expected


@any_case
@given(queues(), node_views())
def test_every_run_gets_a_node_or_a_reason_with_words(waiting: list[Waiting], nodes: list[NodeView]) -> None:
    decisions = place(waiting, nodes)
    assert decisions.keys() == {run.run for run in waiting}
    for decision in decisions.values():
        if isinstance(decision, Wait):
            assert decision.message and decision.reason in {
                Reason.CAPACITY, Reason.NODE_CORDONED, Reason.NODE_OFFLINE, Reason.NO_MATCHING_NODE,
            }  # fmt: skip


@any_case
@given(queues(), node_views())
def test_no_younger_run_of_a_project_has_a_place_that_an_older_one_could_use(
    waiting: list[Waiting], nodes: list[NodeView]
) -> None:
    placed = placed_on(waiting, nodes)
    views = {view.id: view for view in nodes}
    for older in waiting:
        for younger in waiting:
            if older.run < younger.run and older.project == younger.project and older.run not in placed:
                assert younger.run not in placed or not fits(older.demand, views[placed[younger.run]])


@any_case
@given(
    st.lists(st.integers(0, 6), min_size=3, max_size=3), st.lists(st.integers(0, 12), min_size=3, max_size=3),
    st.integers(0, 12),
)  # fmt: skip
def test_projects_that_want_the_same_nodes_fill_up_evenly(live: list[int], queued: list[int], free: int) -> None:
    """Who still waits has no fewer live runs, but for one, than anybody who was given a place."""
    capacity = sum(live) + free
    held = {PROJECTS[n]: number for n, number in enumerate(live) if number}
    (node,) = pool_of(capacity, live=held)
    waiting = [
        Waiting(UUID(int=10_000 + 100 * n + age), PROJECTS[n], Demand(pool="gpu"))
        for n in range(3)
        for age in range(queued[n])
    ]
    got = Counter({PROJECTS[n]: 0 for n in range(3)})
    project_of = {run.run: run.project for run in waiting}
    got.update(project_of[run] for run in placed_on(waiting, [node]))
    for n, waits in enumerate(PROJECTS[:3]):
        if got[waits] < queued[n]:
            for has in PROJECTS[:3]:
                if got[has]:
                    assert held.get(waits, 0) + got[waits] >= held.get(has, 0) + got[has] - 1


@pytest.mark.parametrize("capacity", [1, 3])
def test_one_run_beside_a_thousand_older_ones_of_another_project_is_next(capacity: int) -> None:
    """Also where there is one place only, so that nobody has a live run when it becomes free."""
    many, one = runs_of(PROJECTS[0], *range(1_000)), runs_of(PROJECTS[1], 2_000)
    (node,) = pool_of(capacity)
    placed = placed_on([*many, *one], [replace(node, live={PROJECTS[0]: capacity - 1} if capacity > 1 else {})])
    if one[0].run not in placed:
        decisions = place([*many[1:], *one], [node], served={PROJECTS[0]: 1.0})
        placed = {run: where for run, where in decisions.items() if isinstance(where, UUID)}
    assert placed[one[0].run] == node.id


@any_case
@given(st.integers(1, 4), st.integers(2, 5), st.integers(5, 40))
def test_no_project_starves_however_much_others_ask_for(capacity: int, projects: int, rounds: int) -> None:
    """One run ends per round; each project is served again after at most a round of the others."""
    (node,) = pool_of(capacity)
    running: list[UUID] = []
    served: dict[UUID, float] = {}
    next_age = 0
    since = dict.fromkeys(PROJECTS[:projects], 0)
    for moment in range(rounds):
        waiting = []
        for project in PROJECTS[:projects]:
            waiting += runs_of(project, next_age, next_age + 1)
            next_age += 2
        for run, where in place(waiting, [replace(node, live=Counter(running))], served=served).items():
            if isinstance(where, UUID):
                project = next(each.project for each in waiting if each.run == run)
                running.append(project)
                served[project] = float(moment + 1)
                since[project] = moment
        assert all(moment - last <= projects + capacity for last in since.values())
        running.pop(0)


# Which node, and which words.


def test_the_node_with_the_smallest_share_of_its_places_in_use_takes_the_run() -> None:
    small, large = pool_of(2, 10)
    decisions = placed_on(runs_of(PROJECTS[0], *range(6)), [small, large])
    assert Counter(decisions.values()) == {large.id: 5, small.id: 1}


def test_who_comes_after_the_limit_waits_for_its_turn() -> None:
    decisions = place(runs_of(PROJECTS[0], 1, 2), pool_of(5), limit=1)
    assert list(decisions.values()) == [node_id(1), Wait(Reason.QUEUED)]


@pytest.mark.parametrize(
    ("demand", "nodes", "reason", "message"),
    [
        (Demand(labels=frozenset({("gpu", "yes")})), pool_of(1), Reason.NO_MATCHING_NODE, "no node has label gpu=yes"),
        (Demand(pool="tpu"), pool_of(1), Reason.NO_MATCHING_NODE, "no node is in pool tpu"),
        (
            Demand(pool="gpu", labels=frozenset({("arch", "arm64")})),
            pool_of(1, labels=frozenset({("arch", "x86")})),
            Reason.NO_MATCHING_NODE,
            "no node of pool gpu has label arch=arm64",
        ),
        (
            Demand(labels=frozenset({("a", "1"), ("b", "2")})),
            [*pool_of(1, labels=frozenset({("a", "1")})), pool_of(1, 1, labels=frozenset({("b", "2")}))[1]],
            Reason.NO_MATCHING_NODE,
            "no node has labels a=1 and b=2 together",
        ),
        (
            Demand(pool="gpu", preset="codex"),
            pool_of(1, 1, ready=frozenset({"opencode"})),
            Reason.NO_MATCHING_NODE,
            "no node of pool gpu has codex installed and signed in",
        ),
        (Demand(pool="gpu"), pool_of(0, 0, 0), Reason.CAPACITY, "all 3 nodes of pool gpu are full"),
        (Demand(pool="gpu"), pool_of(0), Reason.CAPACITY, "gpu-01 is full"),
        (
            Demand(pool="gpu"),
            pool_of(1, 1, closed=NodeState.OFFLINE),
            Reason.NODE_OFFLINE,
            "all 2 nodes of pool gpu are offline",
        ),
        (Demand(node=node_id(1)), pool_of(1, closed=NodeState.OFFLINE), Reason.NODE_OFFLINE, "gpu-01 is offline"),
        (Demand(node=node_id(1)), pool_of(1, closed=NodeState.DISABLED), Reason.NODE_OFFLINE, "gpu-01 is disabled"),
        (Demand(node=node_id(1)), pool_of(1, closed=NodeState.DRAINING), Reason.NODE_CORDONED, "gpu-01 is draining"),
        (Demand(node=node_id(1)), pool_of(1, closed=NodeState.CORDONED), Reason.NODE_CORDONED, "gpu-01 is cordoned"),
        (Demand(node=node_id(9)), pool_of(1), Reason.NODE_OFFLINE, "it is no longer registered"),
        (
            Demand(pool="gpu"),
            [*pool_of(0), replace(pool_of(1, 1)[1], closed=NodeState.CORDONED)],
            Reason.CAPACITY,
            "gpu-01 is full, gpu-02 is cordoned",
        ),
        (
            Demand(pool="gpu"),
            [*pool_of(0, 0, 0), replace(pool_of(1, 1, 1, 1)[3], closed=NodeState.OFFLINE)],
            Reason.CAPACITY,
            "of 4 nodes of pool gpu 3 are full, 1 is offline",
        ),
    ],
)  # fmt: skip
def test_what_is_missing_is_said(demand: Demand, nodes: list[NodeView], reason: Reason, message: str) -> None:
    (decision,) = place([Waiting(UUID(int=1), PROJECTS[0], demand)], nodes).values()
    assert decision == Wait(reason, message)


@pytest.mark.parametrize(
    ("demand", "words"),
    [
        (Demand(pool="gpu"), "of pool gpu"),
        (Demand(labels=frozenset({("gpu", "yes")})), "with gpu=yes"),
        (Demand(pool="gpu", labels=frozenset({("b", "2"), ("a", "1")})), "of pool gpu with a=1 and b=2"),
    ],
)
def test_a_demand_is_said_in_words(demand: Demand, words: str) -> None:
    assert str(demand) == words
