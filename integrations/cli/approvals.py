"""Approvals on the command line: what waits for an answer, over all runs, and the answers."""

import argparse
import json
import sys
import time
from collections.abc import Iterator

from .ask import decide, is_interactive, keys_of, show_question
from .client import Client, HubUnreachable, Json
from .commands import PAGE, Missing, Wrong, find_run, first, matches, print_json
from .exits import Exit
from .render import one_line, short_id

SILENCE_SECONDS = 45.0
"""The hub says something every 15 s."""
RETRY_SECONDS = 2.0
SEARCHED = 200
"""The newest questions, among which one that waits no more is looked for."""


def approve(client: Client, options: argparse.Namespace) -> Exit:
    """Answer one question of a run, or those that are named by their own ids."""
    named = _open_ones(client, [options.run, *options.approval])
    if len(named) > 1:
        return _answer_all(client, named, options)
    if len(options.approval) > 1:
        raise Missing("Not all of these are questions that wait for you. `agenthub approvals` lists them.")
    if named:
        approval = client.get(f"/api/v1/approvals/{named[0]['id']}/")
        return _answer_one(client, approval["run"], approval, options)
    try:
        run = find_run(client, options.run)
        approval = _find_approval(client, run, *options.approval)
    except Missing:
        late = _closed_one(client, [options.run, *options.approval][-1])
        if late is None:
            raise
        run, approval = late["run"], late
    return _answer_one(client, run, approval, options)


def _open_ones(client: Client, parts: list[str]) -> list[Json]:
    """The open questions with these ids, or unique parts of them; none if one of the parts is no question's."""
    if parts == ["last"]:
        return []
    waiting = list(client.every("/api/v1/approvals/", state="open", limit=PAGE))
    found = [[item for item in waiting if matches(item["id"], part)] for part in parts]
    return [items[0] for items in found] if all(len(items) == 1 for items in found) else []


def _closed_one(client: Client, part: str) -> Json | None:
    """The question with this id, or the last of this run, which waits no more: the hub tells a late answer who won."""
    recent = first(client, SEARCHED, "/api/v1/approvals/")
    found = [item for item in recent if matches(item["id"], part)]
    if len(found) != 1:
        found = [item for item in recent if matches(item["run"], part)][:1]
    return client.get(f"/api/v1/approvals/{found[0]['id']}/") if found else None


def _answer_all(client: Client, named: list[Json], options: argparse.Namespace) -> Exit:
    if not (options.allow or options.reject):
        raise Wrong("Several questions are answered with --allow or --reject, which are for this once.")
    answer = "allow_once" if options.allow else "reject"
    told = client.post("/api/v1/approvals/decide/", {"approvals": [item["id"] for item in named], "answer": answer})
    if options.json:
        print_json(told)
    else:
        for item, result in zip(named, told["results"], strict=True):
            said = one_line(result["error"]["message"]) if result["error"] else result["option_id"] or "cancelled"
            print(f"{short_id(item['id'])}  {one_line(item['title'])}: {one_line(said)}")
    return Exit.REFUSED if told["refused"] else Exit.OK


def _answer_one(client: Client, run: str, approval: Json, options: argparse.Namespace) -> Exit:
    answer = _chosen(approval, options)
    if answer is None:
        if options.json:
            print_json(approval)
            return Exit.USAGE
        print(_headed(client, run, approval))
        if not is_interactive():
            print(
                f"agenthub: answer with --allow, --always, --reject, --cancel or --option ID "
                f"({', '.join(option['option_id'] for option in approval['options'])}).",
                file=sys.stderr,
            )
            return Exit.USAGE
        answer = _asked(approval)
    decided = decide(client, run, approval["id"], answer)
    if options.json:
        print_json(decided)
    else:
        print(f"answered: {decided.get('option_id') or decided.get('outcome') or decided['state']}")
    return Exit.OK


def _chosen(approval: Json, options: argparse.Namespace) -> Json | None:
    if options.option:
        return {"option_id": options.option}
    if options.cancel:
        return {"outcome": "cancelled"}
    kind = "allow_once" if options.allow else "allow_always" if options.always else "reject" if options.reject else ""
    if not kind:
        return None
    found = next((option for option in approval["options"] if option["kind"].startswith(kind)), None)
    if found:
        return {"option_id": found["option_id"]}
    if kind == "reject":  # a runtime that offers no way to say no: cancelling denies it as well
        return {"outcome": "cancelled"}
    names = ", ".join(f"{option['option_id']} ({option['kind']})" for option in approval["options"])
    raise Wrong(f"This question has no such answer. It offers: {names}. Use --option ID.")


def _asked(approval: Json) -> Json:
    keys = keys_of(approval["options"])
    line = input("Your answer (c cancels): ").strip().lower()
    if line == "c":
        return {"outcome": "cancelled"}
    if line not in keys:
        raise Wrong("That is none of the answers; nothing was decided.")
    return {"option_id": keys[line]["option_id"]}


