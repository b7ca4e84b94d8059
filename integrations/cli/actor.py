"""``agenthub actor …``: mail, reviews and triggers, as the agent of this run, or as whoever an operator names.

Within a run it asks the run's node, by a Unix socket and the run's own token. Outside it speaks the internal gRPC
control plane, with the shared secret. gRPC is imported only then, and Django never.
"""

import argparse
import json
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from .actor_parser import parse
from .actor_refused import Refused
from .actor_socket import UNKNOWN, ask_node, is_in_run
from .commands import Wrong, fail, shape
from .exits import Exit
from .render import clean, table
from .where import Where

WRITES: Final = {"ack", "send", "time-trigger-set", "time-trigger-cancel", "permission-review-respond"}
"""What these answer is JSON always."""
_SHOWN_CHARS: Final = 60
"""Of a trigger's message in a list."""
_KEYS: Final = {"send": ("dedupe_key", "--dedupe-key"), "time-trigger-set": ("key", "--key")}


def main(arguments: Sequence[str], where: Where) -> int:
    options = parse(arguments)
    try:
        body = _body(options)
    except Wrong as error:
        return fail(options, shape("usage", str(error)), Exit.USAGE)
    try:
        answer = _ask(options, where, body)
    except Refused as error:
        return fail(options, {"error": _with_key(error.error, options, body)}, error.exit)
    return _tell(options, answer)


def _ask(options: argparse.Namespace, where: Where, body: dict[str, Any]) -> dict[str, Any]:
    if is_in_run(where.environ) and not options.address:
        return ask_node(where.environ, options.actor_id, options.word, body)
    from .actor_grpc import ask_hub

    return ask_hub(where, options.address, options.actor_id or "", options.word, body)


def _body(options: argparse.Namespace) -> dict[str, Any]:
    """What is sent. Raises ``Wrong``."""
    given: dict[str, Any] = {"run_id": options.run_id}
    match options.word:
        case "team-members":
            given["project"] = options.project
            given["team"] = options.team if options.team != "all" else None  # a hub of before knows no other
        case "inbox":
            given |= {"limit": options.limit, "after": options.after, "include_delivered": options.include_delivered}
        case "receive":
            given |= {"limit": options.limit, "lease_seconds": options.lease_seconds, "wait": options.wait}
            given["key"] = _new_key()  # asked twice, since the answer was lost, it is the same lease
        case "ack":
            ids = [*options.message_id, *options.ids]
            if not ids:
                raise Wrong("Say which: --message-id ID, once for each.")
            given["message_ids"] = [_message_id(text) for text in ids]
        case "send":
            given |= {
                "to": options.to, "payload": _payload(options), "subject": options.subject, "kind": options.kind,
                "reply_to": options.reply_to, "hop_count": options.hop_count, "project": options.project,
                "dedupe_key": _key(options.dedupe_key, "--dedupe-key"),  # asked twice, it is one message
            }  # fmt: skip
        case "permission-review-respond":
            given |= {
                "permission_ids": options.permission_id, "option_id": options.option_id,
                "decision": options.decision, "outcome": options.outcome,
            }  # fmt: skip
        case "time-trigger-set":
            given |= {
                "at": options.at, "delay_seconds": options.delay_seconds, "cron": options.cron,
                "timezone": options.timezone, "message": options.message, "to": options.to, "name": options.name,
                "project": options.project, "key": _key(options.key, "--key"),  # asked twice, it is one trigger
            }  # fmt: skip
        case "time-trigger-list":
            given |= {"limit": options.limit, "all": options.all}
        case "time-trigger-cancel":
            given["trigger_ids"] = options.trigger_id
    return {name: value for name, value in given.items() if value not in (None, "")}


def _key(given: str | None, option: str) -> str:
    """Raises ``Wrong`` for an empty one, such as of a variable that is not set: nothing would be known again by it."""
    if given == "":
        raise Wrong(f"{option} is empty. Leave it out, or name a key.")
    return given or _new_key()


