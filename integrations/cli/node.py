"""``agenthub node …``: on the hub, tokens for joining and revoking; on a machine, joining and a new key on demand."""

import argparse
import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from .client import Client, Json
from .commands import Missing, Wrong, ask_hub, fail, list_nodes, shape
from .exits import MEANINGS, Exit
from .node_authority import HELP as ROTATE_CA_HELP
from .node_authority import add_arguments as add_authority_arguments
from .node_authority import rotate_authority
from .node_secret import HELP as SECRET_HELP
from .node_secret import add_arguments as add_secret_arguments
from .node_secret import manage_node_secrets
from .parsers import Parser
from .render import clean
from .where import Where, short

if TYPE_CHECKING:
    from nodes.contract.errors import HubError

TOKEN_BYTES = 8192
_EXAMPLES = """\
examples:
  agenthub node token gpu-01 --allow-project web  on the hub: prints the command to join
  agenthub node join https://hub … --token ahj_…  on the machine: joins, and serves
  agenthub node drain gpu-01                      on the hub: no new runs for it; uncordon lets them come again
  agenthub node revoke gpu-01 --yes               on the hub: ends its part at once
  agenthub node bootstrap-token                   on the hub's machine: for nodes by configuration
"""


def main(arguments: Sequence[str], where: Where) -> int:
    """One of the words below; ``run`` is a part of its own, since it serves."""
    word = next((each for each in arguments[:1] if not each.startswith("-")), "")
    if word not in ("", *HUB_WORDS, *MACHINE_WORDS):
        words = ", ".join(f"`agenthub node {each}`" for each in ("run", *HUB_WORDS, *MACHINE_WORDS))
        options = argparse.Namespace(json="--json" in arguments)
        return fail(options, shape("usage", f"`agenthub node {word}` is not a command. There are {words}."), Exit.USAGE)
    options = _parser().parse_args(list(arguments))
    if options.word in HUB_WORDS:
        return ask_hub(HUB_WORDS[options.word], options, where)
    return _on_machine(options, where)


def _parser() -> Parser:
    parser = Parser(
        "agenthub node",
        description="Machines that execute runs. `agenthub node run` serves this machine as a node.",
        epilog=f"{_EXAMPLES}\n{MEANINGS}",
    )
    words = parser.add_subparsers(dest="word", required=True, metavar="token|list|revoke|join|rotate|…")
    token = words.add_parser("token", help="on the hub: make a token with which one machine joins, once, in an hour")
    token.add_argument("name", help="what the node is called: A-Z a-z 0-9 . _ : -")
    token.add_argument(
        "--allow-project", action="append", default=[], metavar="P",
        help="a project whose runs may use the node (again for another); without, only `agenthub route add` lets one",
    )  # fmt: skip
    revoke = words.add_parser("revoke", help="on the hub: cut a node off at once; its certificates are void")
    revoke.add_argument("name", help="the node")
    revoke.add_argument("--yes", action="store_true", help="yes, end its link and its part")
    closing = [words.add_parser(word, help=f"on the hub: {closed.help}") for word, closed in CLOSING.items()]
    for each in closing:
        each.add_argument("name", help="the node")
    join = words.add_parser("join", help="on a machine: become a node, and serve")
    join.add_argument("url", help="the hub's address, as `agenthub node token` prints it")
    given = join.add_mutually_exclusive_group(required=True)
    given.add_argument("--token", help="the token, which begins with ahj_; others on this machine may see it in `ps`")
    given.add_argument("--token-file", metavar="FILE", help="a file that holds the token; - reads standard input")
    join.add_argument("--listen", metavar="HOST:PORT", default="", help="have the hub dial this machine there")
    join.add_argument("--home", metavar="DIR", help="the node's home (default: AGENTHUB_HOME, or ~/.agenthub)")
    join.add_argument("--no-start", action="store_true", help="only join; `agenthub node run` starts it")
    rotate = words.add_parser("rotate", help="on a node: get a new key and certificate now")
    authority = words.add_parser("rotate-ca", help=ROTATE_CA_HELP)
    add_authority_arguments(authority)
    listing = words.add_parser("list", help="on the hub: list the nodes")
    bootstrap = words.add_parser(
        "bootstrap-token", help="on the hub's machine: print the token of nodes by configuration"
    )
    forget = words.add_parser("forget-hub", help="on a node by configuration: accept another hub")
    add_secret_arguments(words.add_parser("secret", help=SECRET_HELP))
    for each in (token, revoke, *closing, join, rotate, authority, listing, bootstrap, forget):
        each.add_argument("--json", action="store_true", help="print JSON; errors too, in the API's shape")
    return parser


