"""``hubctl serve``: a whole hub where agent-hub-mcp had its server, with that package's files and variables.

Standard library only, as ``up`` is: this process becomes the hub's parent. A thread of it keeps the hub in step with
``agents.env`` and ``config.yaml``, through the operator's socket.
"""

import argparse
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from agenthub_site.summary import say, warn
from integrations.cli.agents_env import BadFile, read_agents_env
from integrations.cli.client import Client, HubRefused, HubUnreachable, TooLong
from integrations.cli.hubctl import OLD_DATABASE, PROJECTS, import_lines, serve_home
from integrations.cli.limits_file import read_limits
from integrations.cli.parsers import Parser
from integrations.cli.where import Where, find_where, short
from nodes.contract.errors import ConfigError, Conflict

AGENTS_FILE: Final = "~/.config/agent-hub/agents.env"
CONFIG_FILE: Final = "~/.config/agent-hub/config.yaml"
PROJECT: Final = "agent-hub"
HOST, PORT = "127.0.0.1", "8765"
LOOK_SECONDS: Final = 2.0
READY_SECONDS: Final = 300.0

DESCRIPTION = """\
Start a hub that answers at http://127.0.0.1:8765/mcp, in the place of agent-hub-mcp's server.

It reads that package's agents.env (lines of AGENT_ID=TOKEN) and config.yaml (the limits), at the start and whenever
they change, and honours AGENT_HUB_HOST, AGENT_HUB_PORT and AGENT_HUB_DB. Its own data are beside the old database, in
the directory agenthub, or in AGENTHUB_HOME. Everything else is as with `agenthub up`."""

EXAMPLES = """\
examples:
  hubctl serve
  AGENT_HUB_PORT=9000 hubctl serve
  hubctl serve --agents ./agents.env --limits ./config.yaml"""


class BadFiles(ConfigError):
    code = "bad_config"


