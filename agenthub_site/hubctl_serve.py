"""``hubctl serve``: a whole hub where agent-hub-mcp had its server, with that package's files and variables.

Standard library only, as ``up`` is: this process becomes the hub's parent. A thread of it keeps the hub in step with
``agents.env`` and ``config.yaml``, through the operator's socket.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from agenthub_site.summary import say, warn
from integrations.cli.agents_env import BadFile, read_agents_env, why_exposed
from integrations.cli.client import Client, HubRefused, HubUnreachable, TooLong
from integrations.cli.hubctl import OLD_DATABASE, PROJECTS, import_lines, revoke_unlisted, serve_home
from integrations.cli.limits_file import DEFAULTS, read_limits
from integrations.cli.old_hub import read_old_hub
from integrations.cli.parsers import Parser
from integrations.cli.where import Where, find_where, short
from nodes.contract.errors import ConfigError

AGENTS_FILE: Final = "~/.config/agent-hub/agents.env"
CONFIG_FILE: Final = "~/.config/agent-hub/config.yaml"
PROJECT: Final = "agent-hub"
HOST, PORT = "127.0.0.1", "8765"
MOST_PORT: Final = 65_535
REMEDY: Final = "Set another with AGENT_HUB_PORT or AGENT_HUB_HOST."
LOOK_SECONDS: Final = 2.0
READY_SECONDS: Final = 300.0
TAKE_OVER_SECONDS: Final = 600.0

DESCRIPTION = """\
Start a hub that answers at http://127.0.0.1:8765/mcp, in the place of agent-hub-mcp's server.

