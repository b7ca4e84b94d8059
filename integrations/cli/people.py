"""``agenthub user`` and ``agenthub project``: who there is, and who belongs to what."""

import argparse
import getpass
import json
import sys
from typing import Any, Final
from urllib.parse import quote

from .client import Client, Json
from .commands import Missing, Wrong, say
from .exits import Exit
from .parsers import positive
from .render import clean, short_id, table

USERS: Final = "/api/v1/users/"
PROJECTS: Final = "/api/v1/projects/"
ROLES: Final = ("owner", "maintainer", "developer", "reviewer", "viewer")
MOST_PASSWORD: Final = 4_096
_STANDARD_INPUT: Final = ("-",)
USER_EXAMPLES: Final = """\
  agenthub user create alice --email alice@example.com
  agenthub user create alice --password-file - --json < password.txt
  agenthub user create nightly --service --project web --role developer
  agenthub user deactivate alice"""
PROJECT_EXAMPLES: Final = """\
  agenthub project create web --name "The web shop"
  agenthub project add web bob --role developer
  agenthub project edit web --isolation masked --network none
  agenthub project invite web --role reviewer --days 3
  agenthub project members web --json"""


def add_user_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="create|list|activate|deactivate")
    create = actions.add_parser("create", help="make an account")
    create.add_argument("name", help="the user name")
    secret = create.add_mutually_exclusive_group()
    secret.add_argument("--password", metavar="P", help="others on this machine may see it: better from a file")
    secret.add_argument("--password-file", metavar="FILE", help="read it from there; - is standard input")
    create.add_argument("--email", help="their address")
    create.add_argument("--root", action="store_true", help="a root operator, who may do everything")
    create.add_argument("--service", action="store_true", help="a project's account for programs: it has tokens only")
    create.add_argument("--project", metavar="PROJECT", help="of a service account: its project")
    create.add_argument("--role", default="developer", choices=ROLES[1:], help="of a service account (developer)")
    listing = actions.add_parser("list", help="list everybody")
    activate = actions.add_parser("activate", help="let somebody in again")
    deactivate = actions.add_parser("deactivate", help="end somebody's sessions and tokens")
    for each in (activate, deactivate):
        each.add_argument("name", help="the user name")
    for each in (create, listing, activate, deactivate):
        each.add_argument("--json", action="store_true", help="print JSON; errors too, in the API's shape")


def manage_users(client: Client, options: argparse.Namespace) -> Exit:
    match options.action:
        case "create" if options.service:
            made = _create_service(client, options)
            say(options, made, f"{clean(options.name)} is made. Its tokens: agenthub token create NAME --user …")
        case "create":
            body = _new_user(options)
            made = client.post(USERS, body)
            say(options, made, _made(clean(options.name), has_password="password" in body))
        case "list":
            users = list(client.every(USERS, limit=200))
            rows = [(item["username"], _kind(item), _state(item), item["email"]) for item in users]
            _list(options, users, rows, ("USER", "KIND", "STATE", "E-MAIL"))
        case action:
            user = _find_user(client, options.name)
            told = client.patch(f"{USERS}{user['id']}/", {"is_active": action == "activate"})
            ended = "may sign in again" if told["is_active"] else "is out: sessions have ended, and tokens are refused"
            say(options, told, f"{clean(options.name)} {ended}.")
    return Exit.OK


def _made(name: str, *, has_password: bool) -> str:
    if has_password:
        return f"{name} is made."
    return (
        f"{name} is made, without a password. On the hub's machine `agenthub manage changepassword {name}` gives one; "
        "the identity provider, if there is one, needs none."
    )


def _new_user(options: argparse.Namespace) -> Json:
    if options.project:
        raise Wrong("--project is for service accounts: add --service, or use `agenthub project add`.")
    body = {"username": options.name, "email": options.email, "is_root": options.root or None}
    body["password"] = _password(options)
    return {name: value for name, value in body.items() if value is not None}


def _create_service(client: Client, options: argparse.Namespace) -> Any:
    if not options.project:
        raise Wrong("Say whose it is: --project PROJECT.")
    if options.password is not None or options.password_file or options.root or options.email:
        raise Wrong("A service account has neither password nor e-mail address, and is no operator.")
    path = f"{PROJECTS}{quote(options.project, safe='')}/service-accounts/"
    return client.post(path, {"name": options.name, "role": options.role})


