"""``agenthub audit …``: read the trail, take it away, and verify it here, whatever the hub says of itself."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from .client import Client, HubUnreachable, Json
from .commands import PAGE, Wrong, ask_hub, fail, shape
from .exits import MEANINGS, Exit
from .parsers import Parser, not_negative, positive
from .render import clean, counted, table
from .where import Where, short

if TYPE_CHECKING:
    from audit.proof.keys import KeyRecord
    from audit.proof.verify import Report

PATH: Final = "/api/v1/audit/"
SILENCE_SECONDS: Final = 60.0
SHOWN: Final = 50
"""Places told on a terminal; ``--json`` tells more."""
_EXAMPLES = """\
examples:
  agenthub audit list --project harbour --since 2026-11-01
  agenthub audit verify                              everything, against this home's record
  agenthub audit verify --project harbour --json
  agenthub audit export > trail.ndjson
  agenthub audit verify --from-export trail.ndjson --key audit-keys.ndjson
  agenthub audit checkpoint >> elsewhere.ndjson      a witness: verify --against elsewhere.ndjson
"""
FILTERS: Final = {
    "project": "only what happened in it (slug or id; `instance`: in none)",
    "name": "only what is called so, or begins so: run.",
    "actor": "only what this one did: an id, a name, a kind such as agent, or kind:id",
    "object": "only what was done to this: an id, a kind such as token, or kind:id",
    "run": "only of this run: its whole id",
    "node": "only of this node: its id",
    "approval": "only of this approval: its whole id",
    "artifact": "only of this artifact",
    "address": "only from this address",
    "since": "from then on, as in 2026-11-01 or 2026-11-01T09:00Z",
    "until": "before then",
    "q": "only with this text in it, wherever; slow in a large trail",
}


def main(arguments: Sequence[str], where: Where) -> int:
    options = _parser().parse_args(list(arguments))
    if options.word == "rotate-key":
        return _rotate_key(options, where)
    if options.word == "verify" and options.from_export:
        return _verify_file(options, where)
    words: dict[str, Callable[[Client, argparse.Namespace], Exit]] = {
        "list": _list,
        "export": _export,
        "checkpoint": _checkpoint,
        "verify": lambda client, options: _verify_hub(client, options, where),
    }
    return ask_hub(words[options.word], options, where)


def _parser() -> Parser:
    parser = Parser(
        "agenthub audit",
        description="Who did what, on what, from where; and whether anybody changed what was written of it.",
        epilog=f"{_EXAMPLES}\n{MEANINGS}\nverify exits with 1 if the trail was tampered with, and says where.",
    )
    words = parser.add_subparsers(dest="word", required=True, metavar="list|verify|export|checkpoint|rotate-key")
    listing = words.add_parser("list", help="what happened, newest first")
    for name, what in FILTERS.items():
        listing.add_argument(f"--{name}", metavar=name.upper(), help=what)
    listing.add_argument("--limit", type=positive, default=50, help="at most so many (50)")
    verify = words.add_parser("verify", help="find and name what was changed, removed or put in")
    which = verify.add_mutually_exclusive_group()
    which.add_argument("--project", help="one project's (slug or id), or `instance`")
    which.add_argument("--all", action="store_true", help="everything (root; the default)")
    which.add_argument("--from-export", metavar="FILE", help="what `audit export` wrote; - reads standard input")
    verify.add_argument("--key", metavar="FILE", help="the keys to trust: the hub's audit/keys.ndjson, kept elsewhere")
    verify.add_argument("--against", metavar="FILE", help="checkpoints kept elsewhere, one a line")
    export = words.add_parser("export", help="the trail as lines of JSON, with its checkpoints")
    export.add_argument("--project", help="one project's (slug or id), or `instance`; without, all: root")
    export.add_argument("--after", type=not_negative, metavar="N", help="only events after number N of that project")
    checkpoint = words.add_parser("checkpoint", help="print the latest checkpoint, to be kept elsewhere")
    checkpoint.add_argument("--project", help="one project's; without, of all: root")
    rotate = words.add_parser("rotate-key", help="on the hub's machine: sign with a new key from now on")
    for each in (listing, verify, export, checkpoint, rotate):
        each.add_argument("--json", action="store_true", help="print JSON; errors too, in the API's shape")
    return parser


def _list(client: Client, options: argparse.Namespace) -> Exit:
    query = {name: getattr(options, name) for name in FILTERS}
    found = list(islice(client.every(PATH, limit=min(options.limit, PAGE), **query), options.limit))
    if options.json:
        print(json.dumps(found, ensure_ascii=False))
        return Exit.OK
    if not found:
        print("agenthub: Nothing in the trail fits.", file=sys.stderr)
        return Exit.OK
    rows = [
        (item["at"][:19].replace("T", " "), item["name"], item["actor_label"] or item["actor_kind"], item["address"],
         f"{item['object_kind']} {item['object_id']}".strip())
        for item in found
    ]  # fmt: skip
    table(rows, ("TIME (UTC)", "WHAT", "BY", "FROM", "ON"), sys.stdout)
    return Exit.OK


def _export(client: Client, options: argparse.Namespace) -> Exit:
    with client.stream(_export_path(options.project, options.after), {}, SILENCE_SECONDS) as answer:
        for line in answer:
            sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()
    return Exit.OK


def _export_path(project: str | None, after: int | None = None) -> str:
    query = {name: value for name, value in (("project", project), ("after", after)) if value is not None}
    return f"{PATH}export?{urlencode(query)}" if query else f"{PATH}export"


def _checkpoint(client: Client, options: argparse.Namespace) -> Exit:
    print(json.dumps(client.get(f"{PATH}checkpoint", project=options.project)))
    return Exit.OK


def _rotate_key(options: argparse.Namespace, where: Where) -> int:
    from audit.proof.keys import rotate
    from nodes.contract.errors import HubError

    try:
        signer = rotate(where.home / "audit")
    except HubError as error:
        return fail(options, shape(error.code, error.text), Exit.FAILED)
    if options.json:
        print(json.dumps(signer.record.as_json()))
    else:
        print(
            f"agenthub: checkpoints are signed with {signer.key} from now on. Keep a copy of "
            f"{short(where.home / 'audit' / 'keys.ndjson')} elsewhere: whoever verifies needs it.",
            file=sys.stderr,
        )
    return Exit.OK


# Verifying.


def _verify_hub(client: Client, options: argparse.Namespace, where: Where) -> Exit:
    home = None if where.url else where.home / "audit"
    with ExitStack() as stack:
        witnesses = _witnesses(options, home)  # their length is taken before the hub is asked: nothing is early
        answer = stack.enter_context(client.stream(_export_path(options.project), {}, SILENCE_SECONDS))
        return _told(options, answer, home, witnesses)


def _verify_file(options: argparse.Namespace, where: Where) -> int:
    try:
        with ExitStack() as stack:
            file: IO[bytes] = sys.stdin.buffer
            if options.from_export != "-":
                file = stack.enter_context(Path(options.from_export).open("rb"))
            return _told(options, file, None, _witnesses(options, None))
    except OSError as error:
        return fail(options, shape("unreadable", f"{options.from_export}: {error.strerror}."), Exit.USAGE)
    except Wrong as error:
        return fail(options, shape(error.code, str(error)), error.exit_code)


def _witnesses(options: argparse.Namespace, home: Path | None) -> "Iterator[Any]":
    from audit.proof.witness import FILE, read_checkpoints

    if options.against:
        path = Path(options.against)
        if not path.is_file():
            raise Wrong(f"There is no file {options.against}.")
    elif home and (home / FILE).is_file():
        path = home / FILE
    else:
        return iter(())
    return read_checkpoints(path, path.stat().st_size)


def _told(options: argparse.Namespace, lines: Iterable[bytes], home: Path | None, witnesses: "Iterator[Any]") -> Exit:
    from audit.proof.chain import Malformed
    from audit.proof.verify import verify
    from nodes.contract.errors import ConfigError

    began = time.perf_counter()
    try:
        keys, source = _keys(options, home)
        report = verify(lines, known=keys, witnesses=witnesses)
    except Malformed as error:
        raise Wrong(str(error), Exit.FAILED, "malformed") from error
    except ConfigError as error:
        raise Wrong(error.text, Exit.USAGE, error.code) from error
    except OSError as error:
        raise HubUnreachable(f"The export was cut off: {error}. Try again.") from error
    seconds = time.perf_counter() - began
    if options.json:
        print(json.dumps(_as_json(report, source, seconds), ensure_ascii=False))
    else:
        _say(report, source, seconds)
    return Exit.OK if report.is_whole else Exit.FAILED


def _keys(options: argparse.Namespace, home: Path | None) -> "tuple[list[KeyRecord], str]":
    """Whom to believe. Without a file, the keys in the export: then it shows accidents, and no hub that lies."""
    from audit.proof.keys import LIST, read_records

    if options.key:
        records = read_records(Path(options.key))
        if not records:
            raise Wrong(f"There are no keys in {options.key}.")
        return records, "file"
    if home and (records := read_records(home / LIST)):
        return records, "home"
    return [], "export"


def _as_json(report: "Report", source: str, seconds: float) -> Json:
    return {
        "ok": report.is_whole,
        "events": report.events,
        "sealed": report.events - report.unsealed,
        "unsealed": report.unsealed,
        "checkpoints": report.checkpoints,
        "witnessed": report.witnessed,
        "keys_from": source,
        "seconds": round(seconds, 3),
        "missing_triggers": report.unprotected,
        "streams": {
            name: {"events": one.events, "sealed": one.sealed, "unsealed": one.unsealed, "checkpoints": one.checkpoints}
            for name, one in report.streams.items()
        },
        "problems": [problem.as_json() for problem in report.problems],
        "more_problems": report.more_problems,
    }


def _say(report: "Report", source: str, seconds: float) -> None:
    rate = report.events / seconds if seconds > 0 else 0
    for name in report.unprotected:
        print(f"The trigger {clean(name)} is not in the database: somebody took it away.")
    for problem in report.problems[:SHOWN]:
        place = str(problem.number) if problem.number == problem.last else f"{problem.number} to {problem.last}"
        print(f"{clean(problem.stream)}  {place}  {problem.what}: {clean(problem.detail)}")
    more = report.more_problems + max(0, len(report.problems) - SHOWN)
    if more:
        print(f"… and {more} more places.")
    found = [(report.events, "event"), (len(report.streams), "stream"), (report.checkpoints, "checkpoint")]
    events, streams, checkpoints = (counted(count, what) for count, what in found)
    print(
        f"agenthub: {'whole' if report.is_whole else 'TAMPERED WITH'}: {events} in {streams}, {checkpoints}, "
        f"in {seconds:.1f} s ({rate:,.0f} events/s).",
        file=sys.stderr,
    )
    if report.unsealed:
        print(f"agenthub: {report.unsealed} of them are not sealed yet.", file=sys.stderr)
    if report.witnessed:
        witnessed = counted(report.witnessed, "checkpoint")
        print(f"agenthub: {witnessed} of the other record found in it.", file=sys.stderr)
    if source == "export":
        print(
            "agenthub: the keys are those that the hub gave. To notice a hub that lies: --key FILE, a copy of its "
            "audit/keys.ndjson, and --against FILE.",
            file=sys.stderr,
        )
