"""Create, edit and archive agents."""

import re
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from agenthub_site.accounts.actors import Actor
from agenthub_site.accounts.models import Project
from agenthub_site.accounts.permissions import Can, may, require
from agenthub_site.accounts.tokens import revoke_tokens_of
from audit.services import record
from nodes.contract.errors import Conflict, Invalid
from nodes.labels import MOST_ASKED_FOR, wrong_with_labels, wrong_with_pool
from nodes.peering import require_peer
from nodes.runtimes.presets import PRESETS

from ..isolation import require_isolation
from ..mail.addressing import STARTER
from ..models import Agent
from ..teams.models import ALL, TeamMember
from .placing import follow_agent
from .routing import require_route

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ENVIRONMENT_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_EDITABLE: Final = frozenset({
    "name", "description", "node", "pool", "node_labels", "runtime", "preset", "command", "model", "environment",
    "workspace_mode", "workdir", "worktree_repo", "worktree_ref", "approval_seconds", "turn_seconds",
    "lost_after_seconds", "stop_after_seconds", "resume", "wake_on_mail", "mcp", "isolation", "network",
})  # fmt: skip


class NameTaken(Conflict):
    code = "name_taken"
    message = "The project has an agent of that name already."


@transaction.atomic
def create_agent(project: Project, *, by: Actor, **fields: Any) -> Agent:
    """Add an agent to a project. Raises ``Invalid`` (with ``fields``), ``NameTaken``, ``RouteMissing`` or
    ``PeerNotConfigured``.

    It names its ``node``, or by ``pool`` and ``node_labels`` which nodes fit.
    """
    require(by, Can.CREATE_AGENT, project.pk)
    agent = Agent(project=project, **_known(fields))
    agent.wakes_for_id = _wakes_for(agent, by)
    _follow_preset(agent)
    _check(agent)
    _require_free_word(agent.name)
    if not agent.is_external:
        require_route(agent)
        require_isolation(agent)
    if agent.node:
        require_peer(settings.CONFIG, agent.node)
    _save(agent, force_insert=True)
    record(
        project.pk, "agent.created", by=by, of=("agent", agent.pk), node=agent.node_id, agent_name=agent.name,
        runs_on=agent.runs_on,
    )  # fmt: skip
    return agent


@transaction.atomic
def edit_agent(agent: Agent, *, by: Actor, **changes: Any) -> Agent:
    """Change an agent; runs under way keep what they were started with. Raises as ``create_agent`` does.

    A node that is named takes the place of a pool and labels, and they of a node. Runs that are still queued wait
    where the agent runs now. Whoever changes one that wakes on mail answers for the runs that mail starts.
    """
    require(by, Can.EDIT_AGENT, agent)
    ran_on, was_external, was_called = agent.demand, agent.is_external, agent.name
    whole = _in_one_way(_known(changes))
    for name, value in whole.items():
        setattr(agent, name, value)
    if "preset" in whole:
        whole["runtime"] = _follow_preset(agent)
    whole["wakes_for_id"] = agent.wakes_for_id = _wakes_for(agent, by)
    _check(agent)
    if agent.name != was_called:
        _require_free_word(agent.name)
    if agent.is_external != was_external:
        problem = "An agent that comes from elsewhere stays one, and others do not become one. Make another agent."
        raise Invalid(problem, fields={"runtime": [problem]})
    if agent.demand != ran_on:
        require_route(agent)
    if changes.keys() & {"node", "isolation", "network"}:
        require_isolation(agent)
    if agent.node and "node" in changes:
        require_peer(settings.CONFIG, agent.node)
    _save(agent, update_fields=[*whole, "updated_at"])
    moved = follow_agent(agent) if agent.demand != ran_on else 0
    record(agent.project_id, "agent.edited", by=by, of=("agent", agent.pk), changed=sorted(changes), queued_runs=moved)
    return agent


def _wakes_for(agent: Agent, by: Actor) -> UUID | None:
    """Mail starts runs for ``by`` only if ``by`` may start them, with the token at hand."""
    return by.user_id if agent.wake_on_mail and may(by, Can.START_RUN, agent.project_id) else None


def _in_one_way(changes: dict[str, Any]) -> dict[str, Any]:
    if changes.get("node"):
        return {"pool": "", "node_labels": {}} | changes
    return {"node": None} | changes if changes.get("pool") or changes.get("node_labels") else changes


@transaction.atomic
def archive_agent(agent: Agent, *, by: Actor) -> None:
    """Put an agent away: it starts no more runs and leaves its teams, and its history stays. Twice is once."""
    require(by, Can.EDIT_AGENT, agent)
    if Agent.objects.filter(pk=agent.pk, archived_at=None).update(archived_at=timezone.now()):
        revoke_tokens_of(by, agent_id=agent.pk)
        TeamMember.objects.filter(agent=agent.pk).delete()
        record(agent.project_id, "agent.archived", by=by, of=("agent", agent.pk), agent_name=agent.name)


