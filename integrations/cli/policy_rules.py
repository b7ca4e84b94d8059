"""``agenthub policy list``, ``add``, ``remove``, ``grants`` and ``review``: what a hub keeps of the policy."""

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from .agent import find_agent
from .client import Client, HubRefused, Json
from .commands import Missing, Wrong, say
from .exits import Exit
from .parsers import not_negative, positive
from .people import find_project
from .render import clean, one_line, table

RULES = "/api/v1/policy/rules/"
GRANTS = "/api/v1/policy/grants/"
REVIEWS = "/api/v1/policy/reviews/"
LEVELS = ("instance", "project", "agent")
KINDS = ("read", "write", "shell", "network", "publish", "other")
ROLES = ("reviewer", "developer", "maintainer", "owner")
_MATCHERS = ("kind", "tool", "path", "command", "host")
_ADDED = (*_MATCHERS, "note", "position", "project", "agent")


def add_words(words: Any) -> None:
    """The subcommands, beside ``test``."""
    for word, what in (
        ("list", "the rules, level by level, in order"),
        ("grants", "standing answers, newest first"),
    ):
        listing = words.add_parser(word, help=what)
        _whose(listing)
        if word == "list":
            listing.add_argument("--level", choices=LEVELS, help="only those of this level")
        _json(listing)
    add = words.add_parser("add", help="add a rule: to the instance, or --project, or --agent")
    add.add_argument("verdict", choices=("allow", "ask", "deny"))
    _whose(add)
    add.add_argument("--kind", choices=KINDS, help="what is done")
    for name, example in (("tool", "mcp__github__*"), ("path", "src/**"), ("command", "git push*"), ("host", "*.org")):
        add.add_argument(f"--{name}", metavar="PATTERN", help=f"such as '{example}'")
    add.add_argument("--everything", action="store_true", help="in place of a kind and of patterns: whatever is asked")
    add.add_argument("--each-time", action="store_true", help="of what is asked: no standing answer counts")
    add.add_argument("--position", type=not_negative, metavar="N", help="its place on the level, from 0 (the last)")
    add.add_argument("--note", help="why")
    _json(add)
    review = words.add_parser("review", help="who answers what is asked; with --roles, --reviewer, … it is said anew")
    _whose(review)
    review.add_argument("--roles", help=f"of people that may answer, with commas between: {', '.join(ROLES)}")
    review.add_argument("--reviewer", metavar="AGENT", help="an agent of the project that is asked before people")
    review.add_argument("--people-after", type=positive, metavar="SECONDS", help="so long the reviewing agent has")
    review.add_argument("--expires", type=positive, metavar="SECONDS", help="after this the answer is no")
    review.add_argument("--clear", action="store_true", help="say nothing on this level")
    _json(review)
    remove = words.add_parser("remove", help="remove a rule, or withdraw a standing answer")
    remove.add_argument("id", help="as list and grants show it")
    _json(remove)


def keep_policy(client: Client, options: argparse.Namespace) -> Exit:
    match options.word:
        case "list":
            return _list(client, options)
        case "grants":
            return _grants(client, options)
        case "review":
            return _review(client, options)
        case "add":
            _require_one(options)
            body = {name: getattr(options, name) for name in _ADDED if getattr(options, name) is not None}
            made = client.post(RULES, {**body, "verdict": options.verdict, "is_strict": options.each_time})
            say(options, made, f"{_rule(made)}: added on the level {made['level']} as {made['id']}.")
            return Exit.OK
        case _:
            return _remove(client, options)


def _require_one(options: argparse.Namespace) -> None:
    """A rule that names nothing is about everything: that is to be said, not to come of an option left out."""
    is_narrow = any(getattr(options, name) for name in _MATCHERS)
    if is_narrow == options.everything:
        raise Wrong(
            "It is about everything, or about what --kind, --tool, --path, --command and --host name; not both."
            if is_narrow
            else "Say what the rule is about: --kind, --tool, --path, --command, --host; or --everything."
        )


def _review(client: Client, options: argparse.Namespace) -> Exit:
    said = {
        "roles": [role.strip() for role in options.roles.split(",")] if options.roles else None,
        "reviewer": options.reviewer,
        "people_after_seconds": options.people_after,
        "expires_seconds": options.expires,
    }
    given = {name: value for name, value in said.items() if value is not None}
    if given or options.clear:
        kept = client.put(REVIEWS, {**_query(options), **({} if options.clear else given)})
        say(options, kept, f"{_level(kept)}: {_asked(kept)}")
        return Exit.OK
    reviews = list(client.every(REVIEWS, limit=200, **_query(options)))
    if not reviews:
        _require_known(client, options)
    if options.json:
        print(json.dumps(reviews, ensure_ascii=False))
    elif not reviews:
        print("agenthub: No level says who answers: everybody whose role may, at once.", file=sys.stderr)
    else:
        table([(_level(review), _asked(review)) for review in reviews], ("LEVEL", "WHO ANSWERS"), sys.stdout)
    return Exit.OK


