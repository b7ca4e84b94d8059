"""Routes: who adds and removes them, and what they say to somebody who wants to use a node.

Only root writes them. They are read once for many questions: see ``nodes.routing``.
"""

import shlex
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet

from agenthub_site.accounts.actors import Actor, ActorKind, Entry
from agenthub_site.accounts.models import Membership, Project, User
from agenthub_site.accounts.permissions import ROLES, TABLE, Can, may, require
from audit.services import Fact, record_all
from nodes.contract.errors import Forbidden, Invalid

from .models import Node, Route
from .queries import registered_nodes
from .routing import Asker, Routes, Rule, Ticket

_EDITABLE: Final = frozenset({"entries", "least_role", "user", "is_enabled", "note"})
_MOST_LABELS: Final = 16
_RANKS: Final = {str(role): rank for rank, role in enumerate(ROLES, 1)}
"""0 is for who has no role."""


class RouteMissing(Forbidden):
    """No route lets the project use the node. ``data``: what is ``missing``, and the ``command`` that adds it."""

    code = "route_missing"


# Writing.


@transaction.atomic
def add_route(
    project: Project, *, by: Actor, node: Node | None = None, pool: str = "",
    labels: Mapping[str, str] | None = None, entries: Iterable[str] = (), least_role: str = "",
    user: User | None = None, is_enabled: bool = True, note: str = "",
) -> Route:  # fmt: skip
    """Let the project's runs go to a node, or to those of a pool that have the labels. Root only.

    The same route twice is one. ``Invalid`` names the fields that do not fit.
    """
    require(by, Can.MANAGE_ROUTES)
    route = Route(
        project=project, node=node, pool=pool, labels=dict(labels or {}), entries=sorted(set(entries)),
        least_role=least_role, user=user, is_enabled=is_enabled, note=note, created_by=(by.label or by.id)[:150],
    )  # fmt: skip
    _check(route)
    same = Route.objects.select_for_update(no_key=True, of=("self",)).filter(
        project=project, node=node, pool=pool, least_role=least_role, user=user
    )
    for known in same:
        if (known.labels, known.entries) == (route.labels, route.entries):
            return edit_route(known, by=by, is_enabled=is_enabled, **({"note": note} if note else {}))
    route.save(force_insert=True)
    _record("route.added", route, by)
    return route


@transaction.atomic
def edit_route(route: Route, *, by: Actor, **changes: Any) -> Route:
    """Change whom a route is for, by which entries, and whether it counts; where it leads stays. Root only."""
    require(by, Can.MANAGE_ROUTES)
    if unknown := sorted(changes.keys() - _EDITABLE):
        raise Invalid(fields={name: ["This cannot be changed: remove the route and add another."] for name in unknown})
    if "entries" in changes:
        changes["entries"] = sorted(set(changes["entries"]))
    route = Route.objects.select_for_update(no_key=True, of=("self",)).get(pk=route.pk)
    changed = [name for name, value in changes.items() if getattr(route, name) != value]
    if not changed:
        return route
    for name in changed:
        setattr(route, name, changes[name])
    _check(route)
    route.save(update_fields=[*changed, "updated_at"])
    _record("route.edited", route, by, changed=sorted(changed))
    return route


@transaction.atomic
def remove_route(route: Route, *, by: Actor) -> None:
    """From now on no new run goes that way; those under way go on. Root only."""
    require(by, Can.MANAGE_ROUTES)
    _record("route.removed", route, by)
    route.delete()


def drop_routes(node: Node) -> list[Fact]:
    """Delete the routes to a node that is being deleted: they lead to no later one of its name.

    What is to be said of it is the caller's to record, as its last act.
    """
    removed = [_fact("route.removed", route) for route in node.routes.select_related("node", "user")]
    node.routes.all().delete()
    return removed


def allow_projects(node: Node, projects: Iterable[Project], *, by: Actor) -> None:
    """A plain route to the node for each project; those that have it keep it. Root only."""
    for project in projects:
        add_route(project, by=by, node=node)


def find_projects(slugs: Iterable[str]) -> list[Project]:
    """The projects of these slugs. ``Invalid`` names those that are not there."""
    wanted = sorted(set(slugs))
    found = {project.slug: project for project in Project.objects.filter(slug__in=wanted)}
    if missing := [slug for slug in wanted if slug not in found]:
        why = f"There is no project {', '.join(missing)}."
        raise Invalid(why, fields={"allow_projects": [why]})
    return [found[slug] for slug in wanted]


