"""``agenthub token``: tokens of people, service accounts and agents."""

import argparse
import sys

from .agent import find_agent
from .client import Client, Json
from .commands import Wrong, first, matches, print_json, print_table
from .exits import Exit
from .render import clean, short_id

TOKENS = "/api/v1/tokens/"


def manage_tokens(client: Client, options: argparse.Namespace) -> Exit:
    where = f"/api/v1/agents/{find_agent(client, options.agent)['id']}/tokens/" if options.agent else TOKENS
    match options.action:
        case "create":
            return _create(client, options, where)
        case "revoke":
            return _revoke(client, options, where)
    return _list(client, options, where)


def _create(client: Client, options: argparse.Namespace, where: str) -> Exit:
    if options.agent and (options.user or options.project):
        raise Wrong("A token of an agent speaks for it, in its project: leave --user and --project out.")
    body = {
        "name": options.name, "user": options.user, "expires_at": options.expires, "scope": options.scope,
        "project": options.project,
    }  # fmt: skip
    made = client.post(where, {key: value for key, value in body.items() if value is not None})
    if not made.get("token"):  # the answer was cut off and asked for again; a secret is told only once
        raise Wrong("The token was made, but its secret was lost on the way. Revoke it, and make another.", Exit.FAILED)
    if options.json:
        print_json({"token": made["token"]})
    else:
        print(made["token"])
        print("agenthub: this is shown once; keep it in a safe place.", file=sys.stderr)
    return Exit.OK


def _revoke(client: Client, options: argparse.Namespace, where: str) -> Exit:
    found = [item for item in client.every(where) if _is_token(item, options.token)]
    if len(found) != 1:
        listing = f"agenthub token list{f' --agent {options.agent}' if options.agent else ''}"
        raise Wrong(
            f"{len(found) or 'No'} tokens match {options.token!r}; see `{listing}`.",
            Exit.REFUSED,
            "ambiguous" if found else "not_found",
        )
    client.delete(f"{TOKENS}{found[0]['id']}/")
    print(f"agenthub: {clean(found[0]['name'])} is revoked.", file=sys.stderr)
    return Exit.OK


def _list(client: Client, options: argparse.Namespace, where: str) -> Exit:
    tokens = first(client, 1000, where)
    if options.json:
        print_json(tokens)
        return Exit.OK
    rows = [
        (
            short_id(item["id"]), item.get("user") or options.agent or "", item["hint"] + "…", item.get("scope", ""),
            _state(item), (item.get("last_used_at") or "never")[:10], item["name"],
        )
        for item in tokens
    ]  # fmt: skip
    columns = ("TOKEN", "AGENT" if options.agent else "USER", "BEGINS", "SCOPE", "STATE", "USED", "NAME")
    print_table(rows, columns, "No tokens. Make one: agenthub token create NAME")
    return Exit.OK


def _is_token(item: Json, wanted: str) -> bool:
    return matches(item["id"], wanted) or (item["name"] == wanted and not item.get("revoked_at"))


def _state(item: Json) -> str:
    if item.get("revoked_at"):
        return "revoked"
    return f"until {item['expires_at'][:10]}" if item.get("expires_at") else "valid"
