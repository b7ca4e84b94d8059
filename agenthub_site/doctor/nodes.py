"""The nodes, from the hub's side: how it sees them, and, for one of them, what a connection shows."""

import asyncio
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote
from uuid import UUID

from integrations.cli.client import HubRefused, HubUnreachable, Json
from nodes.health import CLOCK_SKEW_S, Status

from .findings import Case, Finding, Level, note, ok, problem, warning

if TYPE_CHECKING:
    from nodes.pb.link_pb2 import Hello

SKEW_SECONDS: Final = CLOCK_SKEW_S.warning
"""Beyond this, tokens and certificates of one machine are too old or too new for the other."""
SYNCHRONISE: Final = "Synchronise both clocks: `timedatectl set-ntp true`, then `timedatectl timesync-status`."
MOST: Final = 200
"""So many nodes are looked at one by one; `agenthub doctor NODE` looks at any other."""
_DIALLED: Final = "`agenthub doctor {node}` here dials it and says what is in the way."
_DIALS: Final = (
    "On that machine: is `agenthub node run` running, and what does `agenthub doctor` say there? Its token or "
    "certificate may have expired, or a firewall be in the way."
)
_REJOIN: Final = "Make a new token (agenthub node token {node}) and join the machine again."


def check_nodes(case: Case) -> Iterator[Finding]:
    if case.hub is None:
        return
    try:
        for node in islice(case.hub.every("/api/admin/agent-nodes", limit=100), MOST):
            yield from _check_node(case, node)
    except HubRefused as error:
        yield note("nodes", f"not looked at: {error}", "A root operator's token sees them.", error.code)
    except HubUnreachable as error:
        yield problem("nodes", str(error), code="hub_unreachable")


def examine_node(case: Case, name: str) -> Iterator[Finding]:
    """One node: what the hub knows of it, and what dialling it shows."""
    if case.hub is None:
        return
    try:
        node = case.hub.get(f"/api/admin/agent-nodes/{quote(name, safe='')}")
        is_revoked = node.get("state") == "revoked"
        is_ours = not case.where.url and case.config is not None and not case.has_other_settings
        may_dial = node["direction"] == "dial" and not is_revoked and is_ours
        for finding in _check_node(case, node):  # what the connection will show, it says better
            if not may_dial or finding.code.startswith("node_") or finding.level is Level.OK:
                yield replace(finding, fix="") if may_dial else finding
    except HubRefused as error:
        fix = "`agenthub nodes` lists them." if error.code == "not_found" else ""
        yield problem(f"node {name}", str(error), fix, error.code)
        return
    except HubUnreachable as error:
        yield problem("nodes", str(error), code="hub_unreachable")
        return
    if may_dial:
        yield from _dial(case, node)
    elif is_revoked:
        yield note(f"node {name}", "not dialled: it would be shown the hub's credentials.", code="not_dialled")
    elif node["direction"] == "tunnel":
        yield note(f"node {name}", "it dials the hub, so there is nothing to dial from here.", code="not_dialled")
    elif case.has_other_settings:
        yield note(f"node {name}", "not dialled: this command has other settings than the hub.", code="not_dialled")
    else:
        yield note(f"node {name}", "not dialled: only the hub's own machine has its certificates.", code="not_dialled")


def _check_node(case: Case, node: Json) -> Iterator[Finding]:
    hub = case.hub
    if hub is None:
        return
    what = f"node {node['id']}"
    if node.get("state") == "revoked":
        is_configured = node["direction"] == "dial" and not node["is_joined"]
        fix = "Give it new certificates, and enable it in the registry." if is_configured else _REJOIN
        yield note(what, "revoked: it is not let in, and gets no work.", fix.format(node=node["id"]), "node_revoked")
        return
    if not node["is_enabled"]:
        yield note(what, "disabled: it gets no work.", "Enable it in the registry.", "node_disabled")
        return
    health = hub.get(f"/api/admin/agent-nodes/{quote(node['id'], safe='')}/health")
    details = hub.get(f"/api/v1/nodes/{node['uuid']}/")
    yield _of_health(what, node, health, details)
    if node["is_cordoned"]:
        yield note(what, "cordoned: it takes no new runs.", "Open it again when it may.", "node_cordoned")
    if node.get("projects") == []:
        yield warning(
            what, f"no project may use node {node['id']} yet: every agent on it is refused (route_missing).",
            f"Let one: agenthub route add --project PROJECT --node {node['id']}", "route_missing",
        )  # fmt: skip
    yield from _of_facts(what, node, details)


def _of_health(what: str, node: Json, health: Json, details: Json) -> Finding:
    status, reason = health["status"], health["reason"]
    away = (_DIALLED if node["direction"] == "dial" else _DIALS).format(node=node["id"])
    if status == Status.ONLINE:
        return ok(what, f"online: {reason}")
    if status == Status.DEGRADED:
        return warning(what, f"degraded: {reason}", _remedy_of_figures(health), "node_degraded")
    if status == Status.UNKNOWN:
        return _never_heard(what, node, away, details.get("join_token_expires_at"))
    if status in (Status.MISMATCH, Status.UNAUTHORIZED):
        fix = away if node["direction"] == "dial" else _REJOIN.format(node=node["id"])
        said = reason if status in reason else f"{status}: {reason}"
        return problem(what, said, fix, f"node_{status}")
    say = warning if status == Status.STALE else problem
    return say(what, f"target unavailable, {status}: {reason}", away, f"node_{status}")