def _record(name: str, route: Route, by: Actor, **more: Any) -> None:
    record_all([_fact(name, route, **more)], by=by)


def _fact(name: str, route: Route, **more: Any) -> Fact:
    said = {
        "leads_to": route.leads_to, "is_for": route.is_for, "entries": route.entries, "is_enabled": route.is_enabled,
    }  # fmt: skip
    return Fact(route.project_id, name, of=("route", route.pk), node=route.node_id, data={**said, **more})


def _check(route: Route) -> None:
    problems: dict[str, list[str]] = {}
    try:
        route.clean_fields(exclude=["project", "node", "user", "created_by"])
    except ValidationError as error:
        problems |= error.message_dict
    labels: Any = route.labels
    if route.node is not None and (route.pool or labels):
        problems["node"] = ["Name a node, or a pool and labels: not both."]
    if route.node is None and not (route.pool or labels):
        problems["node"] = ["Name a node; or a pool, or labels, that a node must have."]
    if route.node is not None and route.node.is_local:
        problems["node"] = ["Every project may use the local node; it needs no route. Disable it to close it."]
    if not isinstance(labels, dict) or len(labels) > _MOST_LABELS or not all(map(_is_label, labels, labels.values())):
        problems["labels"] = [f"At most {_MOST_LABELS} texts of 256 characters, by names of 1 to 63."]
    if unknown := sorted(set(map(str, route.entries)) - {entry.value for entry in Entry}):
        problems["entries"] = [f"Unknown: {', '.join(unknown)}. There are {', '.join(Entry)}."]
    if route.user is not None and route.least_role:
        problems["user"] = ["Name a person, or a role: not both."]
    if problems:
        text = " ".join(f"{name}: {' '.join(why)}" for name, why in problems.items())
        raise Invalid(f"The route does not fit. {text}", fields=problems)


def _is_label(name: Any, text: Any) -> bool:
    return isinstance(text, str) and 0 < len(name) <= 63 and len(text) <= 256 and "\x00" not in name + text


# Reading.


def read_routes(projects: Iterable[UUID] | None = None) -> Routes:
    """The rules in force: of these projects, or of all. One query."""
    rows = Route.objects.filter(is_enabled=True).order_by()
    if projects is not None:
        rows = rows.filter(project__in=set(projects))
    rules: dict[UUID, list[Rule]] = defaultdict(list)
    columns = ("project", "node", "pool", "labels", "entries", "least_role", "user")
    for project, node, pool, labels, entries, least_role, user in rows.values_list(*columns):
        rules[project].append(
            Rule(node, pool, frozenset(labels.items()), frozenset(entries), _RANKS.get(least_role, 0), user)
        )
    return Routes(rules)


def asker_of(actor: Actor, project_id: UUID) -> Asker | None:
    """The system is not asked who it is: what it does it does for somebody who was asked.

    Come by an entry, it is nobody in particular, whom only routes for everybody lead.
    """
    if actor.kind is ActorKind.SYSTEM and not actor.entry:
        return None
    rank = _RANKS.get(actor.roles.get(project_id, ""), 0)
    return Asker(actor.entry, actor.user_id, rank, is_root=actor.is_root)


Passenger = tuple[UUID, UUID | None, str]
"""Of a run: its project, who started it, and by which entry."""


def tickets(passengers: Iterable[Passenger]) -> dict[Passenger, Ticket]:
    """What each may use now. Three queries at most, for however many."""
    wanted = set(passengers)
    people = {user for _, user, _ in wanted if user}
    routes = read_routes(project for project, _, _ in wanted)
    roles: dict[tuple[UUID, UUID], str] = {}
    roots: set[UUID] = set()
    if people:
        members = Membership.objects.filter(user__in=people, project__in={project for project, _, _ in wanted})
        roles = {(m.project_id, m.user_id): m.role for m in members.order_by().only("project", "user", "role")}
        superusers = User.objects.filter(pk__in=people, is_superuser=True, is_active=True)
        roots = set(superusers.order_by().values_list("pk", flat=True))
    found: dict[Passenger, Ticket] = {}
    for passenger in wanted:
        project, user, entry = passenger
        if user is None and not entry:
            found[passenger] = routes.ticket(project, None, "its project")
            continue
        role = roles.get((project, user), "") if user else ""
        asker = Asker(entry, user, _RANKS.get(role, 0), is_root=user in roots)
        who = f"its project, by {entry or 'no entry'} as {role or ('root' if asker.is_root else 'nobody')},"
        found[passenger] = routes.ticket(project, asker, who if routes.rules.get(project) else "its project")
    return found