def _new_key() -> str:
    return f"cli:{uuid.uuid4().hex}"


def _with_key(error: dict[str, Any], options: argparse.Namespace, body: dict[str, Any]) -> dict[str, Any]:
    """Where nobody knows whether it was written: with the key under which asking again does it once."""
    name, option = _KEYS.get(options.word, ("", ""))
    if not name or error["code"] not in UNKNOWN:
        return error
    again = f"Nobody knows whether it was written. Ask again with {option} {body[name]}: that does it once."
    return {**error, "message": f"{error['message']} {again}", "data": {**error["data"], name: body[name]}}


def _message_id(text: str) -> int | str:
    """A number in the inbox, or a message's id. What is neither is asked for as it is: it fails by itself."""
    if text.isascii() and text.isdecimal() and len(text) < 20:
        return int(text)
    return text


def _payload(options: argparse.Namespace) -> Any:
    if options.text is not None:
        return {"text": sys.stdin.read() if options.text == "-" else options.text}
    text = options.payload
    if options.payload_file is not None:
        try:
            text = sys.stdin.read() if options.payload_file == "-" else Path(options.payload_file).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise Wrong(f"--payload-file {options.payload_file}: {error}.") from None
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Wrong(f"--payload must be JSON ({error}). For plain text there is --text.") from None


def _tell(options: argparse.Namespace, answer: dict[str, Any]) -> int:
    """One item is an object, several an array with a result each; failed is who has an error."""
    results = answer.get("results") if options.word in WRITES else None
    if isinstance(results, list):
        failed = [each for each in results if "error" in each]
        print(_compact(results[0] if len(results) == 1 else results))
        if not failed:
            return Exit.OK
        for each in failed if not options.json else ():
            print(f"agenthub: {clean(each['error']['message'])}", file=sys.stderr)
        return Exit.REFUSED if len(results) == 1 else Exit.FAILED
    if options.json or options.word in WRITES:
        print(_compact(answer))
        return Exit.OK
    _print(options.word, answer)
    return Exit.OK


def _print(word: str, answer: dict[str, Any]) -> None:
    if word == "team-members":
        rows = [
            (each["name"] + (" (you)" if each["is_you"] else ""), each["kind"], str(each["live_runs"] or ""),
             each["actor_id"])
            for each in answer["members"]
        ]  # fmt: skip
        table(rows, ("NAME", "KIND", "LIVE", "ID"), sys.stdout)
        if len(teams := answer.get("teams", ())) > 1:
            print(f"agenthub: teams of the project: {clean(', '.join(teams))}", file=sys.stderr)
        return
    if word == "time-trigger-list":
        found = [
            (each["name"], each["state"], str(each["next_at"] or "")[:19], each["schedule"], each["id"],
             (each.get("message") or "")[:_SHOWN_CHARS])
            for each in answer["triggers"]
        ]  # fmt: skip
        table(found, ("NAME", "STATE", "NEXT", "SCHEDULE", "ID", "MESSAGE"), sys.stdout)
        return
    for mail in answer["messages"]:
        again = f" (again, {mail['redelivered']} times before)" if mail["redelivered"] else ""
        sender = mail["from"]["name"] or mail["from"]["id"]
        print(f"#{mail['number']} {mail['kind']} from {clean(sender)}, {mail['created_at'][:19]}Z{_state(mail)}{again}")
        print(f"  id {mail['message_id']}")
        if mail["subject"]:
            print(f"  {clean(mail['subject'])}")
        print(f"  {clean(json.dumps(mail['payload'], ensure_ascii=False))}")
    if not answer["messages"]:
        print("agenthub: No mail.", file=sys.stderr)


def _state(mail: dict[str, Any]) -> str:
    """What became of it, if anything did."""
    if mail["state"] == "leased":
        return f", leased until {mail['leased_until'][:19]}Z"
    return "" if mail["state"] == "queued" else f", {mail['state']}"


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