def _headed(client: Client, run: str, approval: Json) -> str:
    """The whole question, under the run that asks it."""
    asking = client.get(f"/api/v1/runs/{run}/")
    prompt = one_line(asking["prompt_excerpt"])
    heading = f"Run {short_id(run)} of {one_line(asking['agent_name'])} ({prompt}) asks:"
    return f"{heading}\n{show_question(approval)}"


def _find_approval(client: Client, run: str, part: str = "") -> Json:
    """The one open question, with the content of what it asks about, which lists leave out."""
    pending = list(client.every("/api/v1/approvals/", run=run, state="pending"))
    if part:
        pending = [approval for approval in pending if matches(approval["id"], part)]
    if not pending:
        raise Missing(f"Run {short_id(run)} has no open question{f' {part}' if part else ''}.")
    if len(pending) > 1:
        lines = "; ".join(f"{short_id(approval['id'])} ({one_line(approval['title'])})" for approval in pending)
        raise Wrong(f"There are {len(pending)} open questions; name one: agenthub approve {short_id(run)} ID. {lines}")
    whole: Json = client.get(f"/api/v1/approvals/{pending[0]['id']}/")
    return whole


def list_approvals(client: Client, options: argparse.Namespace) -> Exit:
    run = find_run(client, options.run) if options.run else None
    if options.watch:
        return _watch(client, run, options)
    found = first(client, 200, "/api/v1/approvals/", run=run, **_which(options))
    if options.json:
        print_json(found)
        return Exit.OK
    if not found:
        print("agenthub: Nothing is waiting for an answer.", file=sys.stderr)
    for item in found:
        _print_approval(client, item)
    return Exit.OK


def _which(options: argparse.Namespace) -> dict[str, str]:
    """What waits for whoever asks; of a run all that waits; with --all everything."""
    if options.all:
        return {}
    return {"state": "open"} if options.run else {"state": "open", "mine": "true"}


def _watch(client: Client, run: str | None, options: argparse.Namespace) -> Exit:
    """Each question once, as it comes; with --json a line each. Until Ctrl-C."""
    shown: set[str] = set()
    if not options.json:
        print("agenthub: watching for questions, until Ctrl-C.", file=sys.stderr, flush=True)
    try:
        for _ in _changes(client):
            for item in client.every("/api/v1/approvals/", run=run, limit=PAGE, **_which(options)):
                if item["id"] in shown:
                    continue
                shown.add(item["id"])
                if options.json:
                    print(json.dumps(item, ensure_ascii=False), flush=True)
                else:
                    _print_approval(client, item)
                    sys.stdout.flush()
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    return Exit.OK


def _changes(client: Client) -> Iterator[None]:
    """One item at once, and for every change that the hub tells of. A hub that goes away is waited for."""
    was_there = False
    while True:
        try:
            with client.stream("/api/v1/approvals/stream", {"Accept": "text/event-stream"}, SILENCE_SECONDS) as answer:
                was_there = True
                for line in answer:
                    if line.startswith(b"event: approvals"):
                        yield
        except HubUnreachable:
            if not was_there:
                raise
        time.sleep(RETRY_SECONDS)


def _print_approval(client: Client, item: Json) -> None:
    """One question: where it comes from, what it would do, and how to answer or how it was answered."""
    whose = f"{one_line(item['project_slug'])}/{one_line(item['agent_name'])}" if item.get("agent_name") else ""
    left = f"  {_left(item['seconds_left'])} left" if item.get("seconds_left") else ""
    print(f"{short_id(item['run'])}  {short_id(item['id'])}  {item['state']}  {one_line(item['kind'])}  {whose}{left}")
    if item["state"] != "pending":
        print(f"  {one_line(item['title'])}: {_became(item)}")
        return
    whole = client.get(f"/api/v1/approvals/{item['id']}/")
    print("\n".join(f"  {line}" for line in show_question(whole).splitlines()))
    print(f"  answer: agenthub approve {short_id(item['id'])} --allow (or --reject)")


def _left(seconds: float) -> str:
    return f"{int(seconds // 60)} min {int(seconds % 60)} s" if seconds >= 60 else f"{int(seconds)} s"


def _became(item: Json) -> str:
    """Both facts: what was decided, by whom and when; and what became of it on the node, and when."""
    by = item.get("decided_by") or {}
    parts = [one_line((item["option_id"] or item["outcome"]) if by else "no answer")]
    if by:
        parts.append(f"decided by {one_line(by['label'] or by['kind'])} at {str(item['decided_at'])[:19]}Z")
    if item.get("resolved_at"):
        parts.append(f"{item['state']} at {str(item['resolved_at'])[:19]}Z")
    elif item["state"] == "decided":
        parts.append("on its way to the node")
    return ", ".join(parts)
