"""The command: runs the checks that fit this machine, prints findings, and ends with 1 if something is wrong."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from getpass import getpass

from integrations.cli.exits import Exit
from integrations.cli.parsers import Parser
from integrations.cli.render import clean
from integrations.cli.where import Where

from . import home, hub, machine, nodes, runs, smoke, this_node
from .findings import MARKS, Case, Check, Finding, Level

MACHINE: tuple[Check, ...] = (machine.check_python, home.check_config, home.check_home, home.check_certificates)
PROGRAMS: tuple[Check, ...] = (machine.check_git, machine.check_runtimes, machine.check_isolation, machine.check_disk)
HUB: tuple[Check, ...] = (
    hub.check_hub, hub.check_access, hub.check_settings, hub.check_web_door, hub.check_worker, hub.check_link_door,
    nodes.check_nodes, runs.check_waiting, runs.check_silent, runs.check_starts, machine.check_live_runs,
)  # fmt: skip
NODE: tuple[Check, ...] = (
    this_node.check_server, this_node.check_listener, this_node.check_hub_web, this_node.check_hub_link,
    machine.check_live_runs,
)  # fmt: skip

EXAMPLES = """\
examples:
  agenthub doctor
  agenthub doctor gpu-01       on the hub: look at one node, and dial it
  agenthub doctor --smoke      walk through a hub's post-deploy checklist: really does each thing
  agenthub doctor --json"""


def main(arguments: Sequence[str], where: Where) -> int:
    parser = Parser(
        "agenthub doctor",
        description="Check this machine, this home, its hub or its node. Names the cause and the fix of what is wrong,"
        "\nand ends with 1 then.",
        epilog=EXAMPLES,
    )
    parser.add_argument("node", nargs="?", help="a node's name: look at that one only, from the hub, and dial it")
    parser.add_argument("--smoke", action="store_true", help="walk a running hub's post-deploy checklist")
    parser.add_argument("--repo", metavar="DIR", help="with --smoke: a git repository on the local node to use")
    parser.add_argument("--user", metavar="NAME", help="with --smoke: sign in as NAME; asks for the password")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    options = parser.parse_args(arguments)
    if options.smoke and options.node:
        parser.error("--smoke walks the whole hub, not one node")
    if (options.repo or options.user) and not options.smoke:
        parser.error("--repo and --user go with --smoke")
    found = smoke_test(where, options) if options.smoke else examine(where, options.node)
    return _tell(found, as_json=options.json)


def _tell(found: Iterator[Finding], *, as_json: bool) -> int:
    findings: list[Finding] = []
    for finding in found:
        findings.append(finding)
        if not as_json:
            sys.stdout.write(line_of(finding))
            sys.stdout.flush()
    if as_json:
        sys.stdout.write(json.dumps([asdict(finding) for finding in findings]) + "\n")
    return Exit.FAILED if any(finding.level is Level.PROBLEM for finding in findings) else Exit.OK


def smoke_test(where: Where, options: argparse.Namespace) -> Iterator[Finding]:
    """The checklist."""
    case = Case(where)
    yield from home.check_config(case)
    yield from _require_hub(case)
    if case.hub is None:
        return
    password = where.environ.get("AGENTHUB_SMOKE_PASSWORD", "")
    if options.user and not password and sys.stdin.isatty():
        password = getpass(f"Password of {options.user}: ")
    show_progress = sys.stdout.isatty() and not options.json
    walked = smoke.Walk(case, case.hub, options.repo or "", options.user or "root", password)
    yield from smoke.walk(walked, _say_step if show_progress else lambda _: None)


def _say_step(name: str) -> None:
    """Written over by what comes of it."""
    sys.stdout.write(f"… {name}\r")
    sys.stdout.flush()


def examine(where: Where, node: str | None = None) -> Iterator[Finding]:
    case = Case(where)
    if node:
        yield from home.check_config(case)
        yield from _require_hub(case)
        yield from hub.check_settings(case)
        yield from nodes.examine_node(case, node)
        return
    for check in MACHINE:
        yield from check(case)
    for check in (*PROGRAMS, *(NODE if case.is_node else HUB)):
        yield from check(case)


def _require_hub(case: Case) -> Iterator[Finding]:
    """As ``check_hub``, where nothing can be looked at without one."""
    for finding in hub.check_hub(case):
        is_fine = case.hub is not None or finding.level is Level.OK
        yield finding if is_fine else replace(finding, level=Level.PROBLEM)


def line_of(finding: Finding) -> str:
    """One line, and the fix below it. What others said (a node, a run) cannot move the cursor."""
    fix = "".join(f"\n{'':17}→ {clean(line)}" for line in finding.fix.splitlines())
    return f"{MARKS[finding.level]} {clean(finding.what):<14} {clean(finding.message)}{fix}\n"
