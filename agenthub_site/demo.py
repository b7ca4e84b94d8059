"""Something to try: a project, a small git repository, a scripted agent, and one agent per real runtime found."""

from typing import Any

from django.db import transaction

from agenthub_site.accounts.authentication import actor_of
from agenthub_site.accounts.models import Project, User
from agenthub_site.accounts.services import create_project
from agenthub_site.demo_repository import make_repository
from agents.models import Agent, Run
from agents.services.agents import create_agent
from agents.services.runs import start_run
from nodes.contract.config import Config
from nodes.models import Node
from nodes.runtimes.presets import PRESETS
from nodes.runtimes.probe import find_runtimes

PROJECT = "demo"
AGENT = "demo"
SCRIPTED = "scripted"
FIRST_PROMPT = "Have a look around, and tell me what you find."


def make_demo(root: User, node: Node, config: Config) -> dict[str, Any]:
    """Make what of the demo is not there yet; what somebody archived or changed stays as it is."""
    by = actor_of(root)
    repository = config.worktree_root / PROJECT / "hello"
    make_repository(repository)
    with transaction.atomic():
        project = Project.objects.filter(slug=PROJECT).first()
        is_new = project is None
        if project is None:
            project = create_project(PROJECT, "Demo", by, description="Something to try AgentHub with.")
        known = set(project.agents.values_list("name", flat=True))
        for name, preset in {AGENT: SCRIPTED, **{preset: preset for preset in _real_runtimes()}}.items():
            if name not in known:
                create_agent(
                    project,
                    by=by,
                    name=name,
                    description=f"{PRESETS[preset].title}, in a worktree of the demo repository",
                    node=node,
                    runtime=PRESETS[preset].kind,
                    preset=preset,
                    workspace_mode=Agent.WorkspaceMode.CREATE_WORKTREE,
                    worktree_repo=str(repository),
                )
        run = _first_run(project, by) if is_new else None
    names = project.agents.filter(archived_at=None).values_list("name", flat=True)
    agents = sorted(names, key=lambda name: (name != AGENT, name))
    return {"project": project.slug, "agents": agents, "run": str(run.pk) if run else None}


def _first_run(project: Project, by: Any) -> Run:
    return start_run(project.agents.get(name=AGENT), by=by, prompt=FIRST_PROMPT)


def _real_runtimes() -> list[str]:
    """Presets, other than our own, whose program is installed here."""
    return [found.name for found in find_runtimes() if found.is_installed and found.name != SCRIPTED]
