"""``agenthub secret``: the hub's own secrets. A value comes from standard input or a prompt, never from arguments."""

import argparse
import getpass
import json
import sys
from urllib.parse import quote

from .client import Client, Json
from .commands import Wrong, say
from .exits import Exit
from .render import clean, counted, table

PATH = "/api/v1/secrets/"
MOST_VALUE = 64 * 1024


def read_value(what: str) -> str:
    """A secret: asked for on a terminal, without an echo, else standard input to its end less one line break."""
    if sys.stdin.isatty():
        value = getpass.getpass(f"{what}: ")
    else:
        try:
            value = sys.stdin.buffer.read(MOST_VALUE + 1).decode()
        except UnicodeDecodeError:
            raise Wrong("A secret is text in UTF-8.") from None
        value = value.removesuffix("\n").removesuffix("\r")
    if not value:
        raise Wrong("That is empty, so nothing was set. Type it, or send it: … < FILE")
    if len(value) > MOST_VALUE:
        raise Wrong("That is too long for a secret, so nothing was set.")
    return value


def manage_secrets(client: Client, options: argparse.Namespace) -> Exit:
    match options.action:
        case "set":
            told = client.put(_path(options.name), {"value": read_value(f"Value of {options.name}")})
            say(options, told, f"{clean(told['name'])} is set.")
        case "delete":
            client.delete(_path(options.name))
            say(options, {"name": options.name}, f"{clean(options.name)} is forgotten.")
        case "rotate-key":
            told = client.post(f"{PATH}rotate-key/")
            say(options, told, _rotated(told))
            return Exit.FAILED if told["unreadable"] else Exit.OK
        case _:
            _list(client, options)
    return Exit.OK


def _list(client: Client, options: argparse.Namespace) -> None:
    found = list(client.every(PATH, limit=200))
    if options.json:
        print(json.dumps(found, ensure_ascii=False))
        return
    if not found:
        print("agenthub: No secrets are set. Set one: agenthub secret set oidc.client_secret", file=sys.stderr)
        return
    rows = [(item["name"], _minute(item["set_at"]), item["set_by"], _minute(item["last_used_at"])) for item in found]
    table(rows, ("SECRET", "SET (UTC)", "BY", "LAST USED (UTC)"), sys.stdout)


def _rotated(told: Json) -> str:
    said = f"Everything is encrypted with the key {told['key_id']}, {counted(told['re_encrypted'], 'secret')} anew."
    if not told["is_in_file"]:
        said += " It is the one of the settings; secrets.previous_keys can go."
    if told["unreadable"]:
        names = ", ".join(clean(name) for name in told["unreadable"])
        said += f" Unreadable, and to be set anew: {names}."
    return said


def _path(name: str) -> str:
    return f"{PATH}{quote(name, safe='')}/"


def _minute(time: str | None) -> str:
    return time[:16].replace("T", " ") if time else "never"