def _password(options: argparse.Namespace) -> str | None:
    """As given; asked for on a terminal; else None, and they sign in by other means."""
    if options.password is not None:
        return str(options.password)
    if options.password_file:
        try:
            with open(
                0 if options.password_file in _STANDARD_INPUT else options.password_file, encoding="utf-8"
            ) as file:
                return file.read(MOST_PASSWORD).removesuffix("\n").removesuffix("\r")
        except (OSError, UnicodeDecodeError) as error:
            raise Wrong(f"{options.password_file} cannot be read: {error}.") from error
    if sys.stdin.isatty() and not options.json:
        return getpass.getpass("Password (empty: none): ") or None
    return None


def add_project_arguments(parser: argparse.ArgumentParser) -> None:
    choices = "create|edit|list|members|add|remove|invite|invitations|uninvite"
    actions = parser.add_subparsers(dest="action", required=True, metavar=choices)
    create = actions.add_parser("create", help="make one")
    create.add_argument("slug", help="short, part of addresses; it stays")
    create.add_argument("--name", help="what people call it (the same, if left out)")
    create.add_argument("--description", default="", help="what it is for")
    edit = actions.add_parser("edit", help="change what it is called, and what is demanded of its runs")
    edit.add_argument("--name", help="what people call it")
    edit.add_argument("--description", help="what it is for")
    edit.add_argument("--isolation", choices=("none", "masked", "user"), help="no run in it has less")
    edit.add_argument("--network", choices=("shared", "none"), help="none: no run in it has the network")
    listing = actions.add_parser("list", help="list those that you may see")
    members = actions.add_parser("members", help="who belongs to it")
    add = actions.add_parser("add", help="add somebody, or change a member's role")
    remove = actions.add_parser("remove", help="take somebody out")
    invite = actions.add_parser("invite", help="make a link that lets somebody in, once; it is printed once")
    invitations = actions.add_parser("invitations", help="who was invited")
    uninvite = actions.add_parser("uninvite", help="withdraw an invitation")
    for each in (edit, members, add, remove, invite, invitations, uninvite):
        each.add_argument("project", help="its slug or id")
    for each in (add, remove):
        each.add_argument("user", help="the user name")
    for each in (add, invite):
        each.add_argument("--role", default="developer", choices=ROLES, help="what they may do (developer)")
    invite.add_argument("--email", default="", help="for the account of this address alone; nothing is sent")
    invite.add_argument("--days", type=positive, default=7, help="good for so many days (7)")
    uninvite.add_argument("invitation", help="its id, its beginning or end")
    for each in (create, edit, listing, members, add, remove, invite, invitations, uninvite):
        each.add_argument("--json", action="store_true", help="print JSON; errors too, in the API's shape")


def manage_projects(client: Client, options: argparse.Namespace) -> Exit:
    if options.action == "create":
        body = {"slug": options.slug, "name": options.name or options.slug, "description": options.description}
        say(options, client.post(PROJECTS, body), f"The project {clean(options.slug)} is made.")
        return Exit.OK
    if options.action == "list":
        found = list(client.every(PROJECTS, limit=200))
        rows = [(item["slug"], item["role"] or "", item["name"]) for item in found]
        _list(options, found, rows, ("PROJECT", "YOUR ROLE", "NAME"))
        return Exit.OK
    project = find_project(client, options.project)
    return {"edit": _edit, "members": _members, "add": _add, "remove": _remove, "invite": _invite,
            "invitations": _invitations, "uninvite": _uninvite}[options.action](client, project, options)  # fmt: skip


def _edit(client: Client, project: str, options: argparse.Namespace) -> Exit:
    given = {
        "name": options.name, "description": options.description, "required_isolation": options.isolation,
        "required_network": options.network,
    }  # fmt: skip
    changes = {field: value for field, value in given.items() if value is not None}
    if not changes:
        raise Wrong("Say what to change: --name, --description, --isolation or --network.")
    told = client.patch(f"{PROJECTS}{project}/", changes)
    demanded = f"isolation {told['required_isolation']}, network {told['required_network']}"
    say(options, told, f"{clean(told['slug'])} is changed. Its runs have at the least: {demanded}.")
    return Exit.OK