# On the hub.


def _make_token(client: Client, options: argparse.Namespace) -> Exit:
    allowed = {"allow_projects": options.allow_project} if options.allow_project else {}
    made = client.post("/api/v1/nodes/join-tokens/", {"name": options.name} | allowed)
    if options.json:
        print(json.dumps(made, ensure_ascii=False))
        return Exit.OK
    print(made["command"])
    print(
        f"agenthub: run this on the machine that is to be {clean(made['name'])}, until {_minute(made['expires_at'])}. "
        "It is shown once, and good once.",
        file=sys.stderr,
    )
    if not options.allow_project:
        add = f"agenthub route add --project PROJECT --node {shlex.quote(made['name'])}"
        print(f"agenthub: a project may use it once a route says so: {clean(add)}", file=sys.stderr)
    if made["warning"]:
        print(f"agenthub: {clean(made['warning'])}", file=sys.stderr)
    return Exit.OK


def _minute(at: str) -> str:
    return f"{at[:16].replace('T', ' ')} UTC"


def _revoke(client: Client, options: argparse.Namespace) -> Exit:
    node = find_node(client, options.name)
    if not options.yes:
        raise Wrong(
            f"This cuts {clean(node['slug'])} off at once: its runs become lost, and it can only come back with a new "
            f"token. Say so: agenthub node revoke {shlex.quote(options.name)} --yes"
        )
    revoked = client.post(f"/api/v1/nodes/{node['id']}/revoke/")
    if options.json:
        print(json.dumps(revoked, ensure_ascii=False))
    else:
        print(f"agenthub: {clean(node['slug'])} is revoked.", file=sys.stderr)
    return Exit.OK


@dataclass(frozen=True, slots=True)
class Closing:
    help: str
    change: Json
    said: str


CLOSING = {
    "cordon": Closing("give a node no new runs; those it has go on", {"is_cordoned": True}, "gets no new runs"),
    "drain": Closing("as cordon, until no run is left on the node", {"is_draining": True}, "gets no new runs"),
    "uncordon": Closing("give a node new runs again", {"is_cordoned": False}, "gets new runs again"),
}


def _close(client: Client, options: argparse.Namespace) -> Exit:
    slug, closing = find_node(client, options.name)["slug"], CLOSING[options.word]
    node = client.patch(f"/api/admin/agent-nodes/{quote(slug, safe='')}", closing.change)
    if options.json:
        print(json.dumps(node, ensure_ascii=False))
        return Exit.OK
    left = node["live_runs"]
    runs = f"; {left} {'run goes' if left == 1 else 'runs go'} on there" if left else "; none is left there"
    is_open = options.word == "uncordon"
    print(f"agenthub: {clean(slug)} {closing.said}{'' if is_open else runs}.", file=sys.stderr)
    return Exit.OK


def find_node(client: Client, name: str) -> Json:
    for node in client.every("/api/v1/nodes/", limit=200):
        if name in (node["slug"], node["id"]):
            return node
    raise Missing(f"There is no node {name!r} that you may see. `agenthub node list` lists them.")


# On the machine.