class OldTasks(Conflict):
    """``data``: the ``database``, and how many ``tasks`` and ``messages`` are open in it."""

    code = "old_tasks"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser("hubctl serve", description=DESCRIPTION, epilog=EXAMPLES)
    parser.add_argument(
        "--agents", metavar="FILE", default=AGENTS_FILE, help=f"agents and their tokens ({AGENTS_FILE})"
    )
    parser.add_argument("--limits", metavar="FILE", default=CONFIG_FILE, help=f"the project's limits ({CONFIG_FILE})")
    parser.add_argument("--project", default=PROJECT, help=f"whose the agents are; made if missing ({PROJECT})")
    parser.add_argument(
        "--leave-old-tasks", action="store_true", help="start although the old database has open tasks: they stay there"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object when ready")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str], where: Where) -> int:
    """Serve until a signal. Raises ``BadFiles``, ``OldTasks``, and what ``up`` does."""
    from agenthub_site.up import main as up

    options = parse(arguments)
    files = Files(Path(options.agents).expanduser(), Path(options.limits).expanduser(), options.project)
    files.read()
    is_own = "AGENTHUB_HOME" not in os.environ and "AGENTHUB_CONFIG" not in os.environ
    home = serve_home() if is_own else where.home
    if not options.leave_old_tasks and not (home / "db.sqlite3").exists():
        refuse_old_tasks(Path(os.environ.get("AGENT_HUB_DB") or OLD_DATABASE).expanduser())
    if is_own:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.environ["AGENTHUB_HOME"] = str(home)
    if "AGENTHUB_SERVER__LISTEN" not in os.environ:
        host, port = os.environ.get("AGENT_HUB_HOST") or HOST, os.environ.get("AGENT_HUB_PORT") or PORT
        os.environ["AGENTHUB_SERVER__LISTEN"] = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    where = find_where(str(where.config) if where.config and not is_own else None)
    keeper = threading.Thread(target=keep, args=(files, Client.over_socket(where.socket)), daemon=True)
    keeper.start()
    return up(["--no-demo", *(["--json"] if options.json else [])], where)


class Files:
    """The two files, and what the hub was told of them."""

    def __init__(self, agents: Path, limits: Path, project: str) -> None:
        self.project = project
        self.agents, self.limits = agents, limits
        self._is_made = False
        self._done: dict[Path, int] = {}
        self._waiting: set[Path] = set()

    def read(self) -> tuple[dict[str, str], dict[str, Any]]:
        """Tokens and limits; empty for a file that is not there. Raises ``BadFiles``."""
        return self._read(self.agents, read_agents_env), self._read(self.limits, read_limits)

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
        for path, tell in ((self.agents, self._tell_agents), (self.limits, self._tell_limits)):
            try:
                seen = path.stat().st_mtime_ns if path.exists() else 0
                if self._done.get(path) == seen:
                    continue
                tell(client)
            except (BadFiles, HubRefused, TooLong) as error:
                if isinstance(error, HubRefused) and error.status >= HTTPStatus.TOO_MANY_REQUESTS:
                    self._wait(path, error)
                    continue
                warn(f"{error} What the hub has stays as it is.")
            except (HubUnreachable, OSError) as error:
                self._wait(path, error)
                continue
            self._waiting.discard(path)
            self._done[path] = seen

    def _wait(self, path: Path, error: Exception) -> None:
        if path not in self._waiting:
            warn(f"{error} {short(path)} is tried again.")
        self._waiting.add(path)

    def _tell_agents(self, client: Client) -> None:
        lines = self._read(self.agents, read_agents_env)
        self._make_project(client)
        if not lines:
            say(f"  Agents    There are none yet: write lines of AGENT_ID=TOKEN to {short(self.agents)}.")
            return
        import_lines(client, self.project, lines)
        say(f"  Agents    {len(lines)} agents of the project {self.project} may come: {', '.join(lines)}.")

    def _tell_limits(self, client: Client) -> None:
        if limits := self._read(self.limits, read_limits):
            self._make_project(client)
            client.patch(f"{PROJECTS}{self.project}/limits/", limits)
            say(f"  Limits    of {short(self.limits)}: {', '.join(limits)}.")

    def _make_project(self, client: Client) -> None:
        if not self._is_made and not any(item["slug"] == self.project for item in client.every(PROJECTS, limit=200)):
            client.post(PROJECTS, {"slug": self.project, "name": "Agent hub"})
        self._is_made = True


def keep(files: Files, client: Client) -> None:
    """Tell the hub what is in the files, once it is ready and whenever they change. Ends with the process."""
    until = time.monotonic() + READY_SECONDS
    while not _is_ready(client) and time.monotonic() < until:
        time.sleep(0.2)
    while True:
        files.apply(client)
        time.sleep(LOOK_SECONDS)


def _is_ready(client: Client) -> bool:
    try:
        client.get("/api/v1/me/")
    except (HubRefused, HubUnreachable):
        return False
    return True


def refuse_old_tasks(database: Path) -> None:
    """``OldTasks`` if agent-hub-mcp's database has work that is not over. It is only read."""
    if not database.exists():
        return
    try:
        with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True, timeout=5)) as old:
            (tasks,) = old.execute(
                "SELECT count(*) FROM root_tasks WHERE status NOT IN ('completed', 'closed')"
            ).fetchone()
            (messages,) = old.execute("SELECT count(*) FROM messages WHERE is_read = 0").fetchone()
    except sqlite3.Error as error:
        raise BadFiles(
            f"{database} cannot be read as agent-hub-mcp's database ({error}). Move it away, or name another by "
            "AGENT_HUB_DB."
        ) from error
    if tasks or messages:
        raise OldTasks(
            f"{database} has {tasks} open tasks and {messages} unread messages of agent-hub-mcp, which are not taken "
            "over. Finish or close them there first; or start with --leave-old-tasks, and they stay where they are.",
            database=str(database), tasks=tasks, messages=messages,
        )  # fmt: skip
