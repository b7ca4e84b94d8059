"""Something to try: a project, a small git repository, a scripted agent, and one agent per real runtime found."""

import os
import subprocess
from pathlib import Path
from typing import Any

import structlog
from django.db import transaction

from agenthub_site.accounts.authentication import actor_of
from agenthub_site.accounts.models import Project, User
from agenthub_site.accounts.services import create_project
from agents.models import Agent, Run
from agents.services.agents import create_agent
from agents.services.runs import start_run
from nodes.contract.config import Config
from nodes.models import Node
from nodes.runtimes.presets import PRESETS
from nodes.runtimes.probe import find_runtimes

logger = structlog.get_logger(__name__)

PROJECT = "demo"
AGENT = "demo"
SCRIPTED = "scripted"
GIT_SECONDS = 60.0
FIRST_PROMPT = "Have a look around, and tell me what you find."
FILES = {
    "README.md": """\
# Hello

A very small program to try AgentHub on. Ask an agent for something:

- "Greet people by name"
- "Write a test for greet()"
- "Translate the greeting, by a --language option"

Every run works in a worktree of its own, on a branch of its own: this one stays as it is
until you merge what you like.
""",
    "hello.py": '''\
"""Say hello."""


def greet() -> str:
    return "Hello, world!"


if __name__ == "__main__":
    print(greet())
''',
}


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
                    runtime=Agent.Runtime.ACP,
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


def make_repository(path: Path) -> None:
    """A git repository with one commit; one that is there is left alone."""
    if (path / ".git").exists():
        return
    path.mkdir(mode=0o755, parents=True, exist_ok=True)
    for name, text in FILES.items():
        if not (path / name).exists():
            (path / name).write_text(text, "utf-8")
    try:
        _git(path, "init", "--quiet", "--initial-branch=main")
        _git(path, "add", "--all")
        _git(
            path,
            "-c",
            "user.name=AgentHub",
            "-c",
            "user.email=agenthub@localhost",
            "commit",
            "--quiet",
            "-m",
            "Say hello",
        )
    except (OSError, subprocess.SubprocessError) as error:
        logger.warning("demo.repository_failed", path=str(path), error=str(error), advice="install git")


def _git(path: Path, *arguments: str) -> None:
    environ = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    subprocess.run(
        ["git", "-c", "core.hooksPath=/dev/null", "-c", "commit.gpgsign=false", *arguments],
        cwd=path,
        check=True,
        timeout=GIT_SECONDS,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={**environ, "GIT_TERMINAL_PROMPT": "0"},
    )