def _asked(review: Json) -> str:
    words = [f"{clean(review['reviewer_name'])} first"] if review["reviewer_name"] else []
    if review["people_after_seconds"]:
        words.append(f"people after {review['people_after_seconds']} s")
    words.append(", ".join(review["roles"]) or "every role that may answer")
    if review["expires_seconds"]:
        words.append(f"no after {review['expires_seconds']} s")
    return "; ".join(words)


def _remove(client: Client, options: argparse.Namespace) -> Exit:
    """Ids are unique over both: it is the rule's of that id, or else the standing answer's."""
    held = any(rule["id"] == options.id for rule in client.every(RULES, limit=200))
    try:
        client.delete(f"{RULES if held else GRANTS}{quote(options.id, safe='')}/")
    except HubRefused as error:
        if error.code != "not_found":
            raise
        raise Missing(
            f"There is no rule or standing answer {options.id!r}. `agenthub policy list` and `policy grants` have ids."
        ) from error
    say(options, {"id": options.id}, "Removed. Live runs are told.")
    return Exit.OK


def _list(client: Client, options: argparse.Namespace) -> Exit:
    if options.project:
        find_project(client, options.project)
    rules = sorted(
        _applying(client, options),
        key=lambda rule: (
            LEVELS.index(rule["level"]),
            rule["project"] or "",
            rule["agent_name"] or "",
            rule["position"],
        ),
    )
    if options.json:
        print(json.dumps(rules, ensure_ascii=False))
    elif not rules:
        print("agenthub: No rules: reading is allowed, and all else is asked.", file=sys.stderr)
    else:
        rows = [(_level(rule), str(rule["position"]), _rule(rule), clean(rule["note"]), rule["id"]) for rule in rules]
        table(rows, ("LEVEL", "N", "RULE", "NOTE", "ID"), sys.stdout)
    return Exit.OK


def _applying(client: Client, options: argparse.Namespace) -> Iterator[Json]:
    """The rules of every level that bear on what is named, or of the one that is wanted."""
    project, narrowed = options.project, _query(options)
    if options.agent:
        agent = find_agent(client, f"{project}/{options.agent}" if project else options.agent)
        project, narrowed = agent["project_slug"], {"agent": agent["id"]}
    of_level: dict[str, Json] = {"instance": {}, "project": {"project": project}, "agent": narrowed}
    for level in LEVELS if options.level is None else (options.level,):
        yield from client.every(RULES, limit=200, level=level, **of_level[level])


def _grants(client: Client, options: argparse.Namespace) -> Exit:
    grants = list(client.every(GRANTS, limit=200, **_query(options)))
    if not grants:
        _require_known(client, options)
    if options.json:
        print(json.dumps(grants, ensure_ascii=False))
    elif not grants:
        print("agenthub: No standing answers. One is made with an approval: always allow this.", file=sys.stderr)
    else:
        rows = [
            (_level(grant), one_line(clean(grant["about"])), clean(grant["author"]["label"]), grant["expires_at"][:10],
             (grant["last_used_at"] or "never")[:16].replace("T", " "), grant["id"])
            for grant in grants
        ]  # fmt: skip
        table(rows, ("LEVEL", "ALWAYS ALLOWS", "BY", "UNTIL", "LAST USED", "ID"), sys.stdout)
    return Exit.OK


def _require_known(client: Client, options: argparse.Namespace) -> None:
    """What is named is there: else nothing would be found of it, which reads as if it had no rules."""
    if options.project:
        find_project(client, options.project)
    if options.agent:
        find_agent(client, f"{options.project}/{options.agent}" if options.project else options.agent)


def _level(row: Json) -> str:
    return clean("/".join(name for name in (row["project"], row["agent_name"]) if name) or "instance")


def _rule(rule: Json) -> str:
    words = [rule["verdict"], *(["each time"] if rule["is_strict"] else []), rule["about"] or "everything"]
    return one_line(clean(" ".join(words) + ("" if rule["is_enabled"] else " (off)")))


def _query(options: argparse.Namespace) -> dict[str, str]:
    return {name: getattr(options, name) for name in ("project", "agent") if getattr(options, name)}


def _whose(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--project", help="of this project (slug)")
    parser.add_argument("--agent", help="of this agent (name)")


def _json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON; errors too, in the API's shape")
