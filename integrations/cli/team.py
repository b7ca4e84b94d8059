"""``agenthub team``: named groups of a project's agents and people."""

import argparse
import sys
from typing import Final

from .client import Client, Json
from .commands import Missing, Wrong, print_json, say
from .exits import Exit
from .people import find_project
from .render import table

PATH: Final = "/api/v1/teams/"
EXAMPLES: Final = """\
  agenthub team create docs mender user:bob --project web --name "Who writes the manual"
  agenthub team list --project web
  agenthub team add docs tester
  agenthub team remove docs user:bob
  agenthub team rename docs "Who writes the handbook"
  agenthub team delete docs --project web
  agenthub actor send --to team:docs --text Hello"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="create|list|add|remove|rename|delete")
    create = actions.add_parser("create", help="make one, with members if any are named")
    listing = actions.add_parser("list", help="list them, with their members")
    add = actions.add_parser("add", help="put agents and people into it")
    remove = actions.add_parser("remove", help="take some out; what was written to them stays theirs")
    rename = actions.add_parser("rename", help="call it otherwise; it is written to as before")
    delete = actions.add_parser("delete", help="write to it no more; what was written stays")
    for each in (create, listing, add, remove, rename, delete):
        each.add_argument("--project", metavar="P", required=each is create, help="a project, by its slug")
        each.add_argument("--json", action="store_true", help="print JSON; errors too, in the API's shape")
    create.add_argument("team", metavar="SLUG", help="it is written to as team:SLUG")
    create.add_argument("--name", help="what to call it (else its slug)")
    for each in (add, remove, rename, delete):
        each.add_argument("team", help="its slug, or its id")
    rename.add_argument("name", help="its new name")
    for each, least in ((create, "*"), (add, "+"), (remove, "+")):
        each.add_argument("members", nargs=least, metavar="WHO", help="mender, agent:ID or user:NAME")


def manage_teams(client: Client, options: argparse.Namespace) -> Exit:
    match options.action:
        case "create":
            given = {"project": options.project, "slug": options.team, "name": options.name, "members": options.members}
            made = client.post(PATH, {name: value for name, value in given.items() if value})
            say(options, made, f"team:{made['slug']} {_has(made)}.")
        case "add" | "remove":
            found = _find(client, options)
            team = client.post(f"{PATH}{found['id']}/{options.action}-members/", {"members": options.members})
            say(options, team, f"team:{team['slug']} {_has(team)} now.")
        case "rename":
            found = _find(client, options)
            team = client.patch(f"{PATH}{found['id']}/", {"name": options.name})
            say(options, team, f'team:{team["slug"]} is called "{team["name"]}" now. Write to it as before.')
        case "delete":
            found = _find(client, options)
            client.delete(f"{PATH}{found['id']}/")
            say(options, {"id": found["id"]}, f"team:{found['slug']} is gone; what was written to it stays.")
        case _:
            _list(client, options)
    return Exit.OK


def _every(client: Client, options: argparse.Namespace) -> list[Json]:
    query = {"project": options.project} if options.project else {}
    return sorted(client.every(PATH, limit=200, **query), key=lambda team: (team["project"], team["slug"]))


def _find(client: Client, options: argparse.Namespace) -> Json:
    wanted = options.team.removeprefix("team:")
    if wanted == "all":
        raise Wrong("team:all is everybody in the project: it cannot be changed.")
    found = [each for each in _every(client, options) if wanted in (each["slug"], each["id"])]
    if not found:
        raise Missing(f"There is no team {wanted!r} that you see. `agenthub team list` lists them.")
    if len(found) > 1:
        raise Wrong(f"{len(found)} projects have a team of this name. Say --project.", Exit.REFUSED, "ambiguous")
    return found[0]


def _list(client: Client, options: argparse.Namespace) -> None:
    found = _every(client, options)
    if not found and options.project:
        find_project(client, options.project)
    if options.json:
        print_json(found)
        return
    if not found:
        print("agenthub: No teams but team:all. Make one: agenthub team create", file=sys.stderr)
        return
    rows = [(each["project"], f"team:{each['slug']}", each["name"], _names(each)) for each in found]
    table(rows, ("PROJECT", "TEAM", "NAME", "MEMBERS"), sys.stdout)


def _names(team: Json) -> str:
    return ", ".join(f"user:{each['name']}" if each["kind"] == "user" else each["name"] for each in team["members"])


def _has(team: Json) -> str:
    return f"has {_names(team)}" if team["members"] else "has no members"
