"""The commands that talk to a hub."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any
from urllib.parse import quote

from .client import BadUrl, Client, HubRefused, HubUnreachable, Json, TooLong
from .exits import Exit
from .follow import is_over
from .parsers import parser_of
from .render import clean, short_id, table
from .watch import print_events, watch
from .where import Where

SEARCHED_RUNS = 2_000
"""How far back a part of an id is looked for."""
UUID_DIGITS = 32
MOST_INPUT = 64 * 1024 * 1024
"""Bytes read from standard input; a hub takes far less, and says so."""
PAGE = 200
PATCH_SECONDS = 20.0
"""A patch follows its run's last event; this long we wait for it."""


class Wrong(Exception):
    """What was asked for makes no sense here. ``code`` is stable, as the API's are."""

    def __init__(self, message: str, exit_code: Exit = Exit.USAGE, code: str = "usage") -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.code = code


class Missing(Wrong):
    """There is no such thing, or not for us."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Exit.REFUSED, "not_found")


def main(command: str, arguments: Sequence[str], where: Where) -> int:
    """Run one command. Errors are one line that says what happened and what to do, or, with --json, the error shape."""
    return ask_hub(COMMANDS[command], parser_of(command).parse_args(list(arguments)), where)


def ask_hub(command: Callable[[Client, argparse.Namespace], Exit], options: argparse.Namespace, where: Where) -> int:
    """Run ``command`` with the hub that ``where`` names; what goes wrong is told, and becomes the exit code."""
    try:
        return int(command(Client.of(where), options))
    except HubRefused as error:
        return fail(options, _told(error, where), Exit.REFUSED)
    except BadUrl as error:
        return fail(options, shape("bad_config", str(error)), Exit.USAGE)
    except HubUnreachable as error:
        return fail(options, shape("hub_unreachable", str(error)), Exit.UNREACHABLE)
    except TooLong as error:
        return fail(options, shape("too_large", f"{error} {_FILES_INSTEAD}"), Exit.REFUSED)
    except Wrong as error:
        return fail(options, shape(error.code, str(error)), error.exit_code)


_FILES_INSTEAD = "Put the long part into a file in the workspace, and name it in the prompt."


def _told(error: HubRefused, where: Where) -> Json:
    """The hub's own words, with what it cannot know: how this command found it."""
    message = str(error)
    if error.code == "unauthenticated" and where.url and not where.token:
        message = (
            f"{where.url} asks for a token, and AGENTHUB_TOKEN is not set. Make one on the hub's machine with "
            "`agenthub token create NAME`."
        )
    elif error.code == "http_404" and where.url:
        message = f"{where.url} answers, but not as a hub. Check AGENTHUB_URL."
    body = shape(error.code, message)
    if isinstance(error.body.get("error"), dict):
        body["error"]["data"] = error.body["error"].get("data") or {}
    return body


def shape(code: str, message: str) -> Json:
    return {"error": {"code": code, "message": message, "data": {}}}


def fail(options: argparse.Namespace, body: Json, code: Exit) -> Exit:
    if getattr(options, "json", False):
        print(json.dumps(body))
    else:
        error = body["error"]
        print(f"agenthub: {clean(error['message'])}", file=sys.stderr)
        for line in _field_lines(error["data"].get("fields")):
            if line.partition(": ")[2] not in error["message"]:  # what one field has alone is the message already
                print(f"  {clean(line)}", file=sys.stderr)
    return code


def _field_lines(fields: Any) -> list[str]:
    """What is wrong with each field; those of lists and tables are flattened."""
    if isinstance(fields, dict):
        return [f"{name}: {line}" for name, inner in fields.items() for line in _field_lines(inner)]
    if isinstance(fields, list):
        return [line for inner in fields for line in _field_lines(inner)]
    return [str(fields)] if fields else []


def print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False))


def say(options: argparse.Namespace, told: Any, words: str) -> None:
    """What was done: in a sentence on standard error, or with ``--json`` what the hub told, on standard output."""
    if options.json:
        print_json(told)
    else:
        print(f"agenthub: {clean(words)}", file=sys.stderr)


# Runs.


