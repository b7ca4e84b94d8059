"""``agenthub node rotate-ca``: replace the authority that hub and nodes know each other by."""

import argparse
import json
import sys

from .client import Client, Json
from .commands import Wrong
from .exits import Exit
from .parsers import Parser, finite
from .render import clean

PATH = "/api/v1/nodes/authority/"
HELP = "on the hub: replace the certificate authority; links and runs go on"


def add_arguments(parser: Parser) -> None:
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--status", action="store_true", help="only say how far it is")
    how.add_argument("--finish", action="store_true", help="trust the former authority no more")
    parser.add_argument(
        "--overlap-hours", type=finite, metavar="N", help="trust both for so long at the least (default: 168)"
    )
    parser.add_argument(
        "--force", action="store_true", help="with --finish: now; nodes that have not renewed must join again"
    )


def rotate_authority(client: Client, options: argparse.Namespace) -> Exit:
    if options.force and not options.finish:
        raise Wrong("--force goes with --finish: it ends a replacement that is under way.")
    if options.status:
        now = client.get(PATH)
    elif options.finish:
        now = client.post(f"{PATH}retire/", {"force": options.force})
    else:
        hours = {} if options.overlap_hours is None else {"overlap_hours": options.overlap_hours}
        now = client.post(f"{PATH}rotate/", hours)
    if options.json:
        print(json.dumps(now, ensure_ascii=False))
    else:
        sys.stderr.write("".join(f"agenthub: {line}\n" for line in _words(now)))
    return Exit.OK


def _words(now: Json) -> list[str]:
    lines = [f"The authority is {now['fingerprint'][:16]}…, good until {now['expires_at'][:10]}."]
    if not now["former"]:
        return [*lines, "Nothing else is trusted."]
    lines.append(
        f"The former one, {now['former'][:16]}…, is trusted too, until {now['until'][:16]} UTC and every node has "
        "renewed; then it leaves by itself."
    )
    if now["waiting"]:
        names = ", ".join(clean(name) for name in now["waiting"])
        return [*lines, f"Not renewed yet: {names}. Nodes that are linked do so within a minute."]
    return [*lines, "Every node has renewed."]
