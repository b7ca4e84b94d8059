"""``agenthub route``: which nodes the runs of a project may use."""

import argparse
import json
import sys
from typing import Any, Final

from .client import Client, Json
from .commands import Missing, Wrong, say
from .exits import Exit
from .node import find_node
from .people import find_project
from .render import clean, short_id, table

PATH: Final = "/api/v1/routes/"
ENTRIES: Final = ("web", "api", "cli", "mcp", "feishu", "trigger")
ROLES: Final = ("owner", "maintainer", "developer", "reviewer", "viewer")
EXAMPLES: Final = """\
  agenthub route list --project web
  agenthub route add --project web --node gpu-01
  agenthub route add --project web --pool gpu --label arch=arm64 --entry web --entry cli --role maintainer
  agenthub route test --project web --node gpu-01 --user bob --entry api
  agenthub route remove 4f1c22aa"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|add|remove|test")
    listing = actions.add_parser("list", help="list those that you may see")
    add = actions.add_parser("add", help="let a project's runs use a node, or nodes that have something")
    remove = actions.add_parser("remove", help="no new run goes that way; those under way go on")
    test = actions.add_parser("test", help="say whether a run may go to a node, and why; exit 4 if not")
    for each in (listing, add, test):
        each.add_argument("--project", metavar="P", required=each is not listing, help="a project, by its slug")
        each.add_argument("--node", metavar="N", required=each is test, help="a node, by its slug")
    add.add_argument("--pool", default="", help="nodes of this pool")
    add.add_argument("--label", action="append", default=[], metavar="NAME=TEXT", help="nodes that have it (again)")
    add.add_argument("--entry", action="append", default=[], choices=ENTRIES, help="by this one only (again)")
    who = add.add_mutually_exclusive_group()
    who.add_argument("--role", default="", choices=ROLES, help="from this role upwards")
    who.add_argument("--user", metavar="U", help="for one person, by user name")
    add.add_argument("--note", default="", help="why, for those who read it later")
    remove.add_argument("route", help="its id, its beginning or end as far as it is unique")
    test.add_argument("--user", metavar="U", help="whose run (yours, unless you are root)")
    test.add_argument("--entry", choices=ENTRIES, help="by which it comes (yours here)")
    for each in (listing, add, remove, test):
        each.add_argument("--json", action="store_true", help="print JSON; errors too, in the API's shape")


def manage_routes(client: Client, options: argparse.Namespace) -> Exit:
    match options.action:
        case "add":
            made = client.post(PATH, _wanted(options))
            said = f"project {made['project']} may use {made['leads_to']}, {_how(made)} ({short_id(made['id'])})."
            say(options, made, said)
        case "remove":
            found = _find(client, options.route)
            client.delete(f"{PATH}{found['id']}/")
            say(options, {"id": found["id"]}, f"the route of {found['project']} to {found['leads_to']} is gone.")
        case "test":
            answer = client.get(
                f"{PATH}test/", project=options.project, node=options.node, user=options.user, entry=options.entry
            )
            if options.json:
                print(json.dumps(answer, ensure_ascii=False))
            else:
                print(f"{'allowed' if answer['is_allowed'] else 'refused'}: {clean(answer['because'])}")
            return Exit.OK if answer["is_allowed"] else Exit.REFUSED
        case _:
            _list(client, options)
    return Exit.OK


def _wanted(options: argparse.Namespace) -> Json:
    labels = dict(_label(text) for text in options.label)
    if not (options.node or options.pool or labels):
        raise Wrong("Say where it leads: --node N, or --pool P, or --label NAME=TEXT.")
    given: dict[str, Any] = {
        "node": options.node, "pool": options.pool, "labels": labels, "entries": options.entry,
        "least_role": options.role, "user": options.user, "note": options.note,
    }  # fmt: skip
    return {"project": options.project, **{name: value for name, value in given.items() if value}}


def _label(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (equals and name):
        raise Wrong(f"A label is NAME=TEXT, got {text!r}.")
    return name, value


def _list(client: Client, options: argparse.Namespace) -> None:
    found = list(client.every(PATH, limit=200, project=options.project, node=options.node))
    if not found and options.project:
        find_project(client, options.project)
    if not found and options.node:
        find_node(client, options.node)
    if options.json:
        print(json.dumps(found, ensure_ascii=False))
        return
    if not found:
        print("agenthub: No routes: projects have the local node alone. Add one: agenthub route add", file=sys.stderr)
        return
    rows = [
        (short_id(item["id"]), item["project"], item["leads_to"], item["is_for"], _entries(item), item["note"])
        for item in found
    ]
    table(rows, ("ROUTE", "PROJECT", "TO", "FOR", "BY", "NOTE"), sys.stdout)


def _find(client: Client, part: str) -> Json:
    wanted = part.replace("-", "").lower()
    ids = [(item["id"].replace("-", ""), item) for item in client.every(PATH, limit=200)]
    found = [item for whole, item in ids if wanted and (whole.startswith(wanted) or whole.endswith(wanted))]
    if not found:
        raise Missing(f"There is no route {part!r} that you may see. `agenthub route list` lists them.")
    if len(found) > 1:
        raise Wrong(f"{part!r} fits {len(found)} routes. Give more of the id.", Exit.REFUSED, "ambiguous")
    return found[0]


def _entries(route: Json) -> str:
    how = ", ".join(route["entries"]) or "every entry"
    return how if route["is_enabled"] else f"{how} (off)"


def _how(route: Json) -> str:
    return f"for {route['is_for']}, by {_entries(route)}"
