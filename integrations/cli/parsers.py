"""The command lines: one parser per command, made only when its command is used."""

import argparse
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from math import isfinite, nan
from typing import Any, NoReturn

from .exits import MEANINGS, Exit

LONGEST_DAYS = 36_500
MOST_AMOUNT = 1_000_000_000_000
MOST_DIGITS = 40

RUN_HELP = "id of a run, its beginning or end as far as it is unique, or `last`"


class _Words(argparse._SubParsersAction):  # type: ignore[type-arg]
    """A subcommand's own help begins with what the list of subcommands says of it."""

    def add_parser(self, name: str, **options: Any) -> Any:
        what = options.get("help", "")
        return super().add_parser(name, **{"description": f"{what[:1].upper()}{what[1:]}.", **options})


class Parser(argparse.ArgumentParser):
    """Wrong usage is one line that says what to do, or, with ``--json``, one object in the API's shape."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{"formatter_class": argparse.RawDescriptionHelpFormatter, **options})
        self._is_json = False
        self._is_sorting = False

    def add_subparsers(self, **options: Any) -> Any:
        return super().add_subparsers(**{"action": _Words, **options})

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        given = list(sys.argv[1:] if args is None else args)
        self._is_json = self._is_json or "--json" in given
        if self._is_sorting or "--" in given or not self._has_optional_word():
            return super().parse_known_args(given, namespace)
        self._is_sorting = True  # it comes back here twice: with the options, and with what is left
        try:
            return self.parse_known_intermixed_args(given, namespace)
        finally:
            self._is_sorting = False

    def _has_optional_word(self) -> bool:
        """Whether argparse would take it for left out where an option stands before it: `run demo --follow "Go"`."""
        counts = [action.nargs for action in self._actions if not action.option_strings]
        return any(count in ("?", "*") for count in counts) and argparse.PARSER not in counts

    def error(self, message: str) -> NoReturn:
        text = f"{message[:1].upper()}{message[1:]}. See `{self.prog} --help`."
        if self._is_json:
            print(json.dumps({"error": {"code": "usage", "message": text, "data": {}}}))
        else:
            print(f"agenthub: {text}", file=sys.stderr)
        sys.exit(Exit.USAGE)


def _make(command: str, what: str, examples: str) -> Parser:
    return Parser(f"agenthub {command}", description=what, epilog=f"examples:\n{examples}\n\n{MEANINGS}")


def _json(parser: argparse.ArgumentParser, what: str = "print JSON; errors too, in the API's shape") -> None:
    parser.add_argument("--json", action="store_true", help=what)


def _run() -> Parser:
    parser = _make(
        "run",
        "Start a run of an agent.",
        '  agenthub run demo "Say hello" --follow\n'
        '  agenthub run web/codex "Fix the failing test" --json\n'
        "  agenthub run demo - < task.md",
    )
    parser.add_argument("agent", help="its id, project/name, or its name if only one has it")
    parser.add_argument("prompt", nargs="?", help="what to do; - reads it from standard input")
    parser.add_argument("-f", "--follow", action="store_true", help="watch it to its end; exit by its outcome")
    parser.add_argument("--keep-open", action="store_true", help="wait for more input at the end of the turn")
    _json(parser, "print the run as JSON; with --follow, its events as lines of JSON")
    return parser


def _resume() -> Parser:
    parser = _make(
        "resume",
        "Go on from a run that is over: a new run in its session and worktree, where node and runtime still have them.",
        '  agenthub resume last --follow\n  agenthub resume 0192f3a1 "Now write the tests"',
    )
    parser.add_argument("run", help=RUN_HELP)
    parser.add_argument("prompt", nargs="?", help="what to do now (else the task as it was); - reads standard input")
    parser.add_argument("-f", "--follow", action="store_true", help="watch it to its end; exit by its outcome")
    parser.add_argument("--keep-open", action="store_true", help="wait for more input at the end of the turn")
    _json(parser, "print the new run as JSON; with --follow, its events as lines of JSON")
    return parser


def _runs() -> Parser:
    parser = _make("runs", "List runs, newest first.", "  agenthub runs --open\n  agenthub runs --agent demo --json")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--open", action="store_true", help="only those that are not over")
    which.add_argument("--state", help="only those in this state, such as waiting or failed (several with commas)")
    parser.add_argument("--agent", help="only those of this agent")
    parser.add_argument("--limit", type=positive, default=20, help="at most so many (20)")
    _json(parser)
    return parser


def _logs() -> Parser:
    parser = _make(
        "logs",
        "Read a run's events. Following may be cut off at any time, by either side, and misses nothing.",
        "  agenthub logs last\n  agenthub logs 4f1c22aa --follow\n  agenthub logs 4f1c22aa --json --after 120",
    )
    parser.add_argument("run", help=RUN_HELP)
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the run's end; exit by its outcome")
    parser.add_argument("--after", type=not_negative, default=0, metavar="N", help="only events after number N")
    _json(parser, "events as lines of JSON")
    return parser


def _input() -> Parser:
    parser = _make(
        "input",
        "Send a run another prompt: its next turn.",
        '  agenthub input last "Now add a test"\n  agenthub input last -',
    )
    parser.add_argument("run", help=RUN_HELP)
    parser.add_argument("text", help="the prompt; - reads it from standard input")
    _json(parser)
    return parser


def _approve() -> Parser:
    parser = _make(
        "approve",
        "Answer what a run asks. Without an answer, shows the question and its options.",
        "  agenthub approve last\n  agenthub approve 4f1c22aa --allow\n  agenthub approve 4f1c22aa 77b0e1d9 --reject",
    )
    parser.add_argument("run", help=f"a question's id, or {RUN_HELP}")
    parser.add_argument("approval", nargs="*", help="which of the run's questions; or more ids, to answer all of them")
    answer = parser.add_mutually_exclusive_group()
    answer.add_argument("--allow", action="store_true", help="allow it, this once")
    answer.add_argument("--always", action="store_true", help="allow it, and what is like it")
    answer.add_argument("--reject", action="store_true", help="do not allow it")
    answer.add_argument("--cancel", action="store_true", help="give no answer: the action does not happen")
    answer.add_argument("--option", metavar="ID", help="one of the runtime's own options")
    _json(parser)
    return parser


def _approvals() -> Parser:
    parser = _make(
        "approvals",
        "List what is waiting for your answer, over all runs.",
        "  agenthub approvals\n  agenthub approvals --watch\n  agenthub approvals --run last --all",
    )
    parser.add_argument("--run", help=RUN_HELP)
    parser.add_argument("--watch", action="store_true", help="go on, and print each new one as it comes")
    parser.add_argument("--all", action="store_true", help="the answered ones too")
    _json(parser)
    return parser


def _cancel() -> Parser:
    parser = _make("cancel", "End a run, with all of its processes.", "  agenthub cancel last")
    parser.add_argument("run", help=RUN_HELP)
    _json(parser)
    return parser


def _diff() -> Parser:
    parser = _make(
        "diff", "Print what a run changed, as a patch.", "  agenthub diff last --stat\n  agenthub diff last | git apply"
    )
    parser.add_argument("run", help=RUN_HELP)
    parser.add_argument("--stat", action="store_true", help="only the files and how much of them")
    _json(parser)
    return parser


def _agents() -> Parser:
    parser = _make("agents", "List the agents that you may use.", "  agenthub agents")
    _json(parser)
    return parser


def _agent() -> Parser:
    from .agent import EXAMPLES, add_arguments

    parser = _make("agent", "Make, change and put away agents. For maintainers of a project.", EXAMPLES)
    add_arguments(parser)
    return parser


def _nodes() -> Parser:
    parser = _make("nodes", "List the machines that execute runs.", "  agenthub nodes --json")
    _json(parser)
    return parser


def _token() -> Parser:
    parser = _make(
        "token",
        "Create, list and revoke tokens: what programs sign in with.",
        "  agenthub token create ci\n  agenthub token create laptop --user alice --days 90\n  agenthub token revoke ci",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="create|list|revoke")
    create = actions.add_parser("create", help="make one; it is printed once")
    create.add_argument("name", help="what it is for")
    create.add_argument("--user", help="whose it is, by user name (you, unless you are root)")
    until = create.add_mutually_exclusive_group()
    until.add_argument("--days", dest="expires", type=_in_days, metavar="N", help="valid for so many days")
    until.add_argument("--expires-in", dest="expires", type=_in_time, metavar="T", help="valid for 90m, 12h or 30d")
    create.add_argument("--scope", help="read, run, answer, all; or capabilities such as run:start (all)")
    create.add_argument("--project", metavar="P", help="good in this project alone")
    _json(create, 'print {"token": …}')
    listing = actions.add_parser("list", help="list them, without their secrets")
    revoke = actions.add_parser("revoke", help="make one invalid")
    revoke.add_argument("token", help="its name, or its id's beginning or end")
    for each in (create, listing, revoke):
        each.add_argument("--agent", metavar="A", help="that speaks for this agent (PROJECT/NAME): maintainers")
    _json(listing)
    _json(revoke)
    return parser


def _secret() -> Parser:
    parser = _make(
        "secret",
        "Set, list and forget the hub's own secrets. Those of agents are kept on their node: agenthub node secret.",
        "  agenthub secret set oidc.client_secret < FILE\n  agenthub secret rotate-key",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="set|list|delete|rotate-key")
    set_ = actions.add_parser("set", help="set one; its value is asked for, or read from standard input")
    delete = actions.add_parser("delete", help="forget one")
    for each in (set_, delete):
        each.add_argument("name", help="such as oidc.client_secret")
    rotate = actions.add_parser("rotate-key", help="encrypt them all with a new key")
    for each in (set_, delete, rotate, actions.add_parser("list", help="list names and times; values are not told")):
        _json(each)
    return parser


def _route() -> Parser:
    from .route import EXAMPLES, add_arguments

    parser = _make("route", "Say which nodes the runs of a project may use. Without a route: the local one.", EXAMPLES)
    add_arguments(parser)
    return parser


def _team() -> Parser:
    from .team import EXAMPLES, add_arguments

    parser = _make("team", "Group a project's agents and people, to write to them as one.", EXAMPLES)
    add_arguments(parser)
    return parser


def _webhook() -> Parser:
    from .webhook import EXAMPLES, add_arguments

    parser = _make("webhook", "Say to which addresses outside a project's messages may be posted.", EXAMPLES)
    add_arguments(parser)
    return parser


def _usage() -> Parser:
    from .usage import add_usage_arguments

    parser = _make("usage", "Say what runs used and cost, as their runtimes tell it.", "  agenthub usage --by agent")
    add_usage_arguments(parser)
    return parser


def _budget() -> Parser:
    from .usage import add_budget_arguments

    parser = _make(
        "budget",
        "Say how much may be used in a day or a month.",
        "  agenthub budget set 50 --currency USD --project web\n  agenthub budget list",
    )
    add_budget_arguments(parser)
    return parser


def _user() -> Parser:
    from .people import USER_EXAMPLES, add_user_arguments

    parser = _make("user", "Make, list and deactivate accounts. For root; service accounts for owners.", USER_EXAMPLES)
    add_user_arguments(parser)
    return parser


def _project() -> Parser:
    from .people import PROJECT_EXAMPLES, add_project_arguments

    parser = _make("project", "Make projects, and say who belongs to them.", PROJECT_EXAMPLES)
    add_project_arguments(parser)
    return parser


def positive(text: str) -> int:
    return _number(text, 1)


def not_negative(text: str) -> int:
    return _number(text, 0)


def amount(text: str) -> Decimal:
    """Of money or tokens, to a millionth."""
    try:
        found = Decimal(text) if len(text) <= MOST_DIGITS else None
    except InvalidOperation:
        found = None
    if found is None or not found.is_finite() or not 0 <= found <= MOST_AMOUNT:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to {MOST_AMOUNT:,}, as in 1.25, got {text[:40]!r}")
    return found


def finite(text: str) -> float:
    """A number of seconds or hours; which are too many is the hub's to say."""
    try:
        found = float(text)
    except ValueError:
        found = nan
    if not isfinite(found):
        raise argparse.ArgumentTypeError(f"must be a number, as in 30 or 2.5, got {text[:40]!r}")
    return found


