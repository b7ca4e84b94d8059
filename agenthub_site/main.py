"""The ``agenthub`` command: finds out which part is wanted, and imports nothing but that part.

Commands that talk to a running hub import neither Django nor gRPC nor pydantic, so
that they start at once; a node imports no Django; the parent of ``up`` imports none of
them.
"""

import difflib
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence

from integrations.cli.exits import MEANINGS, Exit
from integrations.cli.where import BadWhere, Where, find_where

HELP = f"""\
usage: agenthub [-c CONFIG.toml] [--node-mode] [COMMAND] [ARGUMENTS]

A self-hosted control plane for AI coding agents. Without a command: `up`, without demo data.

a hub on this machine:
  up             start everything: hub, worker and local node; with a demo to try
  doctor         check this machine and this home

work:
  run            start a run:  agenthub run demo "Say hello" --follow
  runs           list runs
  logs           read a run's events, or follow them
  input          send a run another prompt
  approve        answer what a run asks
  approvals      list what is waiting for an answer
  cancel         end a run
  resume         go on from a run that is over
  diff           what a run changed
  agents, nodes  what there is to work with
  agent          make, change and put away agents

between agents:
  actor          mail, reviews and triggers, as an agent: within its run, or from outside
  mcp            the hub's tools, for an MCP client within a run to start
  hubctl         approve and reject plans, close tasks, see how far they are; also a command of its own

access:
  token          create, list and revoke tokens
  usage, budget  what runs used and cost, and how much they may
  user           create, list and deactivate accounts
  project        create projects; their members and invitations
  route          which nodes a project's runs may use
  team           groups of a project's agents and people, written to as one
  webhook        addresses outside, to which a project's messages are posted
  secret         set, list and forget the hub's own secrets (agents': node secret)
  policy         the rules and standing answers, who is asked; and what they say to a command
  audit          read, export and verify the audit trail

nodes:
  node token     make a token with which a machine joins (also: node list, drain, revoke)
  node join      on that machine: become a node of a hub (also: node rotate)

parts, for running them one by one:
  prepare        create or upgrade the database, certificates and first operator
  web            web server (and, in the default role, the control plane)
  controlplane   links to nodes, scheduler, ingest
  worker         background work that calls outside
  node run       this machine as a node (also: --node-mode, or [server] role = "node")
  manage         Django's management commands

options:
  -c, --config FILE   configuration (else AGENTHUB_CONFIG, <home>/config.toml, /etc/agenthub/config.toml)
  --node-mode         be a node and nothing else
  --version           print the version
  -h, --help          print this; `agenthub COMMAND --help` says more

examples:
  agenthub up
  agenthub run demo "Add a test for greet()" --follow
  agenthub logs last --follow
  AGENTHUB_URL=https://hub.example.com AGENTHUB_TOKEN=aht_… agenthub runs

{MEANINGS}
"""

CLIENT = (
    "run", "runs", "logs", "input", "approve", "approvals", "cancel", "resume", "diff", "agents", "agent", "nodes",
    "token", "secret", "route", "usage", "budget", "user", "project", "team", "webhook",
)  # fmt: skip
HUB_PARTS = ("up", "prepare", "web", "controlplane", "worker", "manage")
"""What a node is not."""


def _up(arguments: list[str], where: Where) -> int:
    from agenthub_site.up import main

    return main(arguments, where)


def _prepare(arguments: list[str], where: Where) -> int:
    from agenthub_site.prepare import main

    return main(arguments)


def _doctor(arguments: list[str], where: Where) -> int:
    from agenthub_site.doctor.main import main

    return main(arguments, where)


def _web(arguments: list[str], where: Where) -> int:
    from agenthub_site.web import main

    return main(arguments)


def _controlplane(arguments: list[str], where: Where) -> int:
    from agenthub_site.controlplane_main import main

    return main(arguments)


def _worker(arguments: list[str], where: Where) -> int:
    from agenthub_site.worker import main

    return main(arguments)


def _node(arguments: list[str], where: Where) -> int:
    if arguments[:1] == ["run"]:
        from nodes.server.main import main as run

        return run(arguments[1:])
    from integrations.cli.node import main

    return main(arguments, where)


def _audit(arguments: list[str], where: Where) -> int:
    from integrations.cli.audit import main

    return main(arguments, where)


def _actor(arguments: list[str], where: Where) -> int:
    from integrations.cli.actor import main

    return main(arguments, where)


def _mcp(arguments: list[str], where: Where) -> int:
    from integrations.cli.mcp import main

    return main(arguments, where)


def _policy(arguments: list[str], where: Where) -> int:
    from integrations.cli.policy import main

    return main(arguments, where)


def _hubctl(arguments: list[str], where: Where) -> int:
    if arguments[:1] == ["serve"]:
        from agenthub_site.hubctl_serve import main as serve

        return serve(arguments[1:], where)
    from integrations.cli.hubctl import main

    return main(arguments, where)