It reads that package's agents.env (lines of AGENT_ID=TOKEN) and config.yaml (the limits), at the start and whenever
they change, and honours AGENT_HUB_HOST, AGENT_HUB_PORT and AGENT_HUB_DB. What is alive in the old database comes over;
the file is only read. The hub's own data are beside it, in the directory agenthub, or in AGENTHUB_HOME. Everything else
is as with `agenthub up`."""

EXAMPLES = """\
examples:
  hubctl serve
  AGENT_HUB_PORT=9000 hubctl serve
  hubctl serve --agents ./agents.env --limits ./config.yaml"""


class BadFiles(ConfigError):
    code = "bad_config"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser("hubctl serve", description=DESCRIPTION, epilog=EXAMPLES)
    parser.add_argument(
        "--agents", metavar="FILE", default=AGENTS_FILE, help=f"agents and their tokens ({AGENTS_FILE})"
    )
    parser.add_argument("--limits", metavar="FILE", default=CONFIG_FILE, help=f"the project's limits ({CONFIG_FILE})")
    parser.add_argument("--project", default=PROJECT, help=f"whose the agents are; made if missing ({PROJECT})")
    parser.add_argument("--leave-old-tasks", action="store_true", help="take nothing over from the old database")
    parser.add_argument("--json", action="store_true", help="print one JSON object when ready")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str], where: Where) -> int:
    """Serve until a signal. Raises ``BadFiles``, and what ``up`` does."""
    from agenthub_site.up import main as up

    options = parse(arguments)
    files = Files(Path(options.agents).expanduser(), Path(options.limits).expanduser(), options.project)
    files.read()
    is_own = "AGENTHUB_HOME" not in os.environ and "AGENTHUB_CONFIG" not in os.environ
    home = serve_home() if is_own else where.home
    old = OldDatabase(Path(os.environ.get("AGENT_HUB_DB") or OLD_DATABASE).expanduser(), options.project, home)
    is_to_come = old.is_new and not options.leave_old_tasks
    if is_to_come:
        old.check()
    if is_own:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.environ["AGENTHUB_HOME"] = str(home)
    os.environ["AGENTHUB_SERVER__LISTEN"] = listen_address(os.environ)
    files.keep_note(home / "limits-of-file.json")
    where = find_where(str(where.config) if where.config and not is_own else None)
    told = (files, Client.over_socket(where.socket), old if is_to_come else None)
    keeper = threading.Thread(target=keep, args=told, daemon=True)
    keeper.start()
    return up(["--no-demo", *(["--json"] if options.json else [])], where, remedy=REMEDY)


def listen_address(environ: Mapping[str, str]) -> str:
    """As the package's variables say it; the hub's own setting comes first. Raises ``BadFiles``."""
    if own := environ.get("AGENTHUB_SERVER__LISTEN"):
        return own
    host, port = environ.get("AGENT_HUB_HOST") or HOST, environ.get("AGENT_HUB_PORT") or PORT
    if not (port.isascii() and port.isdigit() and int(port) <= MOST_PORT):
        raise BadFiles(f"AGENT_HUB_PORT must be a port, such as {PORT}, got {port[:40]!r}.")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Files:
    """The two files, and what the hub was told of them."""

    def __init__(self, agents: Path, limits: Path, project: str) -> None:
        self.project = project
        self.agents, self.limits = agents, limits
        self._is_made = False
        self._done: dict[Callable[[Client], None], int] = {}
        """When the file was changed of which the hub was told so."""
        self._seen = -1
        self._waiting: set[Path] = set()
        self._said = Said()

    def keep_note(self, path: Path) -> None:
        """Remember there, over restarts, which limits the file said."""
        self._said = Said(path)

    def read(self) -> tuple[dict[str, str], dict[str, Any]]:
        """Tokens and limits; empty for a file that is not there. Raises ``BadFiles``."""
        return self._read(self.agents, _read_agents), self._read(self.limits, read_limits)

    @staticmethod
    def _read(path: Path, reader: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
        try:
            return reader(path) if path.exists() else {}
        except (BadFile, OSError) as error:
            raise BadFiles(str(error)) from error

    def apply(self, client: Client) -> None:
        """Tell the hub of each file that is not as it was when the hub was last told, or refused it.

        What it could not be told now it is told the next time. Says what was done, and warns of what was not.
        """
        self._tell(self.agents, self._tell_agents, client)
        self._tell(self.limits, self._tell_limits, client)
        if self._is_at_rest():  # nothing brings a token back, and an editor may be in the middle of writing
            self._tell(self.agents, self._revoke_unlisted, client)

    def _is_at_rest(self) -> bool:
        """Whether the agents are as they were at the look before this one."""
        with suppress(OSError):
            before, self._seen = self._seen, _changed_at(self.agents)
            return before == self._seen
        return False

    def _tell(self, path: Path, tell: Callable[[Client], None], client: Client) -> None:
        try:
            seen = _changed_at(path)
            if self._done.get(tell) == seen:
                return
            tell(client)
        except (BadFiles, HubRefused, TooLong) as error:
            if isinstance(error, HubRefused) and error.status >= HTTPStatus.TOO_MANY_REQUESTS:
                self._wait(path, error)
                return
            warn(f"{error} What the hub has stays as it is.")
        except (HubUnreachable, OSError) as error:
            self._wait(path, error)
            return
        self._waiting.discard(path)
        self._done[tell] = seen

    def _wait(self, path: Path, error: Exception) -> None:
        if path not in self._waiting:
            warn(f"{error} {short(path)} is tried again.")
        self._waiting.add(path)

    def _tell_agents(self, client: Client) -> None:
        lines = self._read(self.agents, _read_agents)
        if lines and (warning := why_exposed(self.agents)):
            warn(warning)
        self.make_project(client)
        if not lines:
            say(f"  Agents    There are none yet: write lines of AGENT_ID=TOKEN to {short(self.agents)}.")
            return
        import_lines(client, self.project, lines)
        say(f"  Agents    {len(lines)} agents of the project {self.project} may come: {', '.join(lines)}.")

    def _revoke_unlisted(self, client: Client) -> None:
        """Whose line is gone may not come any more. A file that is not there says nothing of anybody."""
        if not self.agents.exists():
            return
        lines = self._read(self.agents, _read_agents)
        self.make_project(client)
        if revoked := revoke_unlisted(client, self.project, lines):
            of_all = "" if lines else f"{short(self.agents)} is empty: nobody may come any more. "
            warn(f"{of_all}Tokens that are not in {short(self.agents)} any more were revoked: {', '.join(revoked)}.")

    def _tell_limits(self, client: Client) -> None:
        """What the file says; what it said before, and says no more, is at its default again.

        A file that goes meanwhile says nothing, as while an editor replaces it; at the next start it says nothing more.
        """
        if not self.limits.exists() and self._tell_limits in self._done:
            return
        limits = self._read(self.limits, read_limits)
        gone = [name for name in self._said.read() if name not in limits]
        if not limits and not gone:
            return
        self.make_project(client)
        try:
            client.patch(f"{PROJECTS}{self.project}/limits/", {name: DEFAULTS[name] for name in gone} | limits)
        except HubRefused as error:
            raise _by_name(error) from error
        self._said.write(list(limits))
        if limits:
            say(f"  Limits    of {short(self.limits)}: {', '.join(limits)}.")
        if gone:
            say(f"  Limits    at their defaults, since {short(self.limits)} no longer says them: {', '.join(gone)}.")

    def make_project(self, client: Client) -> None:
        """Once, if it is not there."""
        if not self._is_made and not any(item["slug"] == self.project for item in client.every(PROJECTS, limit=200)):
            client.post(PROJECTS, {"slug": self.project, "name": "Agent hub"})
        self._is_made = True


class Said:
    """Which limits the file said when the hub was last told of it; kept at ``path``, if there is one."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._names: list[str] = []

    def read(self) -> list[str]:
        with suppress(OSError, ValueError):
            said = json.loads(self._path.read_text()) if self._path else self._names
            return [name for name in DEFAULTS if name in said]
        return []

    def write(self, names: list[str]) -> None:
        self._names = names
        if self._path:
            self._path.write_text(json.dumps(names))


