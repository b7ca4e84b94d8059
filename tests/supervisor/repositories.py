"""Git repositories for tests, made with the real git."""

import os
import subprocess
from pathlib import Path


def git(directory: Path, *arguments: str) -> str:
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(directory), "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "Alice", "GIT_AUTHOR_EMAIL": "alice@example.org",
        "GIT_COMMITTER_NAME": "Alice", "GIT_COMMITTER_EMAIL": "alice@example.org",
    }  # fmt: skip
    done = subprocess.run(["git", *arguments], cwd=directory, env=environment, capture_output=True, check=True)
    return done.stdout.decode().strip()


def make_repository(path: Path, **files: str) -> Path:
    """A repository with one commit on ``main``; ``readme`` becomes ``readme.txt``."""
    path.mkdir(parents=True)
    git(path, "init", "-q", "-b", "main")
    for name, text in (files or {"readme": "hello\n"}).items():
        (path / f"{name}.txt").write_text(text)
    git(path, "add", ".")
    git(path, "commit", "-qm", "First")
    return path
