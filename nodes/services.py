"""What operators change of the registry of nodes. Root only; every change is in the audit trail."""

import re
from collections.abc import Set
from typing import Any, Final
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import ProtectedError
from django.utils import timezone

from agenthub_site.accounts.actors import Actor
from agenthub_site.accounts.permissions import Can, require
from audit.services import Fact, record, record_all
from nodes.contract.errors import Conflict, Invalid, WrongState

from .labels import MOST_OF_A_NODE, wrong_with_labels, wrong_with_pool
from .leases import void_lease
from .models import Node
from .routes import drop_routes

RESERVED: Final = frozenset({"main", Node.LOCAL})
_WORDS: Final = frozenset({"bootstrap", ".", ".."})
"""Ids that would mean something else in addresses."""
_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._:-]*[A-Za-z0-9])?")
_EDITABLE: Final = frozenset({
    "name", "direction", "grpc_target", "tls_server_name", "default_worktree_root", "labels", "pool", "capacity",
    "is_enabled",
})  # fmt: skip
_WAY: Final = frozenset({"direction", "grpc_target", "tls_server_name"})
"""How the hub gets to a node."""
_FIXED_LOCALLY: Final = _WAY | {"default_worktree_root"}
_MOST_NAMED: Final = 100


class NodeExists(Conflict):
    code = "node_exists"
    message = "A node with this id is registered already."


class NodeInUse(Conflict):
    """``data["agents"]`` lists the agents that are bound to the node, or have a run on it."""

    code = "node_in_use"


class DirectionJoined(Invalid):
    code = "direction_joined"
    message = "A node that has joined is turned round by joining again: with --listen to be dialled, without to dial."


@transaction.atomic
def register_node(*, by: Actor, slug: str, name: str, **fields: Any) -> Node:
    """Add a node to the registry. Raises ``Invalid`` (with ``fields``) or ``NodeExists``."""
    require(by, Can.MANAGE_NODES)
    node = Node(slug=slug, name=name, **_known(fields))
    check_node(node, {"id", "name", "grpc_target", *fields})
    try:
        with transaction.atomic():
            node.save(force_insert=True)
    except IntegrityError as error:
        raise NodeExists(f"A node {slug!r} is registered already.", id=slug) from error
    record(None, "node.registered", by=by, of=("node", node.pk), node=node.pk, slug=slug, grpc_target=node.grpc_target)
    return node


@transaction.atomic
def edit_node(node: Node, *, by: Actor, **changes: Any) -> Node:
    """Change a node; a disabled one gets no new work. ``Invalid`` names the fields that do not fit.

    One that is made to dial in loses its target, if the change does not name one. ``DirectionJoined`` for one that has
    joined, since its machine would go on as before. Where the way to it changes, a link that is up ends, and a new one
    is made the new way; its runs go on.
    """
    require(by, Can.MANAGE_NODES)
    _known(changes)
    node = _lock(node)
    if changes.get("direction") == Node.Direction.TUNNEL:
        changes.setdefault("grpc_target", "")
    changes = {name: value for name, value in changes.items() if getattr(node, name) != value}
    if not changes:
        return node
    if node.is_local and changes.keys() & _FIXED_LOCALLY:
        why = "Of its own machine's node the hub itself knows it; its worktrees' root stands in config.toml."
        raise Invalid(fields={name: [why] for name in sorted(changes.keys() & _FIXED_LOCALLY)})
    before = {name: getattr(node, name) for name in changes}
    for name, value in changes.items():
        setattr(node, name, value)
    if changes.get("is_enabled") and node.revoked_at and node.direction == Node.Direction.DIAL and not node.is_joined:
        before["revoked_at"] = node.revoked_at
        changes["revoked_at"] = node.revoked_at = None  # its certificates are not the hub's to void
    check_node(node, changes.keys() | ({"grpc_target"} if "direction" in changes else set()))
    node.save(update_fields=sorted(changes))
    if changes.keys() & _WAY:
        void_lease(node)
    record(
        None, "node.edited", by=by, of=("node", node.pk), node=node.pk,
        changed=sorted(changes), before=before, after=changes,
    )  # fmt: skip
    return node


@transaction.atomic
def delete_node(node: Node, *, by: Actor) -> None:
    """Take a node out of the registry, and its certificates out of force; its id is free again.

    The routes to it go with it, and each project's trail says so. ``NodeInUse`` while agents are bound to it or runs
    are on it; ``WrongState`` for the hub's own.
    Where runs of the past name it, the row is kept out of sight.
    """
    require(by, Can.MANAGE_NODES)
    node = _lock(node)
    if node.is_local:
        raise WrongState("The local node comes with the hub and cannot be deleted; disable it instead.")
    bound = _agents_on(node)
    if bound:
        names = ", ".join(f"{agent['project']}/{agent['name']}" for agent in bound[:5])
        more = ", …" if len(bound) > 5 else ""
        raise NodeInUse(
            f"Agents are bound to this node: {names}{more}. Give them another node or put them away, then try again.",
            agents=bound,
        )
    pk, slug = node.pk, node.slug
    removed = drop_routes(node)
    try:
        with transaction.atomic():
            node.delete()
    except ProtectedError:
        _retire(node)
    record_all([*removed, Fact(None, "node.deleted", of=("node", pk), node=pk, data={"slug": slug})], by=by)


