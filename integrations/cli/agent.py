"""``agenthub agent``: make, change and put away agents."""

import argparse
import os.path
import shlex
from collections.abc import Callable
from typing import Any, Final

from .client import Client, Json
from .commands import PAGE, Missing, Wrong, print_json, say
from .exits import Exit
from .parsers import finite, positive
from .render import clean

PATH: Final = "/api/v1/agents/"
LOCAL: Final = "local"
EXAMPLES: Final = """\
  agenthub agent create mender --project demo --preset claude-code --repository ~/src/shop
  agenthub agent create tests --project web --node gpu-01 --runtime command --command "make test" --directory /srv/shop
  agenthub agent create helper --project web --pool gpu --label arch=arm64 --preset codex --repository /srv/shop
  agenthub agent change mender --model sonnet --env PIP_INDEX_URL=https://pypi.example.com --wake-on-mail
  agenthub agent show mender --json"""
_SETTINGS: Final = (
    "name", "description", "node", "pool", "runtime", "preset", "model", "isolation", "network", "approval_seconds",
    "turn_seconds", "lost_after_seconds", "stop_after_seconds", "resume", "wake_on_mail", "mcp",
)  # fmt: skip
"""Sent as they are. What takes more than one option is put together below."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="create|show|change|remove")
    create = actions.add_parser("create", help="make one; it runs on the local node unless you say otherwise")
    show = actions.add_parser("show", help="print its settings")
    change = actions.add_parser("change", help="change it for later runs")
    remove = actions.add_parser("remove", help="put it away: it starts no more runs, and its history stays")
    create.add_argument("name", help="letters, digits, '.', '_' and '-'")
    create.add_argument("--project", metavar="P", required=True, help="a project, by its slug")
    for each in (show, change, remove):
        each.add_argument("agent", help="its name, project/name, or id")
    change.add_argument("--name", help="another name")
    change.add_argument("--unset", metavar="NAME", action="append", default=[], help="forget a variable; repeatable")
    for each in (create, change):
        _add_settings(each)
    for each in (create, show, change, remove):
        each.add_argument("--json", action="store_true", help="print JSON; errors too, in the API's shape")


def _add_settings(parser: argparse.ArgumentParser) -> None:
    what = parser.add_argument_group("what it is")
    what.add_argument("--preset", metavar="NAME", help="a known agent, such as claude-code, codex, gemini, opencode")
    what.add_argument("--command", metavar="WORDS", help="the program and its arguments, quoted as in a shell")
    what.add_argument("--runtime", choices=("acp", "command", "external"), help="how it is spoken to (acp)")
    what.add_argument("--model", metavar="NAME", help="in the runtime's own words")
    what.add_argument("--description", metavar="TEXT", help="what it is good for")
    what.add_argument("--env", metavar="NAME=VALUE", type=_pair, action="append", help="for its process; repeatable; "
                      "secret:NAME stands for a secret that its node keeps")  # fmt: skip
    where = parser.add_argument_group("where it runs")
    one = where.add_mutually_exclusive_group()
    one.add_argument("--node", metavar="SLUG", help="that node (local)")
    one.add_argument("--pool", metavar="NAME", help="any node of this pool")
    where.add_argument("--label", metavar="K=V", type=_pair, action="append", help="that a node must have; repeatable")
    workspace = parser.add_argument_group("in which files it works")
    files = workspace.add_mutually_exclusive_group()
    files.add_argument("--repository", metavar="PATH", help="a git repository: each run gets a worktree of its own")
    files.add_argument("--directory", metavar="PATH", help="that directory itself, shared by its runs")
    files.add_argument("--worktree", metavar="PATH", help="that worktree, one run after the other")
    workspace.add_argument("--ref", metavar="REF", help="the commit or branch from which worktrees begin (HEAD)")
    limits = parser.add_argument_group("what it may")
    limits.add_argument("--isolation", choices=("none", "masked", "user"), help="at the least")
    limits.add_argument("--network", choices=("shared", "none"), help="the node's, or none")
    _switch(limits, "--mcp", "give its runs the hub's tools")
    _switch(limits, "--wake-on-mail", "let mail start a run while it has none")
    times = parser.add_argument_group("when it stops (seconds)")
    times.add_argument("--approval-seconds", metavar="S", type=finite, help="how long a question waits for an answer")
    times.add_argument("--turn-seconds", metavar="S", type=finite, help="how long one turn may take")
    times.add_argument(
        "--lost-after", dest="lost_after_seconds", metavar="S", type=positive, help="of its node's silence"
    )
    times.add_argument("--stop-after", dest="stop_after_seconds", metavar="S", type=positive, help="without a hub")
    _switch(times, "--resume", "begin anew, once, when its node or supervisor died")


def _switch(group: Any, option: str, what: str) -> None:
    group.add_argument(option, action=argparse.BooleanOptionalAction, default=None, help=what)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"must be NAME=VALUE, got {text[:40]!r}")
    return name, value


def manage_agents(client: Client, options: argparse.Namespace) -> Exit:
    match options.action:
        case "create":
            made = client.post(PATH, {"project": options.project, **_new(options)})
            say(options, made, _next_step(made))
        case "change":
            found = find_agent(client, options.agent)
            changes = _changes(options, found)
            if not changes:
                raise Wrong("Say what changes: `agenthub agent change --help` lists what can.")
            changed = client.patch(f"{PATH}{found['id']}/", changes)
            say(options, changed, f"{changed['name']} is changed; runs under way keep what they were started with.")
        case "remove":
            found = find_agent(client, options.agent)
            client.delete(f"{PATH}{found['id']}/")
            say(options, {"id": found["id"]}, f"{found['name']} is put away; its runs can still be read.")
        case _:
            _show(options, find_agent(client, options.agent))
    return Exit.OK


def find_agent(client: Client, wanted: str) -> Json:
    """The agent with this name, ``project/name`` or id."""
    known = [
        agent
        for agent in client.every(PATH, limit=PAGE)
        if wanted in (agent["id"], agent["name"], f"{agent['project_slug']}/{agent['name']}")
    ]
    if not known:
        raise Missing(f"There is no agent {wanted!r} that you may see. `agenthub agents` lists them.")
    if len(known) > 1:
        names = ", ".join(f"{agent['project_slug']}/{agent['name']}" for agent in known[:5])
        raise Wrong(f"{wanted!r} fits {len(known)} agents: {names}. Name its project, too.", Exit.REFUSED, "ambiguous")
    return known[0]


def _next_step(made: Json) -> str:
    name = f"{made['project_slug']}/{made['name']}"
    if made["runtime"] == "external":
        return f"{name} is made. It comes by MCP, with a token: agenthub token create NAME --agent {name}"
    return f'{name} is made, on {made["runs_on"]}. Start it: agenthub run {name} "…" --follow'


def _new(options: argparse.Namespace) -> Json:
    """What was said, and the local node unless something else says where it runs."""
    given = _given(options)
    if options.runtime != "external" and not given.keys() & {"node", "pool", "node_labels"}:
        given["node"] = LOCAL
    return given | _workspace(options, at=_paths_of(given.get("node")))


def _changes(options: argparse.Namespace, found: Json) -> Json:
    """What was said and nothing else; variables that were not named stay."""
    given = _given(options)
    if options.env or options.unset:
        stay = {name: value for name, value in found["environment"].items() if name not in options.unset}
        given["environment"] = stay | given.get("environment", {})
    return given | _workspace(options, at=_paths_of(given.get("node", found["node_slug"])))


def _given(options: argparse.Namespace) -> Json:
    given = {name: value for name in _SETTINGS if (value := getattr(options, name, None)) is not None}
    if options.label:
        given["node_labels"] = dict(options.label)
    if options.env:
        given["environment"] = dict(options.env)
    if options.command is not None:
        try:
            given["command"] = shlex.split(options.command)
        except ValueError as error:
            raise Wrong(f"--command cannot be read: {error}.") from error
    return given


def _workspace(options: argparse.Namespace, *, at: Callable[[str], str]) -> Json:
    given: Json = {}
    if options.repository is not None:
        given = {"workspace_mode": "create_worktree", "worktree_repo": at(options.repository)}
    elif options.directory is not None:
        given = {"workspace_mode": "use_existing", "workdir": at(options.directory)}
    elif options.worktree is not None:
        given = {"workspace_mode": "reuse_worktree", "workdir": at(options.worktree)}
    return given | ({} if options.ref is None else {"worktree_ref": options.ref})


def _paths_of(node: str | None) -> Callable[[str], str]:
    """On this machine a path may begin where we are; on another it is the node's to read."""
    return os.path.abspath if node == LOCAL else str


def _show(options: argparse.Namespace, agent: Json) -> None:
    if options.json:
        print_json(agent)
        return
    for name, value in agent.items():
        if value not in (None, "", [], {}) and name not in ("project", "node"):
            print(f"{name:20} {clean(_as_text(value))}")


def _as_text(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}={each}" for name, each in value.items())
    if isinstance(value, list):
        return shlex.join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