def _members(client: Client, project: str, options: argparse.Namespace) -> Exit:
    found = list(client.every(f"{PROJECTS}{project}/members/", limit=200))
    rows = [(item["username"], item["role"], "service" if item.get("is_service") else "person") for item in found]
    _list(options, found, rows, ("MEMBER", "ROLE", "KIND"))
    return Exit.OK


def _add(client: Client, project: str, options: argparse.Namespace) -> Exit:
    told = client.post(f"{PROJECTS}{project}/members/", {"user": options.user, "role": options.role})
    say(options, told, f"{clean(options.user)} is {told['role']} now.")
    return Exit.OK


def _remove(client: Client, project: str, options: argparse.Namespace) -> Exit:
    members = client.every(f"{PROJECTS}{project}/members/", limit=200)
    member = next((item for item in members if item["username"] == options.user), None)
    if member is None:
        raise Missing(f"{options.user!r} is no member. `agenthub project members` lists them.")
    client.delete(f"{PROJECTS}{project}/members/{member['user']}/")
    say(options, {"user": member["user"], "username": options.user}, f"{clean(options.user)} is out.")
    return Exit.OK


def _invite(client: Client, project: str, options: argparse.Namespace) -> Exit:
    body = {"role": options.role, "email": options.email, "days": options.days}
    made = client.post(f"{PROJECTS}{project}/invitations/", body)
    link = made["url"] or f"{client.address}{made['path']}"
    if options.json:
        print(json.dumps({**made, "url": link}, ensure_ascii=False))
        return Exit.OK
    print(link)
    print("agenthub: this is shown once, and good once. Hand it over yourself: the hub sends no mail.", file=sys.stderr)
    return Exit.OK


def _invitations(client: Client, project: str, options: argparse.Namespace) -> Exit:
    found = client.get(f"{PROJECTS}{project}/invitations/")
    rows = [
        (short_id(item["id"]), item["role"], _of_invitation(item), item["email"], item["invited_by"]) for item in found
    ]
    _list(options, found, rows, ("INVITATION", "ROLE", "STATE", "FOR", "BY"))
    return Exit.OK


def _uninvite(client: Client, project: str, options: argparse.Namespace) -> Exit:
    wanted = options.invitation.replace("-", "").lower()
    found = [
        item
        for item in client.get(f"{PROJECTS}{project}/invitations/")
        if item["id"].replace("-", "").startswith(wanted) or item["id"].replace("-", "").endswith(wanted)
    ]
    if len(found) != 1:
        raise Missing(f"{len(found) or 'No'} invitations match {options.invitation!r}.")
    client.delete(f"{PROJECTS}{project}/invitations/{found[0]['id']}/")
    say(options, {"id": found[0]["id"]}, "The invitation is withdrawn.")
    return Exit.OK


def _of_invitation(item: Json) -> str:
    if item["accepted_at"]:
        return f"accepted by {item['accepted_by']}"
    return "withdrawn" if item["revoked_at"] else f"until {item['expires_at'][:10]}"


def find_project(client: Client, wanted: str) -> str:
    """The id of the project with this slug or id."""
    for item in client.every(PROJECTS, limit=200):
        if wanted in (item["id"], item["slug"]):
            return str(item["id"])
    raise Missing(f"There is no project {wanted!r} that you may see. `agenthub project list` lists them.")


def _find_user(client: Client, name: str) -> Json:
    found = next((item for item in client.every(USERS, limit=200) if item["username"] == name), None)
    if found is None:
        raise Missing(f"There is no user {name!r}. `agenthub user list` lists them.")
    return found


def _kind(item: Json) -> str:
    return "service" if item["service_of"] else "root" if item["is_root"] else "person"


def _state(item: Json) -> str:
    return "active" if item["is_active"] else "inactive"


def _list(options: argparse.Namespace, found: list[Json], rows: list[tuple[Any, ...]], heads: tuple[str, ...]) -> None:
    if options.json:
        print(json.dumps(found, ensure_ascii=False))
    elif rows:
        table(rows, heads, sys.stdout)
    else:
        print("agenthub: None.", file=sys.stderr)
