"""``hubctl``: the operator's part of coordinated work. ``hubctl serve`` is the server's: ``agenthub_site.hubctl``."""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from .agents_env import BadFile, read_agents_env, why_exposed
from .client import Client, HubRefused, Json
from .commands import Missing, Wrong, ask_hub, print_json
from .exits import MEANINGS, Exit
from .parsers import Parser
from .render import clean, counted, table
from .where import Where, find_where

REVOKE = "/api/v1/agents/revoke-unlisted/"
TASKS, ROUNDS, IMPORT, PROJECTS = "/api/v1/tasks/", "/api/v1/rounds/", "/api/v1/agents/import/", "/api/v1/projects/"
OLD_DATABASE: Final = "~/.local/share/agent-hub/hub.db"
COMMANDS: Final = (
    "approve", "reject", "close", "hand", "status", "list-tasks", "list-rounds", "import-agents", "serve",
)  # fmt: skip

EXAMPLES = """\
examples:
  hubctl list-rounds --state awaiting_operator_approval
  hubctl approve 0199a1b2-… "Go ahead"
  hubctl status 0199a1b2-… --json
  hubctl import-agents ~/.config/agent-hub/agents.env --project web"""

DESCRIPTION = """\
What an operator does with agents' tasks: approve and reject plans, close tasks or give them to another
dispatcher, see how far they are.

It talks to the hub of `hubctl serve` if there is one on this machine, else to the usual one, as `agenthub` does:
the home's socket, or AGENTHUB_URL with AGENTHUB_TOKEN."""


def main(arguments: Sequence[str], where: Where) -> int:
    """Run one command, but for ``serve``."""
    options = parser().parse_args(list(arguments))
    command: Callable[[Client, argparse.Namespace], Exit] = _COMMANDS[options.command]
    return ask_hub(command, options, hub_of(where))