def start_run(client: Client, options: argparse.Namespace) -> Exit:
    prompt = options.prompt
    if prompt == "-" or (prompt is None and not sys.stdin.isatty()):
        prompt = _read_input()
    if not prompt or not prompt.strip():
        raise Wrong(f'Say what it should do: agenthub run {options.agent} "…", or `-` to read it from standard input.')
    try:
        run = client.post("/api/v1/runs/", {"agent": options.agent, "prompt": prompt, "keep_open": options.keep_open})
    except HubRefused as error:
        if error.code != "not_found":
            raise
        raise Missing(f"{error} {_agent_hint(options.agent)}") from error
    return _tell_started(client, run, options)


def resume(client: Client, options: argparse.Namespace) -> Exit:
    """A new run that goes on where an ended one left off."""
    earlier = client.get(f"/api/v1/runs/{find_run(client, options.run)}/")
    prompt = _read_input() if options.prompt == "-" else options.prompt or ""
    asked = {"agent": earlier["agent"], "resumes": earlier["id"], "prompt": prompt, "keep_open": options.keep_open}
    return _tell_started(client, client.post("/api/v1/runs/", asked), options)


def _tell_started(client: Client, run: Json, options: argparse.Namespace) -> Exit:
    if options.follow:
        if options.json:
            return watch(client, run["id"], as_json=True)
        print(f"agenthub: run {run['id']}", file=sys.stderr)
        return watch(client, run["id"])
    if options.json:
        print_json(run)
        return Exit.OK
    print(run["id"])
    print(f"agenthub: {run['state']}. Watch it: agenthub logs {short_id(run['id'])} --follow", file=sys.stderr)
    return Exit.OK


def _read_input() -> str:
    """All of standard input; what is no UTF-8 in it is an error, and not guessed at."""
    try:
        return sys.stdin.buffer.read(MOST_INPUT).decode("utf-8")
    except UnicodeDecodeError as error:
        raise Wrong(f"Standard input is not UTF-8 text: {error.reason} at byte {error.start}.") from error


def _agent_hint(name: str) -> str:
    """What to do about an agent that is not there: for a known runtime, how to get it."""
    from nodes.runtimes.presets import PRESETS

    preset = PRESETS.get(name.rpartition("/")[2])
    if preset is None or not preset.install_hint:
        return "`agenthub agents` lists them."
    return (
        f"If {preset.title} is not installed on the node yet: {preset.install_hint.rstrip('.')}. "
        "The next `agenthub up` adds an agent for it to the demo project."
    )


def list_runs(client: Client, options: argparse.Namespace) -> Exit:
    runs = first(
        client,
        options.limit,
        "/api/v1/runs/",
        state=options.state.split(",") if options.state else None,
        live="true" if options.open else None,
        agent=options.agent,
    )
    if options.agent and not runs:
        _require_agent(client, options.agent)
    if options.json:
        print_json(runs)
        return Exit.OK
    rows = [
        (short_id(run["id"]), run["agent_name"], run["state"], _why(run), _minute(run), run["prompt_excerpt"])
        for run in runs
    ]
    print_table(rows, ("RUN", "AGENT", "STATE", "WHY", "CREATED (UTC)", "PROMPT"), _no_runs(options))
    return Exit.OK


def _no_runs(options: argparse.Namespace) -> str:
    if options.open or options.state or options.agent:
        return "No such runs. Without options, `agenthub runs` lists them all."
    return "No runs. Start one: agenthub run …"


def _require_agent(client: Client, wanted: str) -> None:
    """No runs of an agent that exists is an answer; of one that does not, a slip of the pen."""
    known = client.every("/api/v1/agents/", archived="true", limit=PAGE)
    if not any(wanted in (agent["id"], agent["name"]) for agent in known):
        raise Missing(f"There is no agent {wanted!r} that you may see. `agenthub agents` lists them.")


def _why(run: Json) -> str:
    """What it waits for, or how it ended, where the state does not say it all."""
    if run["waiting_for"]:
        return f"for {run['waiting_for']}"
    return "" if run["state"] == "succeeded" else str(run["reason"]).replace("_", " ")


def read_logs(client: Client, options: argparse.Namespace) -> Exit:
    run = find_run(client, options.run)
    if options.follow:
        return watch(client, run, options.after, as_json=options.json)
    return print_events(client, run, options.after, as_json=options.json)


