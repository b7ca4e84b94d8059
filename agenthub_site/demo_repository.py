"""A small git repository to try things on."""

import os
import subprocess
from pathlib import Path
from typing import Final

import structlog

logger = structlog.get_logger(__name__)

GIT_SECONDS: Final = 60.0
READABLE_UMASK: Final = 0o022
"""Agents of isolation ``user`` are somebody else, and read the repository of their worktrees."""
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
        umask=READABLE_UMASK,
    )