def cordon_node(node: Node, *, by: Actor) -> Node:
    """It takes no new runs; those it has go on. Twice is once."""
    return _close(node, "node.cordoned", by=by, is_cordoned=True, is_draining=False)


def uncordon_node(node: Node, *, by: Actor) -> Node:
    """It takes new runs again. Twice is once."""
    return _close(node, "node.uncordoned", by=by, is_cordoned=False, is_draining=False)


def drain_node(node: Node, *, by: Actor) -> Node:
    """Cordon it, and say that it is to become empty; no run is stopped. Twice is once."""
    return _close(node, "node.draining", by=by, is_cordoned=True, is_draining=True)


@transaction.atomic
def _close(node: Node, event: str, *, by: Actor, is_cordoned: bool, is_draining: bool) -> Node:
    require(by, Can.MANAGE_NODES)
    node = _lock(node)  # as the scheduler does, so that no run is placed after the answer
    if (node.is_cordoned, node.is_draining) != (is_cordoned, is_draining):
        node.is_cordoned, node.is_draining = is_cordoned, is_draining
        node.save(update_fields=["is_cordoned", "is_draining"])
        record(None, event, by=by, of=("node", node.pk), node=node.pk, slug=node.slug)
    return node


def _lock(node: Node) -> Node:
    return Node.objects.select_for_update(no_key=True).get(pk=node.pk)


def _agents_on(node: Node) -> list[dict[str, str]]:
    """Agents that may start runs there, and those put away whose runs have not ended."""
    bound = node.agents.filter(archived_at=None).values_list("pk", "name", "project__slug")
    live = node.runs.filter(ended_at=None).values_list("agent_id", "agent__name", "project__slug")
    found = {*bound[:_MOST_NAMED], *live.order_by().distinct()[:_MOST_NAMED]}
    return [
        {"id": str(pk), "name": name, "project": project}
        for pk, name, project in sorted(found, key=lambda agent: (agent[2], agent[1]))
    ]


def _retire(node: Node) -> None:
    """The slug is made one that cannot be registered, so that the old one can."""
    node.slug = f"{node.slug[:90]}~{node.pk.hex}"
    node.generation += 1
    node.is_enabled, node.is_cordoned, node.removed_at = False, True, timezone.now()
    node.save(update_fields=["slug", "generation", "is_enabled", "is_cordoned", "removed_at"])
    void_lease(node)


def _known(fields: dict[str, Any]) -> dict[str, Any]:
    unknown = sorted(fields.keys() - _EDITABLE)
    if unknown:
        raise Invalid(fields={name: ["This cannot be changed."] for name in unknown})
    return fields


def check_node(node: Node, names: Set[str]) -> None:
    """``Invalid`` if one of these fields does not fit; what has stood there for long is not this change's fault."""
    if node.is_joined and "direction" in names:
        raise DirectionJoined(fields={"direction": [DirectionJoined.message]})
    problems: dict[str, list[str]] = {}
    try:
        node.clean_fields(exclude=["slug"])
    except ValidationError as error:
        problems |= error.message_dict
    for name, why in (
        ("id", wrong_with_id(node.slug)),
        ("grpc_target", wrong_with_target(node)),
        ("tls_server_name", _wrong_with_server_name(node.tls_server_name)),
        ("labels", wrong_with_labels(node.labels, MOST_OF_A_NODE)),
        ("pool", wrong_with_pool(node.pool)),
        ("default_worktree_root", _wrong_with_root(node.default_worktree_root)),
    ):
        if why and name not in problems:
            problems[name] = [why]
    problems = {name: why for name, why in problems.items() if name in names}
    if problems:
        text = " ".join(f"{name}: {' '.join(why)}" for name, why in problems.items())
        raise Invalid(text, fields=problems)


def wrong_with_id(slug: str) -> str:
    """As ``wrong_with_target``."""
    if slug in RESERVED:
        return f"{slug!r} is reserved for the hub's own node."
    if slug in _WORDS:
        return f"{slug!r} has a meaning of its own in addresses."
    if not _ID.fullmatch(slug):
        return "1 to 128 of A-Z a-z 0-9 . _ : - and nothing else."
    return ""


def wrong_with_target(node: Node) -> str:
    """What does not fit, in words; empty if nothing."""
    if node.is_local:
        return ""
    if node.direction == Node.Direction.TUNNEL:
        return "A node that dials the hub has no target." if node.grpc_target else ""
    if not node.grpc_target:
        return "Needed for the hub to dial, as in https://node1.internal:50051."
    try:
        parts = urlsplit(node.grpc_target)
        is_whole = parts.scheme == "https" and bool(parts.hostname) and bool(parts.port)
    except ValueError:  # a port that is none, or a bracket that is not closed
        is_whole = False
    if not is_whole or node.grpc_target != f"https://{parts.netloc}" or "@" in parts.netloc or " " in parts.netloc:
        return "Write https://host:port and nothing else, as in https://node1.internal:50051."
    return ""


def _wrong_with_server_name(name: str) -> str:
    return "" if not name or _HOST.fullmatch(name) else "Write a host's name and nothing else, as in node1.internal."


def _wrong_with_root(root: str) -> str:
    return "" if not root or root.startswith(("/", "~")) else "Write an absolute path on the node."
