"""Runs that do not get on: what they wait for, silent runtimes, slow starts by phase."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from statistics import median
from typing import Final

from integrations.cli.client import Client, HubRefused, HubUnreachable, Json
from integrations.cli.render import short_id
from nodes.health import AGENT_START_S

from .findings import Case, Finding, note, ok, problem, warning

LOOKED_AT: Final = 30
"""The latest runs, whose starts are compared."""
FIRST_EVENTS: Final = 20
SILENT_SECONDS: Final = 60.0
_MOST_NAMED: Final = 10
_UNAVAILABLE: Final = {
    "node_offline": "Bring the node back (`agenthub doctor {node}`), or give the agent another one.",
    "node_cordoned": "Uncordon the node when it may take work.",
    "no_matching_node": "No node has the pool, labels and runtime that the agent asks for: change it, or add a node.",
    "route_missing": "Let the project use it: agenthub route add --project PROJECT --node {node}",
    "capacity": "Wait, raise the node's capacity, or give the agent another node.",
    "node_silent": "Bring the node back (`agenthub doctor {node}`): its runs go on there meanwhile.",
}
_PHASES: Final = {
    "queue": ("waiting at the hub", "The node has no free place, or the hub does not keep up."),
    "workspace": (
        "making the worktree",
        "Use workspace_mode use_existing, keep the repository on a local disk, or fetch it beforehand.",
    ),
    "spawn": ("starting the process", "The machine is short of CPU or memory: look at its load."),
    "handshake": (
        "the runtime's handshake",
        "The runtime itself is slow to start: its version check, login or plug-ins, or the network to its provider.",
    ),
    "first event": ("the first word", "The provider answers slowly, or the model thinks before it speaks."),
}


def check_waiting(case: Case) -> Iterator[Finding]:
    """Runs whose target is unavailable."""
    waiting: dict[tuple[str, str], list[Json]] = defaultdict(list)
    handed: dict[str, list[str]] = defaultdict(list)
    for run in _runs(case, 200, live="true"):
        if run["state"] == "starting" and run["reason"] == "node_offline":
            handed[run["node_slug"]].append(short_id(run["id"]))
        elif run["reason"] in _UNAVAILABLE:
            waiting[run["node_slug"] or "any node", run["reason"]].append(run)
    for node, ids in sorted(handed.items()):
        named = ", ".join(ids[:_MOST_NAMED]) + (", …" if len(ids) > _MOST_NAMED else "")
        yield problem(
            "runs", f"target unavailable: {node} fell silent before it started what it was handed: {named}.",
            f"Bring the node back (`agenthub doctor {node}`), or cancel what should not wait: `agenthub cancel ID`.",
            "run_not_answered",
        )  # fmt: skip
    for (node, reason), runs in sorted(waiting.items()):
        count = f"{len(runs)} runs wait" if len(runs) > 1 else f"run {short_id(runs[0]['id'])} waits"
        say = note if reason in ("capacity", "node_cordoned") else problem
        yield say(
            "runs", f"target unavailable: {count} for {runs[0]['waiting_for']} ({node}).",
            _UNAVAILABLE[reason].format(node=node), reason,
        )  # fmt: skip


def check_silent(case: Case) -> Iterator[Finding]:
    """Runs that started and give no events."""
    now = datetime.now(UTC)
    for run in _runs(case, 200, live="true", state="running"):
        begun = datetime.fromisoformat(run["started_at"]) if run["started_at"] else now
        has_said_nothing = run["last_seq"] <= 3 and (now - begun).total_seconds() > SILENT_SECONDS
        if run["reason"] == "stalled" or has_said_nothing:
            yield warning(
                "runs", f"runtime gives no events: run {short_id(run['id'])} of {run['agent_name']} on "
                f"{run['node_slug']} is silent.",
                "Its provider's key or login, its network, or the model is in the way: start the runtime by hand on "
                "that node, as the node's account. `agenthub logs` shows what it printed.",
                "stalled",
            )  # fmt: skip
    failed: dict[tuple[str, str], int] = defaultdict(int)
    messages = {}
    for run in _runs(case, LOOKED_AT):
        if run["reason"] in ("login_required", "runtime_not_installed", "runtime_start_failed", "protocol_error"):
            failed[run["node_slug"] or "-", run["reason"]] += 1
            messages[run["node_slug"] or "-", run["reason"]] = run["message"]
    for (node, reason), count in sorted(failed.items()):
        yield warning(
            "runs", f"{count} of the last {LOOKED_AT} runs failed on {node} with {reason}: {messages[node, reason]}",
            "Log in or install the runtime there, as the node's account.", reason,
        )  # fmt: skip


def check_starts(case: Case) -> Iterator[Finding]:
    """Medians over the latest runs of each node, phase by phase, where they are slow altogether."""
    if case.hub is None:
        return
    seconds: dict[str, list[dict[str, float]]] = defaultdict(list)
    try:
        for run in _runs(case, LOOKED_AT):
            if run["started_at"]:
                phases = phases_of(run, _first_events(case.hub, run["id"]))
                if phases:
                    seconds[run["node_slug"]].append(phases)
    except (HubRefused, HubUnreachable):
        return
    for node, starts in sorted(seconds.items()):
        typical = {name: median(start.get(name, 0.0) for start in starts) for name in _PHASES}
        before = sum(value for name, value in typical.items() if name != "first event")
        told = ", ".join(f"{_PHASES[name][0]} {value:.1f} s" for name, value in typical.items() if value >= 0.05)
        slowest = max(typical, key=lambda name: typical[name])
        if before > AGENT_START_S.warning or typical["first event"] > AGENT_START_S.critical:
            yield warning(
                "slow start", f"on {node}, of {len(starts)} runs: {told}.", _PHASES[slowest][1],
                f"slow_{slowest.replace(' ', '_')}",
            )  # fmt: skip
        elif told:
            yield ok("starts", f"on {node}: {told}")


def phases_of(run: Json, events: list[Json]) -> dict[str, float]:
    """Seconds of each phase, from the run's times, what ``run.started`` says, and the first word after it."""
    started = next((event for event in events if event["type"] == "run.started"), None)
    if started is None:
        return {}
    told = started["payload"].get("phases") or {}
    found = {name: float(told.get(f"{name}_s", 0.0)) for name in ("workspace", "spawn", "handshake")}
    began = datetime.fromisoformat(run["created_at"])
    at = datetime.fromisoformat(started["occurred_at"])
    found["queue"] = max(0.0, (at - began).total_seconds() - sum(found.values()))
    said = (event for event in events if event["seq"] > started["seq"] and _is_word(event["type"]))
    if first := next(said, None):
        found["first event"] = max(0.0, (datetime.fromisoformat(first["occurred_at"]) - at).total_seconds())
    return found


def _is_word(kind: str) -> bool:
    return kind.startswith(("run.message", "run.thought", "run.tool", "run.plan", "run.output", "run.approval"))


def _first_events(hub: Client, run: str) -> list[Json]:
    found: list[Json] = hub.get(f"/api/v1/runs/{run}/events", after=0, limit=FIRST_EVENTS)["results"]
    return found


def _runs(case: Case, most: int, **query: str) -> Iterator[Json]:
    """The latest, or none where the hub does not answer: that is said already."""
    if case.hub is None:
        return
    try:
        yield from islice(case.hub.every("/api/v1/runs/", limit=min(most, 100), **query), most)
    except (HubRefused, HubUnreachable):
        return
