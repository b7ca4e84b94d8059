"""This machine: Python, git, runtimes, disk, what runs on it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from agenthub_site.homelock import live_runs
from integrations.cli.where import short
from nodes.health import DISK_PCT

from .findings import Case, Finding, note, ok, problem, warning

GIT_SECONDS = 5.0
FREE_BYTES = 1024 * 1024 * 1024


def check_python(case: Case) -> Iterator[Finding]:
    version = ".".join(str(part) for part in sys.version_info[:3])
    yield ok("python", f"{version} at {sys.executable}")
    if os.geteuid() == 0:
        yield warning(
            "account", "This is root: every agent may do whatever root may.",
            "Give the service an account of its own.", "runs_as_root",
        )  # fmt: skip


def check_git(case: Case) -> Iterator[Finding]:
    git = shutil.which("git")
    if not git:
        yield problem("git", "not found; worktrees and diffs need it.", "Install git.", "git_missing")
        return
    try:
        told = subprocess.run([git, "--version"], capture_output=True, text=True, timeout=GIT_SECONDS, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        yield problem("git", f"{git} does not work: {error}", "Install git anew.", "git_missing")
    else:
        yield ok("git", told.stdout.strip().removeprefix("git version ") or "found")


def check_runtimes(case: Case) -> Iterator[Finding]:
    from nodes.runtimes.probe import find_runtimes

    missing = []
    for runtime in find_runtimes():
        if not runtime.is_installed:
            missing.append(runtime)
        elif not runtime.is_logged_in:
            yield warning(
                runtime.name, f"{runtime.version or 'found'}, but not logged in.", runtime.hint, "login_required"
            )
        else:
            yield ok(runtime.name, runtime.version or "found")
    if missing:
        names = ", ".join(runtime.name for runtime in missing)
        hints = "\n".join(f"{runtime.name}: {runtime.hint}" for runtime in missing)
        yield note("runtimes", f"not installed: {names}.", hints, "runtime_not_installed")


def check_disk(case: Case) -> Iterator[Finding]:
    """Where worktrees are made, by the thresholds of a node's health."""
    root = case.config.worktree_root if case.config else case.where.home
    nearest = existing(root)
    usage = shutil.disk_usage(nearest)
    used = 100 * (1 - usage.free / usage.total)
    message = f"{used:.0f} % of the disk of {short(root)} is used; {usage.free / 1024**3:.1f} GiB are free"
    fix = "Remove worktrees of ended runs that you do not need, or set worktree.default_root on a larger disk."
    if used > DISK_PCT.critical:
        yield problem("disk", f"{message}: runs stop with disk_full when it is full.", fix, "disk_full")
    elif used > DISK_PCT.warning or usage.free < FREE_BYTES:
        yield warning("disk", f"{message}.", fix, "disk_nearly_full")
    else:
        yield ok("disk", message)


def check_live_runs(case: Case) -> Iterator[Finding]:
    if live := live_runs(case.where.home / "node"):
        yield note("runs", f"{len(live)} under way on this machine")


def existing(path: Path) -> Path:
    """The path, or the nearest directory above it that exists."""
    return next(each for each in (path, *path.parents) if each.exists())


def check_isolation(case: Case) -> Iterator[Finding]:
    """Whether agents can be masked here: tried, really."""
    from nodes.server.sandbox import why_not

    yield from _check_other_user(case)
    if why := why_not():
        what, _, fix = why.partition(". ")
        yield note("isolation", f"agents cannot be masked here: {what}.", fix, "isolation_unavailable")
    else:
        yield ok("isolation", "agents can be masked (bubblewrap works)")


def _check_other_user(case: Case) -> Iterator[Finding]:
    from nodes.server import other_user

    name = case.config.isolation.run_as if case.config else ""
    if not name:
        return
    if why := other_user.why_not(name):
        what, _, fix = why.partition(". ")
        yield warning("isolation", f"agents cannot be run as {name}: {what}.", fix, "run_as_unavailable")
    else:
        yield ok("isolation", f"agents can be run as {name}")