def _in_days(text: str) -> str:
    return (datetime.now(UTC) + timedelta(days=_number(text, 1, LONGEST_DAYS))).isoformat()


def _in_time(text: str) -> str:
    units = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
    if text[-1:] not in units:
        raise argparse.ArgumentTypeError(f"must be a number with m, h or d, as in 12h, got {text[:40]!r}")
    return (datetime.now(UTC) + _number(text[:-1], 1, LONGEST_DAYS) * units[text[-1]]).isoformat()


def _number(text: str, least: int, most: int | None = None) -> int:
    bounds = f"from {least}" if most is None else f"from {least} to {most}"
    # isdecimal, and short: int() takes digits and underscores of all kinds, and refuses thousands of them its own way
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and least <= int(text) <= (most or int(text))):
        raise argparse.ArgumentTypeError(f"must be a whole number {bounds}, got {text[:40]!r}")
    return int(text)


PARSERS: dict[str, Callable[[], Parser]] = {
    "run": _run,
    "runs": _runs,
    "logs": _logs,
    "input": _input,
    "approve": _approve,
    "approvals": _approvals,
    "cancel": _cancel,
    "resume": _resume,
    "diff": _diff,
    "agents": _agents,
    "agent": _agent,
    "nodes": _nodes,
    "token": _token,
    "secret": _secret,
    "route": _route,
    "usage": _usage,
    "budget": _budget,
    "user": _user,
    "project": _project,
    "team": _team,
    "webhook": _webhook,
}


def parser_of(command: str) -> Parser:
    """The parser of one command. It exits with 2 on wrong usage, as argparse does and ``Exit.USAGE`` says."""
    parser = PARSERS[command]()
    if sys.stdout.encoding and sys.stdout.encoding.lower() not in ("utf-8", "utf8"):
        parser.epilog = (parser.epilog or "").encode("ascii", "replace").decode()
    return parser
