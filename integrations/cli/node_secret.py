"""``agenthub node secret``: secrets of agents, on the node itself. Values come from standard input or a prompt."""

import argparse
import json
import sys

from .exits import Exit
from .parsers import Parser
from .render import table
from .where import Where

HELP = "on a node: set, list and forget secrets of agents; the hub sees names only"


def add_arguments(parser: Parser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="set|list|delete")
    set_ = actions.add_parser("set", help="set one; its value is asked for, or read from standard input")
    set_.add_argument("name", help="agents refer to it as secret:NAME in their environment")
    whose = set_.add_mutually_exclusive_group(required=True)
    whose.add_argument("--project", action="append", metavar="P", help="a project that may use it, by slug; repeatable")
    whose.add_argument("--all-projects", action="store_true", help="whichever project runs on this node may use it")
    set_.add_argument("--keyring", action="store_true", help="in the system's keyring, instead of a file of 0600")
    delete = actions.add_parser("delete", help="forget one")
    delete.add_argument("name")
    for each in (set_, delete, actions.add_parser("list", help="list names and projects; values are not told")):
        each.add_argument("--json", action="store_true", help="print JSON; errors too, in the API's shape")


def manage_node_secrets(options: argparse.Namespace, where: Where) -> int:
    from nodes.server.node_secrets import NodeSecrets

    from .secret import read_value

    secrets = NodeSecrets(where.home / "node" / "secrets")
    match options.action:
        case "set":
            projects = None if options.all_projects else tuple(options.project)
            value = read_value(f"Value of {options.name}")
            secret = secrets.set(options.name, value, projects, in_keyring=options.keyring)
            told = {"name": secret.name, "projects": projects, "set_at": secret.set_at}
            _say(options, told, f"{secret.name} is set. Agents refer to it as secret:{secret.name}")
        case "delete":
            secrets.delete(options.name)
            _say(options, {"name": options.name}, f"{options.name} is forgotten.")
        case _:
            found = secrets.all()
            if options.json:
                print(json.dumps([{"name": s.name, "projects": s.projects, "set_at": s.set_at} for s in found]))
            elif found:
                rows = [(s.name, "every project" if s.projects is None else ", ".join(s.projects)) for s in found]
                table(rows, ("SECRET", "FOR"), sys.stdout)
            else:
                print("agenthub: This node has no secrets.", file=sys.stderr)
    return Exit.OK


def _say(options: argparse.Namespace, told: object, words: str) -> None:
    if options.json:
        print(json.dumps(told))
    else:
        print(f"agenthub: {words}", file=sys.stderr)