def _follow_preset(agent: Agent) -> str:
    """A preset that is a plain command makes its agent one, since it is chosen like any other; returns the runtime."""
    if _is_command(agent.preset) and agent.runtime == Agent.Runtime.ACP:
        agent.runtime = Agent.Runtime.COMMAND
    return agent.runtime


def _save(agent: Agent, **how: Any) -> None:
    """Another one may have taken the name since it was looked for: the database has the last word."""
    try:
        with transaction.atomic():
            agent.save(**how)
    except IntegrityError as error:
        if _is_taken(agent):
            raise NameTaken(name=agent.name) from error
        raise


def _is_taken(agent: Agent) -> bool:
    same_name = Agent.objects.filter(project_id=agent.project_id, name=agent.name, archived_at=None)
    return same_name.exclude(pk=agent.pk).exists()


def _known(fields: dict[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(fields) - _EDITABLE)
    if unknown:
        raise Invalid(f"An agent has no {', '.join(unknown)}.", fields={name: ["is unknown"] for name in unknown})
    return fields


def _check(agent: Agent) -> None:
    problems: dict[str, list[str]] = {}
    try:
        agent.clean_fields(exclude=["project", "node"])
    except ValidationError as error:
        problems |= error.message_dict
    if not _NAME.fullmatch(agent.name or ""):
        problems["name"] = ["Use letters, digits, '.', '_' and '-', starting with a letter or digit; 64 at most."]
    problems |= _place_problems(agent) | _runtime_problems(agent) | _workspace_problems(agent)
    if problems:
        raise Invalid(
            "The agent does not fit: " + "; ".join(f"{k}: {v[0]}" for k, v in problems.items()), fields=problems
        )
    if _is_taken(agent):
        raise NameTaken(name=agent.name)


def _require_free_word(name: str) -> None:
    """Mail to ``all`` and to ``user`` goes to others than an agent of that name. Raises ``Invalid``."""
    if name in (ALL, STARTER):
        meant = "everybody in the project" if name == ALL else "whoever started a run"
        problem = f"In mail {name!r} means {meant}: give the agent another name."
        raise Invalid(problem, fields={"name": [problem]})


def _place_problems(agent: Agent) -> dict[str, list[str]]:
    labels = agent.node_labels
    if agent.is_external:
        is_placed = agent.node_id is not None or agent.pool or labels
        return {"node": ["An agent that comes from elsewhere has no node, pool or labels."]} if is_placed else {}
    if why := wrong_with_pool(agent.pool):
        return {"pool": [why]}
    if why := wrong_with_labels(labels, MOST_ASKED_FOR):
        return {"node_labels": [why]}
    if agent.node_id is not None and (agent.pool or labels):
        return {"node": ["Name a node, or a pool and labels: not both."]}
    if agent.node_id is None and not (agent.pool or labels):
        return {"node": ["Name a node; or a pool, or labels, that a node must have."]}
    return {}


def _runtime_problems(agent: Agent) -> dict[str, list[str]]:
    problems = {}
    command: Any = agent.command
    if not isinstance(command, list) or not all(isinstance(part, str) and part for part in command):
        problems["command"] = ["Give the program and its arguments as a list of texts."]
    elif agent.runtime == Agent.Runtime.COMMAND and not (command or _is_command(agent.preset)):
        problems["command"] = ["A command agent needs the program to run."]
    elif agent.preset and agent.preset not in PRESETS:
        problems["preset"] = [f"There is no preset {agent.preset!r}; there are {', '.join(sorted(PRESETS))}."]
    elif agent.runtime == Agent.Runtime.ACP and not (agent.preset or command):
        problems["preset"] = ["Choose a preset, or give the command that starts an ACP agent."]
    environment: Any = agent.environment
    if not isinstance(environment, dict) or not all(
        isinstance(value, str) and _ENVIRONMENT_NAME.fullmatch(name) for name, value in environment.items()
    ):
        problems["environment"] = ["Give names (letters, digits, '_') with text values."]
    elif reserved := sorted(name for name in environment if name.upper().startswith("AGENTHUB_")):
        problems["environment"] = [f"Names that begin with AGENTHUB_ are ours: {', '.join(reserved)}."]
    return problems


def _is_command(preset: str) -> bool:
    return preset in PRESETS and PRESETS[preset].kind == "command"


def _workspace_problems(agent: Agent) -> dict[str, list[str]]:
    if agent.is_external:
        return {}
    if agent.workspace_mode == Agent.WorkspaceMode.CREATE_WORKTREE:
        return {} if agent.worktree_repo else {"worktree_repo": ["Name the git repository on the node."]}
    return {} if agent.workdir else {"workdir": ["Name the directory on the node in which the agent works."]}