def _manage(arguments: list[str], where: Where) -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "agenthub_site.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(["agenthub manage", *arguments])
    return Exit.OK


SERVER: dict[str, Callable[[list[str], Where], int]] = {
    "up": _up,
    "prepare": _prepare,
    "doctor": _doctor,
    "web": _web,
    "controlplane": _controlplane,
    "worker": _worker,
    "node": _node,
    "actor": _actor,
    "mcp": _mcp,
    "audit": _audit,
    "policy": _policy,
    "hubctl": _hubctl,
    "manage": _manage,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code (``integrations.cli.exits``)."""
    _belong_to_parent()
    _open_what_is_closed()
    arguments = list(sys.argv[1:] if argv is None else argv)
    config: str | None = None
    is_node = False
    while arguments and arguments[0].startswith("-"):
        option = arguments.pop(0)
        name, equals, value = option.partition("=")
        if option in ("-h", "--help"):
            sys.stdout.write(HELP)
            return Exit.OK
        if option == "--version":
            return _print_version()
        if option == "--node-mode":
            is_node = True
        elif name in ("-c", "--config"):
            if not equals and not arguments:
                return _usage(f"{name} needs a file.")
            config = value if equals else arguments.pop(0)
        else:
            return _usage(f"There is no option {option}.")
    try:
        where = find_where(config)
        is_node = is_node or where.server("role", "main") == "node"
    except BadWhere as error:
        return _wrong(str(error), "bad_config", arguments)
    if where.config and (config or "AGENTHUB_CONFIG" in os.environ):
        os.environ["AGENTHUB_CONFIG"] = str(where.config)  # children may run in another directory
    return _dispatch(arguments, where, is_node=is_node)


def hubctl() -> int:
    """The ``hubctl`` command: ``agenthub hubctl`` by a name of its own."""
    return main(["hubctl", *sys.argv[1:]])


def _dispatch(arguments: list[str], where: Where, *, is_node: bool) -> int:
    command = arguments.pop(0) if arguments else ("node run" if is_node else "up --no-demo")
    command, *implied = command.split()
    if command == "help":
        sys.stdout.write(HELP)
        return Exit.OK
    if is_node and command == "up":
        command, implied = "node", ["run"]
    elif is_node and command in HUB_PARTS:
        return _usage(
            f'This machine is a node and nothing else ([server] role = "node"): it has no `{command}`.', arguments
        )
    try:
        if command in CLIENT:
            from integrations.cli.commands import main as run_client

            return run_client(command, [*implied, *arguments], where)
        if command in SERVER:
            if is_node:
                os.environ["AGENTHUB_SERVER__ROLE"] = "node"
            return _serve(SERVER[command], [*implied, *arguments], where)
    except BadWhere as error:
        return _wrong(str(error), "bad_config", arguments)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:  # the reader of our output left, as in `agenthub runs | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return Exit.OK
    close = difflib.get_close_matches(command, [*CLIENT, *SERVER], n=1)
    return _usage(f"There is no command `{command}`." + (f" Did you mean `{close[0]}`?" if close else ""), arguments)


def _serve(part: Callable[[list[str], Where], int], arguments: list[str], where: Where) -> int:
    """Run a part of the server; an expected failure (a bad setting, say) is one clear line, not a traceback."""
    from agenthub_site.summary import tell_failure
    from nodes.contract.errors import HubError

    try:
        return part(arguments, where)
    except HubError as error:
        return tell_failure(error, as_json="--json" in arguments)


def _usage(message: str, arguments: Sequence[str] = ()) -> int:
    return _wrong(f"{message} See `agenthub --help`.", "usage", arguments)


def _wrong(message: str, code: str, arguments: Sequence[str]) -> int:
    if "--json" in arguments:
        error = {"code": code, "message": message, "data": {}}
        sys.stdout.write(json.dumps({"error": error}) + "\n")
    else:
        sys.stderr.write(f"agenthub: {message}\n")
    return Exit.USAGE


def _print_version() -> int:
    from importlib.metadata import version

    sys.stdout.write(f"agenthub {version('agenthub')}\n")
    return Exit.OK


def _open_what_is_closed() -> None:
    """A standard stream that was closed (``>&-``) is the null device, so that no file takes its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):  # in the order of their numbers
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - until the process ends


def _belong_to_parent() -> None:
    """If ``up`` started this process: end with it, and hold its lock on the home as long as we live."""
    text = os.environ.pop("AGENTHUB_UP", "")
    if not text:
        return
    from agenthub_site.homelock import belong_to_up

    parent, lock = (int(part) for part in text.split(":"))
    os.set_inheritable(lock, False)
    belong_to_up()
    if sys.platform == "linux":
        import ctypes

        pr_set_pdeathsig = 1
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(Exit.INTERRUPTED)


if __name__ == "__main__":
    sys.exit(main())