def _by_name(error: HubRefused) -> BadFiles | HubRefused:
    """The refusal with the names of what does not fit, which its message leaves out."""
    data = error.body.get("error", {}).get("data")
    fields = data.get("fields") if isinstance(data, dict) else None
    if error.code != "invalid" or not fields:
        return error
    return BadFiles(" ".join(f"{name}: {' '.join(why)}" for name, why in fields.items()))


def _read_agents(path: Path) -> dict[str, str]:
    return read_agents_env(path, may_be_empty=True)


def _changed_at(path: Path) -> int:
    """In nanoseconds; 0 for a file that is not there."""
    return path.stat().st_mtime_ns if path.exists() else 0


def keep(files: Files, client: Client, old: "OldDatabase | None" = None) -> None:
    """Tell the hub what is in the files, once it is ready and whenever they change. Ends with the process.

    What is alive in the ``old`` database comes over first: no agent comes before its token is known.
    """
    until = time.monotonic() + READY_SECONDS
    while not _is_ready(client) and time.monotonic() < until:
        time.sleep(0.2)
    if old:
        try:
            files.make_project(client)
            old.take_over()
        except (HubRefused, HubUnreachable, OSError, subprocess.SubprocessError) as error:
            warn(f"The old database was not taken over; the next start tries again. {error}")
    while True:
        files.apply(client)
        time.sleep(LOOK_SECONDS)


def _is_ready(client: Client) -> bool:
    try:
        client.get("/api/v1/me/")
    except (HubRefused, HubUnreachable):
        return False
    return True


class OldDatabase:
    """agent-hub-mcp's, and what of it came over. It is only read."""

    def __init__(self, path: Path, project: str, home: Path) -> None:
        self._path = path
        self._project = project
        self._note = home / "taken-over.json"
        self._seen = _state_of(path)

    @property
    def is_new(self) -> bool:
        """Whether there is one that is not as it was when it was last taken over."""
        return self._path.exists() and _state_of(self._path) != self._noted()

    def check(self) -> None:
        """Raises ``BadFiles`` for one that cannot be taken over."""
        try:
            read_old_hub(self._path, datetime.now(UTC))
        except BadFile as error:
            raise BadFiles(
                f"{error} Name another by AGENT_HUB_DB; or start with --leave-old-tasks, and it stays where it is."
            ) from error

    def take_over(self) -> None:
        """Have the hub's own program read it. Says what came over, and what did not."""
        command = [sys.executable, "-P", "-m", "agenthub_site.main", "manage", "import_agent_hub", str(self._path)]
        done = subprocess.run(
            [*command, "--project", self._project], capture_output=True, text=True, timeout=TAKE_OVER_SECONDS,
            check=False,
        )  # fmt: skip
        if done.returncode:
            warn(f"{short(self._path)} was not taken over; the next start tries again. {_last_line(done.stderr)}")
            return
        self._note.write_text(json.dumps(self._seen))
        for line in done.stdout.splitlines():
            say(f"  Old hub   {line}")

    def _noted(self) -> object:
        try:
            return json.loads(self._note.read_text())
        except (OSError, ValueError):
            return None


def _state_of(path: Path) -> list[object]:
    """By which it is seen that a database has changed: its log is part of it."""
    found: list[object] = [str(path)]
    for each in (path, path.with_name(f"{path.name}-wal")):
        with suppress(OSError):
            status = each.stat()
            found += [status.st_size, status.st_mtime_ns]
    return found


def _last_line(said: str) -> str:
    return (said.strip().splitlines() or ["It did not say why."])[-1]
