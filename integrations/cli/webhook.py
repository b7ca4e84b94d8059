"""``agenthub webhook``: addresses outside, to which a project's messages are posted."""

import argparse
import json
import sys
import time
from typing import Final

from .client import Client, Json
from .commands import Missing, Wrong, say
from .exits import Exit
from .people import find_project
from .render import clean, short_id, table

PATH: Final = "/api/v1/webhooks/"
TEST_SECONDS: Final = 30.0
"""So long an attempt is waited for: it takes at most 20 s, and begins within seconds."""
_TEST: Final = {"text": "This is a test, sent by `agenthub webhook test`."}
EXAMPLES: Final = """\
  agenthub webhook add --project web --name builds --url https://ci.example.com/hooks/agenthub
  agenthub webhook list --project web
  agenthub webhook change builds --project web --off
  agenthub webhook test builds --project web
  agenthub webhook rotate-secret builds --project web
  agenthub actor send --to webhook:builds --payload '{"build": "main"}'"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|add|change|test|rotate-secret|remove")
    listing = actions.add_parser("list", help="list those that you manage, with what came of the last attempt")
    add = actions.add_parser("add", help="make one; what signs its deliveries is printed, this once")
    change = actions.add_parser("change", help="lead it elsewhere, or switch it off or on")
    test = actions.add_parser("test", help="send it a test message, and tell what came of it; 1 if it was not taken")
    rotate = actions.add_parser("rotate-secret", help="make a new secret; the former counts for another day")
    remove = actions.add_parser("remove", help="post nothing to it any more")
    for each in (listing, add, change, test, rotate, remove):
        each.add_argument("--project", metavar="P", required=each is add, help="a project, by its slug")
        each.add_argument("--json", action="store_true", help="print JSON; errors too, in the API's shape")
    for each in (change, test, rotate, remove):
        each.add_argument("webhook", help="its name, or its id")
    add.add_argument("--name", required=True, help="it is written to as webhook:NAME")
    add.add_argument("--url", required=True, help="https://host/path")
    change.add_argument("--url", help="https://host/path")
    switch = change.add_mutually_exclusive_group()
    switch.add_argument("--on", dest="is_enabled", action="store_true", default=None, help="post to it again")
    switch.add_argument("--off", dest="is_enabled", action="store_false", help="let what comes wait")


def manage_webhooks(client: Client, options: argparse.Namespace) -> Exit:
    match options.action:
        case "add":
            made = client.post(PATH, {"project": options.project, "name": options.name, "url": options.url})
            _tell_secret(options, made)
        case "change":
            given = {"url": options.url, "is_enabled": options.is_enabled}
            changes = {name: value for name, value in given.items() if value is not None}
            if not changes:
                raise Wrong("Say what changes: --url, --on or --off.")
            found = _find(client, options)
            changed = client.patch(f"{PATH}{found['id']}/", changes)
            say(options, changed, f"webhook:{changed['name']} leads to {changed['url']}{_off(changed)}.")
        case "test":
            return _test(client, options)
        case "rotate-secret":
            _tell_secret(options, client.post(f"{PATH}{_find(client, options)['id']}/rotate-secret/", {}))
        case "remove":
            found = _find(client, options)
            client.delete(f"{PATH}{found['id']}/")
            say(options, {"id": found["id"]}, f"webhook:{found['name']} is gone; what waited for it is dead.")
        case _:
            _list(client, options)
    return Exit.OK


def _test(client: Client, options: argparse.Namespace) -> Exit:
    """A message like any other, posted by the worker; its first attempt is waited for."""
    found = _find(client, options)
    began = time.monotonic()
    to = [f"webhook:{found['id']}"]
    message = {"project": found["project"], "to": to, "kind": "test", "subject": "Test", "payload": _TEST}
    sent = client.post("/api/v1/messages", message)
    while True:
        (copy,) = client.get(f"/api/v1/messages/{sent['message_id']}/")
        seconds = time.monotonic() - began
        if copy["state"] in ("acked", "dead") or copy["reason"] or seconds > TEST_SECONDS:
            break
        time.sleep(0.2)
    is_taken = copy["state"] == "acked"
    answer = client.get(f"{PATH}{found['id']}/")["last_result"] if is_taken else copy["reason"]
    told = {"message_id": sent["message_id"], "state": copy["state"], "answer": answer, "seconds": round(seconds, 3)}
    say(options, told, f"webhook:{found['name']} {_outcome(copy, answer)} ({seconds:.1f} s)")
    return Exit.OK if is_taken else Exit.FAILED


def _outcome(copy: Json, answer: str) -> str:
    match copy["state"]:
        case "acked":
            return f"took it: {answer}"
        case "dead":
            return f"did not take it, and it is given up: {answer}"
    if answer:
        return f"did not take it, and it is posted again: {answer}"
    return "was not posted to yet: is `agenthub worker` running, or does it rest after a failure?"


def _every(client: Client, options: argparse.Namespace) -> list[Json]:
    found = client.every(PATH, limit=200)
    return [each for each in found if options.project in (None, each["project"])]


def _find(client: Client, options: argparse.Namespace) -> Json:
    found = [each for each in _every(client, options) if options.webhook in (each["name"], each["id"])]
    if not found:
        raise Missing(f"There is no webhook {options.webhook!r} that you manage. `agenthub webhook list` lists them.")
    if len(found) > 1:
        raise Wrong(f"{len(found)} projects have a webhook of this name. Say --project.", Exit.REFUSED, "ambiguous")
    return found[0]


def _list(client: Client, options: argparse.Namespace) -> None:
    found = _every(client, options)
    if not found and options.project:
        find_project(client, options.project)
    if options.json:
        print(json.dumps(found, ensure_ascii=False))
        return
    if not found:
        print("agenthub: No webhooks. Make one: agenthub webhook add", file=sys.stderr)
        return
    rows = [
        (short_id(each["id"]), each["project"], each["name"] + _off(each), each["url"], each["last_result"])
        for each in found
    ]
    table(rows, ("WEBHOOK", "PROJECT", "NAME", "URL", "LAST"), sys.stdout)


def _off(webhook: Json) -> str:
    return "" if webhook["is_enabled"] else " (off)"


def _tell_secret(options: argparse.Namespace, webhook: Json) -> None:
    if options.json:
        print(json.dumps(webhook, ensure_ascii=False))
        return
    print(f"agenthub: what is posted to webhook:{clean(webhook['name'])} is signed with this secret, shown this once:",
          file=sys.stderr)  # fmt: skip
    print(webhook["secret"])
