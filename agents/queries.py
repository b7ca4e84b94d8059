"""Reads that more than one door needs."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal
from uuid import UUID

from django.db.models import Count, Exists, OuterRef, QuerySet
from django.utils import timezone
from pydantic import ValidationError

from agenthub_site.accounts.actors import Actor
from nodes.contract.errors import Invalid, NotFound
from nodes.contract.events import ArtifactReady
from nodes.contract.ids import uuid_of
from nodes.contract.reasons import Reason

from .models import Agent, Approval, ApprovalQuerySet, Run, VisibleQuerySet
from .states import LIVE, ON_NODE, State

MOST_ARTIFACTS: Final = 1_000


def live_runs() -> QuerySet[Run]:
    """Runs that a node holds. That they have not ended is said twice, for the index that has none of the past."""
    return Run.objects.filter(state__in=ON_NODE, ended_at=None).order_by()


def in_states(runs: VisibleQuerySet[Run], states: Collection[str]) -> VisibleQuerySet[Run]:
    """Those of the runs that are in one of the states; live ones by the index that has none of the past."""
    found = runs.filter(state__in=states)
    return found.filter(ended_at=None) if LIVE.issuperset(states) else found


def count_live_runs(by: Literal["agent", "project"]) -> Counter[UUID]:
    """How many runs of each agent, or project, nodes hold. One query, however long the histories are.

    By node first, since so the index is ordered: grouped by agents alone, SQLite would walk those of all times.
    """
    live: Counter[UUID] = Counter()
    for _, thing, number in live_runs().values_list("node", by).annotate(number=Count("pk")):
        live[thing] += number
    return live


def live_runs_of_nodes(nodes: Iterable[UUID] | None = None) -> dict[UUID, Counter[UUID]]:
    """How many runs of each project each node holds: of these nodes, or of all. One query."""
    held = live_runs() if nodes is None else live_runs().filter(node__in=list(nodes))
    live: dict[UUID, Counter[UUID]] = defaultdict(Counter)
    for node_id, project_id, number in held.values_list("node", "project").annotate(number=Count("pk")):
        live[node_id][project_id] = number
    return live


def count_on_nodes(nodes: Iterable[UUID]) -> dict[UUID, int]:
    """How many runs each of these nodes holds."""
    return {pk: live.total() for pk, live in live_runs_of_nodes(nodes).items()}


def shown_approvals(actor: Actor) -> ApprovalQuerySet:
    """The approvals that ``actor`` sees with what lists show of each, and whether it ``is_offered`` to them.

    Neither the run's prompt nor its diff: both may be long.
    """
    mine = Approval.objects.filter(pk=OuterRef("pk")).offered_to(actor, timezone.now())
    rows: ApprovalQuerySet = Approval.objects.visible_to(actor)
    rows = rows.select_related("project", "run__agent", "run__node", "run__user", "offered_agent")
    return rows.defer("run__prompt", "run__diff").annotate(is_offered=Exists(mine))


def open_approvals(actor: Actor) -> ApprovalQuerySet:
    """Those that wait for an answer which ``actor`` may give now, oldest first."""
    now = timezone.now()
    waiting: ApprovalQuerySet = Approval.objects.visible_to(actor).waiting(now)
    return waiting.offered_to(actor, now)


class AmbiguousAgent(Invalid):
    code = "ambiguous_agent"


def find_agent(actor: Actor, id_or_name: str) -> Agent:
    """An agent by id, ``project/name``, or a bare name that is unique among the visible.

    Raises ``NotFound``; ``AmbiguousAgent`` lists the candidates.
    """
    agents = Agent.objects.visible_to(actor).filter(archived_at=None).select_related("project", "node")
    project, slash, name = id_or_name.partition("/")
    if slash:
        found = list(agents.filter(project__slug=project, name=name)[:2])
    elif not ((pk := uuid_of(id_or_name)) and (found := list(agents.filter(pk=pk)))):  # 32 hex digits may be a name
        found = list(agents.filter(name=id_or_name).order_by("project__slug")[:20])
    if not found:
        raise NotFound(f"There is no agent {id_or_name!r} that you may see.", agent=id_or_name)
    if len(found) > 1:
        names = [f"{agent.project.slug}/{agent.name}" for agent in found]
        raise AmbiguousAgent(f"{id_or_name!r} is the name of several agents: {', '.join(names)}.", agents=names)
    return found[0]


def find_run(actor: Actor, run_id: UUID) -> Run:
    """A run that ``actor`` sees. Raises ``NotFound``."""
    seen = Run.objects.visible_to(actor).select_related("agent", "project", "node")
    found: Run | None = seen.filter(pk=run_id).first()
    if found is None:
        raise NotFound(f"There is no run {run_id} that you may see.", run=str(run_id))
    return found


_WAITS = {
    Reason.QUEUED: "its turn",
    Reason.NODE_OFFLINE: "its node, which is offline",
    Reason.NODE_CORDONED: "its node, which takes no new runs at present",
    Reason.NO_MATCHING_NODE: "a node that fits",
    Reason.CAPACITY: "a free place on its node",
    Reason.ROUTE_MISSING: "a route to its node",
    Reason.STARTING: "its node to start it",
    Reason.APPROVAL: "an approval",
    Reason.INPUT: "your next input",
    Reason.STALLED: "the runtime, which has been silent for a while",
    Reason.CANCEL_REQUESTED: "its processes to stop",
    Reason.DISCONNECTED: "its processes to stop: its node is without the hub",
    Reason.NODE_SILENT: "its node, which has fallen silent",
    Reason.NODE_REVOKED: "its node, which was revoked, to join again",
}


_LEADS = {
    Reason.QUEUED: "its turn",
    Reason.NODE_OFFLINE: "a node",
    Reason.NODE_CORDONED: "a node that takes new runs",
    Reason.NO_MATCHING_NODE: "a node that fits",
    Reason.CAPACITY: "a free place",
    Reason.ROUTE_MISSING: "a route",
}
"""What stands before a queued run's ``message``, which says what exactly is missing."""


