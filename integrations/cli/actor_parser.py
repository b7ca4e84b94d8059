"""The command line of ``agenthub actor``."""

import argparse
from collections.abc import Sequence
from typing import Final

from .exits import MEANINGS
from .parsers import Parser, finite

EXAMPLES: Final = """\
examples:
  agenthub actor team-members --actor-id mender --team docs
  agenthub actor inbox --actor-id mender --run-id 01a1fcc2-cfe0-778a-9bc5-c0a5daeae767
  agenthub actor receive --limit 5 --wait 30          within a run: who you are is known
  agenthub actor ack --message-id 101 --message-id 102
  agenthub actor send --actor-id mender --to tester --payload '{"text": "The net is mended."}'
  agenthub actor time-trigger-set --delay-seconds 900 --message "Look whether the build is done"
  agenthub actor permission-review-respond --permission-id 77b0e1d9-… --decision allow
"""
_OUTSIDE: Final = """\
Within a run it needs nothing: the run's node is asked, with the run's own token. Outside it speaks the internal gRPC
control plane: internal_grpc.enabled = true, and the shared secret, configured or in cert_dir/auth_secret.txt."""


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    given = list(arguments)
    if given[:1] == ["--json"]:  # before the command, as elsewhere
        given = [*given[1:2], "--json", *given[2:]]
    return _parser().parse_args(given)


def _parser() -> Parser:
    parser = Parser(
        "agenthub actor",
        description=f"Mail, reviews and triggers of an actor: an agent, or a person.\n\n{_OUTSIDE}",
        epilog=f"{EXAMPLES}\n{MEANINGS}\nSeveral items: an array with a result each, in order; 1 if any failed.",
    )
    words = parser.add_subparsers(dest="word", required=True, metavar="COMMAND")
    team = _add(words, "team-members", "who is in a team of the actor's project")
    team.add_argument("--team", default="all", metavar="SLUG", help="which (all: everybody in the project)")
    _add_project(team)
    inbox = _add(words, "inbox", "what is open in the inbox; reading changes nothing")
    inbox.add_argument("--limit", type=int, default=20, help="at most so many (20, up to 50)")
    inbox.add_argument("--after", "--after-id", type=int, default=0, metavar="N", help="only after number N")
    inbox.add_argument("--include-delivered", action="store_true", help="acked and dead ones as well")
    receive = _add(words, "receive", "lease what is due; what is not acked in time comes again")
    receive.add_argument("--limit", type=int, default=10, help="at most so many (10, up to 50)")
    receive.add_argument("--lease-seconds", type=finite, default=60.0, metavar="S", help="how long it is yours (60)")
    receive.add_argument("--wait", type=finite, default=0.0, metavar="S", help="wait for mail, up to 30 s")
    ack = _add(words, "ack", "say that messages are dealt with")
    ack.add_argument("--message-id", action="append", default=[], metavar="ID", help="number or id; repeatable")
    ack.add_argument("ids", nargs="*", metavar="ID", help="the same, without the option")
    _add_send(words)
    _add_triggers(words)
    _add_review(words)
    return parser


def _add(words: "argparse._SubParsersAction[Parser]", name: str, what: str) -> Parser:
    parser = words.add_parser(name, help=what)
    parser.add_argument("--actor-id", "--agent-id", metavar="ID", help="as whom: an agent's or user's id or name")
    parser.add_argument("--run-id", metavar="ID", help="only what belongs to this run")
    parser.add_argument("--address", metavar="HOST:PORT", help="the actor service (else this home's)")
    parser.add_argument("--json", action="store_true", help="print JSON; errors too, in the API's shape")
    return parser


def _add_project(parser: Parser) -> None:
    parser.add_argument("--project", default="", metavar="P", help="in which project, where the actor is in several")


def _add_send(words: "argparse._SubParsersAction[Parser]") -> None:
    send = _add(words, "send", "write to others of the project")
    send.add_argument(
        "--to", "--to-actor-id", "--to-agent-id", action="append", required=True, metavar="WHO",
        help="a name or id, user:NAME, user (who started the run); repeatable; or team:all, team:SLUG alone",
    )  # fmt: skip
    what = send.add_mutually_exclusive_group(required=True)
    what.add_argument("--payload", "--payload-json", metavar="JSON", help="what to say, as JSON")
    what.add_argument("--payload-file", metavar="FILE", help="the same from a file; - reads standard input")
    what.add_argument("--text", help='plain text: the payload {"text": …}; - reads standard input')
    send.add_argument("--subject", default="", help="at most 200 characters")
    send.add_argument("--kind", default="message", help="a word such as question")
    send.add_argument("--reply-to", metavar="ID", help="the id of the message that this answers")
    send.add_argument("--dedupe-key", "--idempotency-key", metavar="KEY", help="the same key is the same message")
    _add_project(send)
    send.add_argument("--hop-count", type=int, metavar="N", help="the least that it counts as passed on")


def _add_triggers(words: "argparse._SubParsersAction[Parser]") -> None:
    setting = _add(words, "time-trigger-set", "have a message sent later, to the actor itself or to another")
    when = setting.add_mutually_exclusive_group(required=True)
    when.add_argument("--delay-seconds", type=finite, metavar="S", help="from now, up to 30 days")
    when.add_argument(
        "--at", metavar="TIME", help="2026-11-22T09:00:00Z, up to 30 days from now; without Z, of --timezone"
    )
    when.add_argument("--cron", metavar="EXPR", help="five fields, as in '0 9 * * mon-fri'")
    setting.add_argument("--timezone", default="", metavar="ZONE", help="of --cron, or of --at: Europe/Oslo (UTC)")
    setting.add_argument("--message", required=True, metavar="TEXT", help="what to be reminded of")
    setting.add_argument("--to", metavar="WHO", help="whom to write to (the actor itself)")
    _add_project(setting)
    setting.add_argument("--name", default="", help="what to call it")
    setting.add_argument("--key", "--idempotency-key", metavar="KEY", help="the same key is the same trigger")
    listing = _add(words, "time-trigger-list", "the actor's triggers")
    listing.add_argument("--limit", type=int, default=50, help="at most so many (50)")
    listing.add_argument("--all", action="store_true", help="those that are over as well")
    cancel = _add(words, "time-trigger-cancel", "have a trigger not fire")
    cancel.add_argument("--trigger-id", action="append", required=True, metavar="ID", help="which; repeatable")


def _add_review(words: "argparse._SubParsersAction[Parser]") -> None:
    respond = _add(words, "permission-review-respond", "answer a question that was put to the actor for review")
    respond.add_argument(
        "--permission-id", "--request-id", action="append", required=True, metavar="ID", help="which; repeatable"
    )
    answer = respond.add_mutually_exclusive_group(required=True)
    answer.add_argument("--option-id", metavar="ID", help="one of the question's own options")
    answer.add_argument("--decision", choices=("allow", "deny"), help="allow this once, or deny it")
    answer.add_argument("--outcome", choices=("cancelled",), help="cancel what is asked")