def send_input(client: Client, options: argparse.Namespace) -> Exit:
    text = _read_input() if options.text == "-" else options.text
    run = find_run(client, options.run)
    answer = client.post(f"/api/v1/runs/{run}/input/", {"text": text})
    if options.json:
        print_json(answer)
    else:
        print(f"agenthub: sent. Watch it: agenthub logs {short_id(run)} --follow", file=sys.stderr)
    return Exit.OK


def cancel(client: Client, options: argparse.Namespace) -> Exit:
    found = find_run(client, options.run)
    try:
        run = client.post(f"/api/v1/runs/{found}/cancel/")
    except HubRefused as error:
        if error.code != "wrong_state":
            raise
        state = client.get(f"/api/v1/runs/{found}/")["state"].replace("_", " ")
        raise Wrong(
            f"Run {short_id(found)} is over already ({state}): there is nothing to cancel.", Exit.REFUSED, error.code
        ) from error
    if options.json:
        print_json(run)
    else:
        print(run["state"])
    return Exit.OK


def show_diff(client: Client, options: argparse.Namespace) -> Exit:
    run = find_run(client, options.run)
    diff = client.get(f"/api/v1/runs/{run}/diff/")
    deadline = time.monotonic() + PATCH_SECONDS
    while diff["state"] == "pending" and time.monotonic() < deadline:
        time.sleep(0.2)
        diff = client.get(f"/api/v1/runs/{run}/diff/")
    if options.json:
        print_json(diff)
        return Exit.OK
    if diff["state"] == "pending":
        raise Wrong("The diff is still on its way from the node; try again.", Exit.FAILED)
    if diff["state"] == "none":
        state = client.get(f"/api/v1/runs/{run}/")["state"]
        why = (
            "it worked outside a git repository, or never began"
            if is_over(state)
            else f"it is still {state}, and the diff is made at its end"
        )
        print(f"agenthub: run {short_id(run)} has no diff: {why}.", file=sys.stderr)
        return Exit.OK
    if options.stat:
        for file in diff["files"]:
            print(f"{file['status']:<12} +{file['additions']:<5} -{file['deletions']:<5} {clean(file['path'])}")
        count = len(diff["files"])
        print(f"{'1 file' if count == 1 else f'{count} files'}, +{diff['additions']} -{diff['deletions']}")
        return Exit.OK
    if sys.stdout.isatty():
        print(_coloured(clean(diff["patch"])))
    else:
        sys.stdout.write(diff["patch"])  # as it is: it may go straight into `git apply`
    if diff.get("truncated"):
        print("agenthub: the patch was too long and is cut; the whole of it is in the workspace.", file=sys.stderr)
    return Exit.OK


def _coloured(patch: str) -> str:
    def colour(line: str) -> str:
        code = {"+": "32", "-": "31", "@": "36", "d": "1"}.get(line[:1])
        return f"\033[{code}m{line}\033[0m" if code else line

    return "\n".join(colour(line) for line in patch.splitlines())


# Approvals.


def approve(client: Client, options: argparse.Namespace) -> Exit:
    from . import approvals  # it needs ours

    return approvals.approve(client, options)


def list_approvals(client: Client, options: argparse.Namespace) -> Exit:
    from . import approvals

    return approvals.list_approvals(client, options)


# What there is to work with.


def list_agents(client: Client, options: argparse.Namespace) -> Exit:
    agents = first(client, 1000, "/api/v1/agents/")
    if options.json:
        print_json(agents)
        return Exit.OK
    rows = [
        (item["name"], item["project_slug"], item["preset"] or item["runtime"], item["runs_on"], item["description"])
        for item in agents
    ]
    print_table(rows, ("AGENT", "PROJECT", "RUNTIME", "RUNS ON", "DESCRIPTION"), "No agents that you may see.")
    return Exit.OK


def list_nodes(client: Client, options: argparse.Namespace) -> Exit:
    nodes = first(client, 1000, "/api/v1/nodes/")
    if options.json:
        print_json(nodes)
        return Exit.OK
    rows = [(item["slug"], item["state"], item["name"], _runtimes(item)) for item in nodes]
    print_table(rows, ("NODE", "STATE", "NAME", "RUNTIMES"), "No nodes that you may see.")
    return Exit.OK