def waiting_for(run: Run) -> str:
    """What a live run waits for, in plain words; empty while it simply works, and once it has ended."""
    if run.is_ended or (run.state == State.RUNNING and run.reason == Reason.NONE):
        return ""
    if run.state == State.QUEUED and run.message:
        return f"{_LEADS[Reason(run.reason)]}: {run.message}"
    return _WAITS.get(Reason(run.reason), "")


@dataclass(frozen=True, slots=True)
class RunArtifact:
    """Something that a run left to be looked at; ``state`` is pending (on its way from the node) or ready."""

    name: str
    media_type: str
    digest: str
    size: int
    state: str


def artifacts_of(run: Run) -> list[RunArtifact]:
    """The run's artifacts, oldest first, at most ``MOST_ARTIFACTS``. Of a name that was used again the last one."""
    events = run.events.filter(type=ArtifactReady.TYPE).order_by("seq").values_list("payload", flat=True)
    here = set(run.blobs.values_list("digest", flat=True))
    named: dict[str, RunArtifact] = {}
    for payload in events[:MOST_ARTIFACTS]:
        try:
            said = ArtifactReady.read(payload)
        except ValidationError:
            continue  # stored unread, whatever it is
        state = "ready" if said.blob.digest in here else "pending"
        named[said.name] = RunArtifact(said.name, said.media_type, said.blob.digest, said.blob.size, state)
    return list(named.values())


def find_blob(run: Run, digest: str) -> tuple[str, bytes]:
    """(name, bytes) of an artifact, the patch, or whatever else of the run's has this digest. Raises ``NotFound``."""
    blob = run.blobs.filter(digest=digest).first()
    names = [artifact.name for artifact in artifacts_of(run) if artifact.digest == digest]
    if blob is None:
        raise NotFound("It is still on its way from the node; try again." if names else None)
    is_patch = bool(run.diff and run.diff["patch"] and run.diff["patch"]["digest"] == digest)
    return (names[-1] if names else f"{run.pk}.patch" if is_patch else digest), bytes(blob.data)


def diff_of(run: Run) -> dict[str, Any]:
    """The run's diff: ``state`` is none, pending (the patch is on its way from the node) or ready."""
    if run.diff is None:
        return {"state": "none", "base_commit": "", "files": [], "additions": 0, "deletions": 0, "patch": ""}
    ref, patch, state = run.diff["patch"], "", "ready"
    if ref:
        blob = run.blobs.filter(digest=ref["digest"]).first()
        state = "ready" if blob else "pending"
        patch = bytes(blob.data).decode("utf-8", "replace") if blob else ""
    return {**run.diff, "state": state, "patch": patch}
