"""``agenthub doctor``: is this machine ready, is this home in order, does a hub answer?"""

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from agenthub_site.homelock import live_runs
from agenthub_site.listening import DEFAULT_LISTEN, BadListen, choose_address
from integrations.cli.client import Client, HubRefused, HubUnreachable
from integrations.cli.exits import Exit
from integrations.cli.parsers import Parser
from integrations.cli.where import Where, short

GIT_SECONDS = 5.0
FREE_BYTES = 1024 * 1024 * 1024
MARKS = {"ok": "✓", "note": "·", "warning": "!", "problem": "✗"}


@dataclass(frozen=True, slots=True)
class Finding:
    level: str
    """``ok``, ``note``, ``warning``, ``problem``; the last makes the exit code 1."""
    what: str
    message: str


def main(arguments: Sequence[str], where: Where) -> int:
    parser = Parser(
        "agenthub doctor",
        description="Check this machine, this home and its hub. Ends with 1 if something is wrong.",
        epilog="examples:\n  agenthub doctor\n  agenthub doctor --json",
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    options = parser.parse_args(arguments)
    findings = [finding for check in CHECKS for finding in check(where)]
    if options.json:
        sys.stdout.write(json.dumps([asdict(finding) for finding in findings]) + "\n")
    else:
        for finding in findings:
            sys.stdout.write(f"{MARKS[finding.level]} {finding.what:<14} {finding.message}\n")
    return Exit.FAILED if any(finding.level == "problem" for finding in findings) else Exit.OK


def _check_python(where: Where) -> Iterator[Finding]:
    version = ".".join(str(part) for part in sys.version_info[:3])
    yield Finding("ok", "python", f"{version} at {sys.executable}")
    if os.geteuid() == 0:
        yield Finding("warning", "account", "This is root: every agent may do whatever root may.")


def _check_config(where: Where) -> Iterator[Finding]:
    from nodes.contract.config import load_config
    from nodes.contract.errors import ConfigError

    try:
        load_config(str(where.config) if where.config else None)
    except ConfigError as error:
        yield Finding("problem", "configuration", str(error))
    else:
        yield Finding("ok", "configuration", short(where.config) if where.config else "defaults, no file")


def _check_home(where: Where) -> Iterator[Finding]:
    home = where.home
    nearest = next(path for path in (home, *home.parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        yield Finding(
            "problem", "home", f"{home} cannot be written. Set AGENTHUB_HOME to a directory that you may write."
        )
        return
    free = shutil.disk_usage(nearest).free
    level = "ok" if free >= FREE_BYTES else "warning"
    made = "" if home.exists() else ", not made yet"
    yield Finding(level, "home", f"{short(home)}{made}; {free // 1024**3} GiB free")
    yield from _check_modes(home)


def _check_modes(home: Path) -> Iterator[Finding]:
    for name in (".", "db.sqlite3", "secret_key", "pki", "node", "hub.sock"):
        path = home / name
        if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o007:
            yield Finding("warning", "home", f"{short(path)} is open to everybody; run `chmod o= {path}`.")


def _check_git(where: Where) -> Iterator[Finding]:
    git = shutil.which("git")
    if not git:
        yield Finding("problem", "git", "not found; worktrees and diffs need it. Install git.")
        return
    told = subprocess.run([git, "--version"], capture_output=True, text=True, timeout=GIT_SECONDS, check=False)
    yield Finding("ok", "git", told.stdout.strip().removeprefix("git version ") or "found")


def _check_runtimes(where: Where) -> Iterator[Finding]:
    from nodes.runtimes.probe import find_runtimes

    for runtime in find_runtimes():
        if not runtime.is_installed:
            yield Finding("note", runtime.name, f"not installed. {runtime.hint}")
        elif not runtime.is_logged_in:
            yield Finding("warning", runtime.name, f"{runtime.version or 'found'}, but not logged in. {runtime.hint}")
        else:
            yield Finding("ok", runtime.name, runtime.version or "found")


def _check_hub(where: Where) -> Iterator[Finding]:
    try:
        client = Client.of(where)
        client.get("/readyz")
    except HubRefused as error:
        missing = error.body.get("not_ready") or {"hub": str(error)}
        yield Finding("problem", "hub", "; ".join(f"{part}: {problem}" for part, problem in missing.items()))
    except HubUnreachable as error:
        if where.url:
            yield Finding("problem", "hub", str(error))
            return
        yield Finding("note", "hub", "not running here; `agenthub up` starts it")
        yield from _check_port(where)
    else:
        yield Finding("ok", "hub", f"answers at {client}")
    if live := live_runs(where.home / "node"):
        yield Finding("note", "runs", f"{len(live)} under way on this machine")


def _check_port(where: Where) -> Iterator[Finding]:
    try:
        choose_address(where)
    except BadListen as error:
        yield Finding("problem", "port", str(error))
    else:
        yield Finding("ok", "port", f"{where.server('listen', DEFAULT_LISTEN)} is free")


CHECKS: tuple[Callable[[Where], Iterator[Finding]], ...] = (
    _check_python,
    _check_config,
    _check_home,
    _check_git,
    _check_runtimes,
    _check_hub,
)
