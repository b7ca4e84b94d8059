"""One look of the scheduler at 10,000 queued runs and 500 nodes: where nothing is free, and where a batch is placed.

The limit is the bare decision, without a database. What comes back from it is written in bulk, so a look that places
a full batch takes longer than one that finds no place.
"""

import time
from collections.abc import Callable

import django

django.setup()

from django.core.management import call_command  # noqa: E402
from django.utils import timezone  # noqa: E402

from agents.models import Agent, Run  # noqa: E402
from agents.placement import Waiting, place  # noqa: E402
from agents.scheduler import tick  # noqa: E402
from agents.services.placing import view_nodes  # noqa: E402
from agents.states import State  # noqa: E402
from nodes.contract.ids import new_id  # noqa: E402
from nodes.models import Node  # noqa: E402
from tests.benchmarks.figures import Figure, say  # noqa: E402
from tests.factories import make_node, make_project, make_user  # noqa: E402

NODES = 500
POOLS = 10
PROJECTS = 20
AGENTS = 200
RUNS = 10_000
AIM_MS = 500.0
TIMES = 5


def fill() -> list[Agent]:
    """Half of the agents are bound to a node, half run anywhere in a pool; the projects want very different amounts."""
    nodes = [make_node(f"n{n:03}", pool=f"pool-{n % POOLS}", labels={"arch": "arm64"}) for n in range(NODES)]
    projects = [make_project(f"p{n}") for n in range(PROJECTS)]
    agents = [
        Agent(
            project=projects[n % PROJECTS], name=f"a{n}", preset="scripted",
            **({"node": nodes[n]} if n % 2 else {"pool": f"pool-{n % POOLS}", "node_labels": {"arch": "arm64"}}),
        )
        for n in range(AGENTS)
    ]  # fmt: skip
    Agent.objects.bulk_create(agents)
    user = make_user("alice")
    chosen = [agents[(n * n) % AGENTS] for n in range(RUNS)]
    Run.objects.bulk_create(
        Run(id=new_id(), project=agent.project, agent=agent, node=agent.node, user=user, prompt="x" * 1_000)
        for agent in chosen
    )
    return agents


def best_ms(act: Callable[[], object]) -> float:
    taken = []
    for _ in range(TIMES):
        began = time.perf_counter()
        act()
        taken.append((time.perf_counter() - began) * 1_000)
    return min(taken)


def look() -> int:
    Node.objects.update(last_heard_at=timezone.now())  # they beat all the while
    return tick(timezone.now())


def main() -> None:
    call_command("migrate", verbosity=0)
    agents = {agent.pk: agent for agent in fill()}
    Node.objects.update(capacity=0)
    look()  # writes down what each waits for
    look()
    full = best_ms(look)
    say(Figure("a look at 10,000 queued runs, 500 full nodes", f"{full:.0f} ms", "", f"{AIM_MS:.0f} ms", full < AIM_MS))
    Node.objects.update(capacity=100)
    queued = Run.objects.filter(state=State.QUEUED).values_list("pk", "agent")
    waiting = [Waiting(pk, agents[agent].project_id, agents[agent].demand) for pk, agent in queued]
    views = view_nodes(timezone.now())
    bare = best_ms(lambda: place(waiting, views))
    began = time.perf_counter()
    placed = look()
    seconds = time.perf_counter() - began
    say(Figure(f"a look that places {placed:,} runs", f"{placed / seconds:,.0f} runs/s", f"decision {bare:.0f} ms"))
    Node.objects.update(capacity=0)
    rest = Run.objects.filter(state=State.STARTING).count()
    assert rest == placed, "what was said to be placed was not written"


if __name__ == "__main__":
    main()