def _runtimes(node: Json) -> str:
    found = [item for item in node["runtimes"] if item["found"]]
    return ", ".join(item["preset"] + ("" if item["logged_in"] else " (not logged in)") for item in found)


# Access.


def manage_agents(client: Client, options: argparse.Namespace) -> Exit:
    from .agent import manage_agents as manage  # it needs ours

    return manage(client, options)


def manage_tokens(client: Client, options: argparse.Namespace) -> Exit:
    from .token import manage_tokens as manage  # it needs ours

    return manage(client, options)


def manage_secrets(client: Client, options: argparse.Namespace) -> Exit:
    from .secret import manage_secrets as manage  # it needs ours

    return manage(client, options)


def manage_users(client: Client, options: argparse.Namespace) -> Exit:
    from .people import manage_users as manage  # it needs ours

    return manage(client, options)


def manage_projects(client: Client, options: argparse.Namespace) -> Exit:
    from .people import manage_projects as manage  # it needs ours

    return manage(client, options)


def manage_routes(client: Client, options: argparse.Namespace) -> Exit:
    from .route import manage_routes as manage  # it needs ours

    return manage(client, options)


def manage_teams(client: Client, options: argparse.Namespace) -> Exit:
    from .team import manage_teams as manage  # it needs ours

    return manage(client, options)


def manage_webhooks(client: Client, options: argparse.Namespace) -> Exit:
    from .webhook import manage_webhooks as manage  # it needs ours

    return manage(client, options)


def show_usage(client: Client, options: argparse.Namespace) -> Exit:
    from .usage import show_usage as show  # it needs ours

    return show(client, options)


def manage_budgets(client: Client, options: argparse.Namespace) -> Exit:
    from .usage import manage_budgets as manage  # it needs ours

    return manage(client, options)


# Finding things.


def first(client: Client, count: int, path: str, **query: object) -> list[Json]:
    return list(islice(client.every(path, limit=min(count, PAGE), **query), count))


def matches(whole: str, part: str) -> bool:
    digits, wanted = whole.replace("-", ""), part.replace("-", "").lower()
    return bool(wanted) and (digits.startswith(wanted) or digits.endswith(wanted))


def find_run(client: Client, part: str) -> str:
    """A run's id from itself, from a beginning or end of it that is unique, or from the word ``last``."""
    if len(part.replace("-", "")) == UUID_DIGITS:
        return quote(part)
    if part == "last":
        newest = first(client, 1, "/api/v1/runs/")
        if not newest:
            raise Missing("There are no runs yet. Start one: agenthub run AGENT PROMPT")
        return str(newest[0]["id"])
    found = [run["id"] for run in first(client, SEARCHED_RUNS, "/api/v1/runs/") if matches(run["id"], part)]
    if not found:
        raise Missing(f"There is no run {part!r} that you may see. `agenthub runs` lists them.")
    if len(found) > 1:
        raise Wrong(
            f"{part!r} fits {len(found)} runs: {', '.join(found[:5])}. Give more of the id.", Exit.REFUSED, "ambiguous"
        )
    return str(found[0])


def _minute(run: Json) -> str:
    return str(run["created_at"])[:16].replace("T", " ")


def print_table(rows: Sequence[Sequence[Any]], heads: Sequence[str], empty: str) -> None:
    if rows:
        table(rows, heads, sys.stdout)
    else:
        print(f"agenthub: {empty}", file=sys.stderr)


COMMANDS = {
    "run": start_run,
    "runs": list_runs,
    "logs": read_logs,
    "input": send_input,
    "approve": approve,
    "approvals": list_approvals,
    "cancel": cancel,
    "resume": resume,
    "diff": show_diff,
    "agents": list_agents,
    "agent": manage_agents,
    "nodes": list_nodes,
    "token": manage_tokens,
    "secret": manage_secrets,
    "route": manage_routes,
    "usage": show_usage,
    "budget": manage_budgets,
    "user": manage_users,
    "project": manage_projects,
    "team": manage_teams,
    "webhook": manage_webhooks,
}