def parser() -> Parser:
    parser = Parser("hubctl", description=DESCRIPTION, epilog=f"{EXAMPLES}\n\n{MEANINGS}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="|".join(COMMANDS))
    for verb, what in (("approve", "let a round's plan be carried out"), ("reject", "have it planned anew")):
        each = commands.add_parser(verb, help=what)
        each.add_argument("round", help="its id")
        each.add_argument("note", nargs="*", default=[], help="why; the task's agents see it")
    close = commands.add_parser("close", help="end a task before it is completed")
    close.add_argument("task", help="the id that its creator chose, or its own")
    hand = commands.add_parser("hand", help="give a task to another dispatcher, who plans and reviews it from now on")
    hand.add_argument("task", help="the id that its creator chose, or its own")
    hand.add_argument("agent", help="an agent of its project: its name or id")
    status = commands.add_parser("status", help="how far a round is, with its assignments")
    status.add_argument("round", help="its id")
    tasks = commands.add_parser("list-tasks", help="the newest first")
    rounds = commands.add_parser("list-rounds", help="the oldest first")
    rounds.add_argument("task", nargs="?", help="only those of this task")
    for each in (tasks, rounds):
        each.add_argument("--project", help="only those of this project")
        each.add_argument("--state", help="only those in this state")
    importing = commands.add_parser("import-agents", help="agents and their tokens from an agents.env")
    importing.add_argument("file", help="lines of AGENT_ID=TOKEN")
    importing.add_argument("--project", help="whose they are; needed where there are several")
    commands.add_parser("serve", help="start a hub at 127.0.0.1:8765", add_help=False)
    for name, each in commands.choices.items():
        if name != "serve":
            each.add_argument("--json", action="store_true", help="print JSON; errors too, in the API's shape")
    return parser


def serve_home(environ: Mapping[str, str] = os.environ) -> Path:
    """The home of the hub that ``hubctl serve`` starts: beside the database of the package that it takes over from."""
    old = Path(os.path.abspath(os.path.expanduser(environ.get("AGENT_HUB_DB") or OLD_DATABASE)))
    return old.parent / f"{old.stem}-agenthub" if environ.get("AGENT_HUB_DB") else old.parent / "agenthub"


def hub_of(where: Where) -> Where:
    """Where the hub is that is meant: as ``agenthub`` finds it, or that of ``hubctl serve`` where nothing is said."""
    environ = where.environ
    if where.url or "AGENTHUB_HOME" in environ or "AGENTHUB_CONFIG" in environ:
        return where
    home = serve_home(environ)
    if "AGENT_HUB_DB" not in environ and not (home / "hub.sock").exists():
        return where
    return find_where(None, {**environ, "AGENTHUB_HOME": str(home)})


def _decide(client: Client, options: argparse.Namespace) -> Exit:
    round_ = _find_round(client, options.round)
    told = _with_status(client.post(f"{ROUNDS}{round_['id']}/{options.command}/", {"note": " ".join(options.note)}))
    if options.command == "approve":
        return _say(options, told, f"Round {told['id']}: APPROVED → dispatched")
    again = _repeat_of(client, told["task"])
    words = f"opened again by itself: round#{again['number']}  {again['id']}" if again else "needs re-plan"
    return _say(options, {**told, "next_round": again and again["id"]}, f"Round {told['id']}: REJECTED → {words}")


def _repeat_of(client: Client, task: str) -> Json | None:
    """The task's round that opened by itself, with the goals of one that was rejected, and waits."""
    waiting = client.every(ROUNDS, limit=200, task=task, state="awaiting_operator_approval")
    return next((round_ for round_ in waiting if round_.get("is_repeat")), None)


def _close(client: Client, options: argparse.Namespace) -> Exit:
    task = _find_task(client, options.task)
    told = client.post(f"{TASKS}{task['id']}/close/")
    return _say(options, {**told, "status": told["state"]}, f"Task {clean(told['key'])}: CLOSED")


def _hand(client: Client, options: argparse.Namespace) -> Exit:
    task = _find_task(client, options.task)
    told = client.post(f"{TASKS}{task['id']}/hand/", {"dispatcher": options.agent})
    done = f"Task {clean(told['key'])}: {clean(told['dispatcher'])} plans and reviews it now"
    return _say(options, {**told, "status": told["state"]}, done)


def _status(client: Client, options: argparse.Namespace) -> Exit:
    found = _with_status(_find_round(client, options.round))
    if options.json:
        print_json(found)
        return Exit.OK
    print(f"Round {found['id']}: {found['status']}")
    print(f"  task {clean(found['task_key'])}, round {found['number']}, of {clean(found['project_slug'])}")
    if found["decided_by"]:
        note = f": {clean(found['operator_note'])}" if found["operator_note"] else ""
        print(f"  decided by {clean(found['decided_by'])}{note}")
    if found["review"]:
        print(f"  reviewed by {clean(found['review']['agent'])}: {found['review']['verdict']}")
    rows = [
        (item["id"], item["state"], item["agent"] or "anyone", clean(item["goal"])[:60])
        for item in found["assignments"]
    ]
    table(rows, ("ASSIGNMENT", "STATE", "AGENT", "GOAL"), sys.stdout)
    return Exit.OK


def _list_tasks(client: Client, options: argparse.Namespace) -> Exit:
    _require_project(client, options.project)
    found = list(client.every(TASKS, limit=200, project=options.project, state=options.state))
    if options.json:
        print_json([{**task, "status": task["state"]} for task in found])
    elif not found:
        print("agenthub: No tasks that fit. Agents draft them, by MCP.", file=sys.stderr)
    for task in found if not options.json else ():
        print(f"  [{task['state']}] {clean(task['key'])}  {clean(task['title'])[:60]}")
    return Exit.OK


def _list_rounds(client: Client, options: argparse.Namespace) -> Exit:
    _require_project(client, options.project)
    task = _find_task(client, options.task)["id"] if options.task else None
    found = list(client.every(ROUNDS, limit=200, task=task, project=options.project, state=options.state))[::-1]
    if options.json:
        print_json([_with_status(round_) for round_ in found])
    elif not found:
        print("agenthub: No rounds that fit. Agents plan them, by MCP.", file=sys.stderr)
    for round_ in found if not options.json else ():
        print(f"  [{round_['state']}] round#{round_['number']}  {round_['id']}  {clean(round_['task_key'])}")
    return Exit.OK


def _import_agents(client: Client, options: argparse.Namespace) -> Exit:
    try:
        path = Path(options.file).expanduser()
        lines = read_agents_env(path)
    except BadFile as error:
        raise Wrong(str(error)) from error
    if warning := why_exposed(path):
        print(f"agenthub: {warning}", file=sys.stderr)
    project = options.project or _only_project(client)
    told = import_lines(client, project, lines)
    if options.json:
        print_json(told)
        return Exit.OK
    for item in told:
        print(f"  {clean(item['name'])}: {'made, ' if item['is_new'] else ''}token {item['token']}")
    return _say(options, told, f"{counted(len(told), 'agent')} of {clean(project)}. Their tokens work as they are.")


def import_lines(client: Client, project: str, lines: Mapping[str, str]) -> list[Json]:
    """Have the hub know these agents and their tokens."""
    agents = [{"name": name, "token": token} for name, token in lines.items()]
    told: list[Json] = client.post(IMPORT, {"project": project, "agents": agents})
    return told


def revoke_unlisted(client: Client, project: str, lines: Mapping[str, str]) -> list[str]:
    """Have the hub revoke the tokens that came from the file and are not in it any more. Whose they were."""
    agents = [{"name": name, "token": token} for name, token in lines.items()]
    told: list[str] = client.post(REVOKE, {"project": project, "agents": agents})["revoked"]
    return told


def _only_project(client: Client) -> str:
    found = [item["slug"] for item in client.every(PROJECTS, limit=200)]
    if len(found) != 1:
        raise Wrong(f"Say whose they are: --project, one of {', '.join(found) or 'none yet'}.")
    return str(found[0])


def _require_project(client: Client, wanted: str | None) -> None:
    """None is wanted, or there is one of that slug or id."""
    if wanted and not any(wanted in (item["slug"], item["id"]) for item in client.every(PROJECTS, limit=200)):
        raise Missing(f"There is no project {wanted!r} that you may see.")


def _find_round(client: Client, wanted: str) -> Json:
    if not _is_id(wanted):
        raise Missing(f"{wanted!r} is no id of a round. `hubctl list-rounds` lists them.")
    try:
        round_: Json = client.get(f"{ROUNDS}{wanted}/")
    except HubRefused as error:
        if error.code != "not_found":
            raise
        raise Missing(f"There is no round {wanted} that you may see. `hubctl list-rounds` lists them.") from error
    return round_


def _find_task(client: Client, wanted: str) -> Json:
    """By its key, or its id."""
    found = list(client.every(TASKS, limit=200, key=wanted))
    if len(found) > 1:
        ids = ", ".join(f"{item['id']} ({item['project_slug']})" for item in found)
        raise Wrong(f"Several projects have a task {wanted!r}: name it by its id, one of {ids}.")
    if found:
        return found[0]
    if _is_id(wanted):
        task: Json = client.get(f"{TASKS}{quote(wanted, safe='')}/")
        return task
    raise Missing(f"There is no task {wanted!r}. `hubctl list-tasks` lists them.")


def _is_id(text: str) -> bool:
    return len(text.replace("-", "")) == 32 and all(char in "0123456789abcdefABCDEF-" for char in text)


def _with_status(round_: Json) -> Json:
    """With the names that the old package's rows had, too."""
    return {
        **round_,
        "status": round_["state"],
        "round_number": round_["number"],
        "task_id": round_["task_key"],
    }


def _say(options: argparse.Namespace, told: Any, words: str) -> Exit:
    if options.json:
        print_json(told)
    else:
        print(words)
    return Exit.OK


_COMMANDS: Final[dict[str, Callable[[Client, argparse.Namespace], Exit]]] = {
    "approve": _decide,
    "reject": _decide,
    "close": _close,
    "hand": _hand,
    "status": _status,
    "list-tasks": _list_tasks,
    "list-rounds": _list_rounds,
    "import-agents": _import_agents,
}