def projects_by_node(nodes: Sequence[Node]) -> dict[UUID, list[str]]:
    """The slugs of the projects that may use each node, by any entry and for anybody. One query; two with routes."""
    rules = read_routes().rules
    slugs = dict(Project.objects.filter(pk__in=rules).values_list("pk", "slug")) if rules else {}
    return {
        node.pk: sorted(
            slugs[project]
            for project, its in rules.items()
            if project in slugs and Ticket(frozenset(its)).allows(*_as_seen(node))
        )
        for node in nodes
    }


def usable_nodes(projects: Iterable[UUID]) -> QuerySet[Node]:
    """Registered nodes that at least one of the projects may use. Two queries before the answer's own."""
    rules = frozenset(rule for its in read_routes(projects).rules.values() for rule in its)
    ticket = Ticket(rules)
    nodes = registered_nodes().only("slug", "pool", "labels")
    return registered_nodes().filter(pk__in=[node.pk for node in nodes if ticket.allows(*_as_seen(node))])


def may_use(ticket: Ticket, node: Node) -> bool:
    return ticket.allows(*_as_seen(node))


def _as_seen(node: Node) -> tuple[UUID, str, str, frozenset[tuple[str, str]]]:
    return node.pk, node.slug, node.pool, frozenset(node.labels.items())


def route_missing(
    project: Project, *, node: str = "", pool: str = "", labels: Mapping[str, str] | None = None,
    asker: Asker | None = None, who: str = "",
) -> RouteMissing:  # fmt: skip
    """The refusal in words and data. With an ``asker`` it is one of whom the routes there, if any, do not speak."""
    entry = asker.entry if asker else ""
    command = ["agenthub", "route", "add", "--project", project.slug]
    if node:
        command += ["--node", node]
    command += ["--pool", pool] if pool else []
    command += [part for name in sorted(labels or {}) for part in ("--label", f"{name}={(labels or {})[name]}")]
    where = f"node {node}" if node else "any node that has what the agent asks for"
    by = f", for {who} by {entry or 'no entry'}" if asker else ""
    return RouteMissing(
        f"No route lets project {project.slug} use {where}{by}. A root operator adds one: {shlex.join(command)}",
        missing={
            "project": project.slug, "node": node or None, "pool": pool, "labels": dict(labels or {}),
            "entry": entry or None, "user": who or None,
        },
        command=shlex.join(command),
        fields={"node": [f"No route lets project {project.slug} use it{by}."]},
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether somebody's run may go to a node, in words; by which routes, or what adds one."""

    is_allowed: bool
    because: str
    routes: Sequence[Route]
    command: str = ""


def ask_route(project: Project, node: Node, whom: Actor, entry: str) -> Answer:
    """What would be said to a run of ``whom``'s that came by ``entry``, whatever their token is for. Two queries."""
    if not may(replace(whom, token=None), Can.START_RUN, project.pk):
        return Answer(False, _may_not_start(whom, project), [])
    if node.is_local:
        return Answer(True, "Every project may use the local node.", [])
    asker = asker_of(replace(whom, entry=entry), project.pk)
    rows = Route.objects.filter(project=project, is_enabled=True).select_related("project", "node", "user")
    leading = [route for route in rows if may_use(Ticket(frozenset([rule_of(route)])), node)]
    admitting = [route for route in leading if asker is None or rule_of(route).admits(asker)]
    if admitting:
        return Answer(True, f"A route to {admitting[0].leads_to} is for {admitting[0].is_for}.", admitting)
    refusal = route_missing(project, node=node.slug, asker=asker if leading else None, who=whom.label)
    return Answer(False, refusal.text, [], refusal.data["command"])


def _may_not_start(whom: Actor, project: Project) -> str:
    least = next(role for role in ROLES if role in TABLE[Can.START_RUN].roles)
    role = whom.roles.get(project.pk, "no member")
    return f"{whom.label} is {role} of project {project.slug}, and starts no runs there: that takes a {least}."


def rule_of(route: Route) -> Rule:
    return Rule(
        route.node_id, route.pool, frozenset(route.labels.items()), frozenset(route.entries),
        _RANKS.get(route.least_role, 0), route.user_id,
    )  # fmt: skip