def _never_heard(what: str, node: Json, away: str, token_until: str | None) -> Finding:
    if node["direction"] == "dial":
        return problem(what, "never reached: failed to connect to remote node since it was registered.", away,
                       "node_unknown")  # fmt: skip
    if token_until and datetime.fromisoformat(token_until) > datetime.now(UTC):
        until = token_until[:16].replace("T", " ")
        return note(what, f"has not joined yet; its token is good until {until} UTC.", code="not_joined")
    if token_until is None:
        fix = f"Make a token (agenthub node token {node['id']}), and run the command that it prints on the machine."
        return warning(what, "never joined, and no join token was made for it.", fix, "not_joined")
    return warning(
        what, "never joined, and its join token has expired.", _REJOIN.format(node=node["id"]), "join_token_expired"
    )


def _remedy_of_figures(health: Json) -> str:
    remedies = {
        "latency_ms": "Look at the network between hub and node.",
        "failure_rate": "Its log and the hub's say why links break.",
        "agent_start_s": "`agenthub doctor` names the slow phase under `slow start`.",
        "disk_pct": "Free space below its worktree root.",
        "clock_skew_s": SYNCHRONISE,
    }
    return " ".join(
        fix for name, fix in remedies.items() if (health.get(name) or {}).get("level") in ("warning", "critical")
    )


def _of_facts(what: str, node: Json, details: Json) -> Iterator[Finding]:
    """What the node last said of itself."""
    if not details.get("last_heard_at"):
        return
    facts: Mapping[str, Any] = details.get("facts") or {}
    yield from _of_machine(what, str(facts.get("git_version", "")), details["runtimes"])
    if not node["default_worktree_root"] and node["direction"] == "dial":
        yield note(
            what, "no default worktree root: an agent that makes worktrees uses the node's own.",
            "Set default_worktree_root, so that it shows in the registry.", "no_default_worktree_root",
        )  # fmt: skip


def _of_machine(what: str, git_version: str, runtimes: list[Json]) -> Iterator[Finding]:
    if not git_version:
        yield problem(what, "git missing there: worktrees and diffs need it.", "Install git on it.", "git_missing")
    real = [runtime for runtime in runtimes if runtime["preset"] != "scripted"]
    ready = [runtime["preset"] for runtime in real if runtime["found"] and runtime["logged_in"]]
    for runtime in real:
        if runtime["found"] and not runtime["logged_in"]:
            yield warning(
                what, f"{runtime['preset']} is installed there, but not logged in.",
                "Log in there as the node's account, or set its key in the node's environment.", "login_required",
            )  # fmt: skip
    if not ready:
        yield note(what, "no runtime is ready there but the scripted one.", "Install one: see docs/runtimes.md.",
                   "no_runtime")  # fmt: skip


def of_skew(what: str, skew: float, whose: str) -> Iterator[Finding]:
    """``skew`` is how far ahead the other clock is, in seconds."""
    if abs(skew) > SKEW_SECONDS:
        yield problem(
            what, f"clock skew: its clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} {whose}. Tokens "
            "are refused as unauthorized, certificates as not yet valid.",
            SYNCHRONISE, "clock_skew",
        )  # fmt: skip


def _dial(case: Case, node: Json) -> Iterator[Finding]:
    """A link like any other, closed after the node's first words: it takes over nobody's."""
    from nodes.contract.errors import HubError

    what = f"node {node['id']}"
    try:
        hello = asyncio.run(_hello_of(case, node))
    except HubError as error:
        fix = getattr(error, "fix", "")
        message = getattr(error, "what", error.text)
        yield problem(what, message, fix, str(error.data.get("cause", error.code)))
        return
    yield ok(what, f"the connection test succeeds: version {hello.version}, {len(hello.runs)} runs there")
    yield from of_skew(what, hello.clock_us / 1e6 - datetime.now(UTC).timestamp(), "this machine's")
    runtimes = [
        {"preset": runtime.preset, "found": runtime.found, "logged_in": runtime.logged_in} for runtime in hello.runtimes
    ]
    yield from _of_machine(what, hello.git_version, runtimes)
    root = node["default_worktree_root"]
    if root and not any(root == allowed or root.startswith(f"{allowed}/") for allowed in hello.allowed_roots):
        yield warning(
            what, f"its default worktree root {root} is not among the roots that it allows: "
            f"{', '.join(hello.allowed_roots)}.",
            "Set worktree.default_root (or safe_paths) in its config.toml to the same.", "outside_safe_paths",
        )  # fmt: skip


async def _hello_of(case: Case, node: Json) -> "Hello":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "agenthub_site.settings")
    import django

    django.setup()
    from nodes.dialling import dial_node
    from nodes.models import Node

    if case.config is None or case.hub is None:
        raise AssertionError("It is looked at before.")
    generation = case.hub.get(f"/api/v1/nodes/{node['uuid']}/")["generation"]
    row = Node(
        pk=UUID(node["uuid"]), slug=node["id"], direction=node["direction"], generation=generation,
        grpc_target=node["grpc_target"] or "", tls_server_name=node["tls_server_name"],
        is_joined=node["is_joined"], is_enabled=node["is_enabled"],
    )  # fmt: skip
    link = await dial_node(case.config, row)
    try:
        return await link.hello()
    finally:
        with suppress(Exception):
            await link.aclose("A connection test.")