def _on_machine(options: argparse.Namespace, where: Where) -> int:
    from nodes.contract.errors import HubError

    if getattr(options, "home", None):
        home = os.path.abspath(os.path.expanduser(options.home))
        os.environ["AGENTHUB_HOME"] = home
        where = replace(where, home=Path(home))
    try:
        return MACHINE_WORDS[options.word](options, where)
    except Wrong as error:
        return fail(options, shape(error.code, str(error)), error.exit_code)
    except HubError as error:
        code = str(error.data.get("code") or error.code)
        return fail(options, shape(code, error.text), _exit_of(error))


def _join(options: argparse.Namespace, where: Where) -> int:
    from nodes.server.joining import join

    token = options.token or _read_token(options.token_file)
    place = join(where.home, options.url, token, options.listen)
    told: dict[str, Any] = {"name": place.slug, "home": str(where.home), "hub": place.addresses[0]}
    if options.json:
        print(json.dumps(told), flush=True)
    else:
        ending = "Start it with `agenthub node run`." if options.no_start else "It serves now; Ctrl-C stops it."
        print(
            f"agenthub: this machine is {place.slug}, with its home in {short(where.home)}. {ending}", file=sys.stderr
        )
    if options.no_start:
        return Exit.OK
    sys.stderr.flush()
    # The arguments anew: what serves from here on does not show the token to those who list processes.
    serve = [sys.executable, "-P", "-m", "agenthub_site.main", "node", "run", "--take-over"]
    return os.execv(sys.executable, serve)  # noqa: S606


def _read_token(path: str) -> str:
    from nodes.contract.errors import ConfigError

    try:
        if path == "-":
            return sys.stdin.read(TOKEN_BYTES)
        with Path(path).expanduser().open("r", encoding="utf-8") as file:
            return file.read(TOKEN_BYTES)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"The token cannot be read from {path}: {reason}.") from error


def _rotate(options: argparse.Namespace, where: Where) -> int:
    from nodes.server.joining import renew

    until = renew(where.home).isoformat()
    if options.json:
        print(json.dumps({"expires_at": until}))
    else:
        print(f"agenthub: the new certificate is good until {_minute(until)}.", file=sys.stderr)
    return Exit.OK


def _print_bootstrap_token(options: argparse.Namespace, where: Where) -> int:
    """Made now, if the hub has none. Only who may read the hub's own files gets it."""
    from nodes.contract.config import load_config
    from nodes.contract.errors import ConfigError
    from nodes.link.secrets import ensure_bootstrap_token, find_bootstrap_token

    config = load_config(str(where.config) if where.config else None)
    found = find_bootstrap_token(config) if config.server.role == "node" else ensure_bootstrap_token(config)
    if found is None:
        raise ConfigError("This machine is a node, and was given no bootstrap token: ask on the hub's machine.")
    print(json.dumps({"token": found.current}) if options.json else found.current)
    return Exit.OK


def _forget_hub(options: argparse.Namespace, where: Where) -> int:
    from nodes.server.home import NodeHome

    was_known = NodeHome(where.home / "node").forget_hub()
    if options.json:
        print(json.dumps({"was_known": was_known}))
    else:
        said = "The hub is forgotten; the next that has the secrets is accepted." if was_known else "It knew no hub."
        print(f"agenthub: {said}", file=sys.stderr)
    return Exit.OK


def _exit_of(error: "HubError") -> Exit:
    from nodes.contract.errors import ConfigError, Invalid
    from nodes.server.joining import HubUnreachable

    if isinstance(error, HubUnreachable):
        return Exit.UNREACHABLE
    return Exit.USAGE if isinstance(error, (ConfigError, Invalid)) else Exit.REFUSED


HUB_WORDS: dict[str, Callable[[Client, argparse.Namespace], Exit]] = {
    "token": _make_token,
    "list": list_nodes,
    "revoke": _revoke,
    **dict.fromkeys(CLOSING, _close),
    "rotate-ca": rotate_authority,
}
MACHINE_WORDS: dict[str, Callable[[argparse.Namespace, Where], int]] = {
    "join": _join,
    "rotate": _rotate,
    "bootstrap-token": _print_bootstrap_token,
    "forget-hub": _forget_hub,
    "secret": manage_node_secrets,
}
