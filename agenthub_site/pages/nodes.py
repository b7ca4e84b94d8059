"""The pages of nodes: how each is, and what a root operator does with it."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Q
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from agenthub_site.accounts.actors import Actor
from agenthub_site.accounts.permissions import Can, require
from agents.models import Agent, Run
from agents.queries import count_on_nodes, in_states, live_runs_of_nodes
from agents.states import LIVE
from nodes.connection import try_connection
from nodes.contract.errors import HubError
from nodes.doors import hub_url, join_command, reach_warning
from nodes.evidence import health_of
from nodes.join import create_join_token, revoke_node
from nodes.models import Node
from nodes.queries import visible_nodes
from nodes.services import cordon_node, drain_node, uncordon_node

from .doors import PageRequest, page, show_in_form, storable, tell
from .forms import JoinForm
from .machines import Machine
from .rows import run_rows, with_live_runs

PAGE_SIZE: Final = 60
MOST_SHOWN: Final = 50
form_page = require_http_methods(["GET", "POST"])


@require_GET
@page
def nodes(request: PageRequest) -> HttpResponse:
    """A page of them; ``?find=`` narrows by id or name, and by pool for those who see it."""
    find = storable(request.GET.get("find", "")).strip()[:128]
    found = visible_nodes(request.actor).order_by("slug")
    if find:
        in_pool = Q(pool__icontains=find) if request.actor.sees_all else Q()
        found = found.filter(Q(slug__icontains=find) | Q(name__icontains=find) | in_pool)
    part = Paginator(found, PAGE_SIZE).get_page(request.GET.get("page"))
    context = {"machines": _machines(request.actor, part), "part": part, "find": find}
    return render(request, "pages/nodes/cards.html" if request.htmx else "pages/nodes/list.html", context)


def _machines(actor: Actor, nodes: Iterable[Node]) -> list[Machine]:
    """Each with all its live runs, and how many of them the actor may see. Two queries."""
    shown = list(nodes)
    health, live = health_of(shown, timezone.now()), live_runs_of_nodes(node.pk for node in shown)
    machines = []
    for node in shown:
        held = live.get(node.pk, Counter())
        seen = held.total() if actor.sees_all else sum(held[project_id] for project_id in actor.project_ids)
        machines.append(Machine(node, health[node.pk], live_runs=held.total(), seen_runs=seen))
    return machines


def _find(request: PageRequest, node_id: UUID) -> Node:
    return get_object_or_404(visible_nodes(request.actor), pk=node_id)


@require_GET
@page
def node(request: PageRequest, node_id: UUID) -> HttpResponse:
    """A node's page; with htmx only what changes by itself. Agents and runs are those that the reader may see."""
    found = _find(request, node_id)
    agents = Agent.objects.visible_to(request.actor).filter(node=found, archived_at=None)
    context = {
        "machine": _machines(request.actor, [found])[0],
        "agents": with_live_runs(agents.select_related("project", "node")[:MOST_SHOWN], "agent"),
        "runs": run_rows(in_states(Run.objects.visible_to(request.actor).filter(node=found), LIVE))[:MOST_SHOWN],
    }
    return render(request, "pages/nodes/node_part.html" if request.htmx else "pages/nodes/node.html", context)


@require_GET
@page
def node_by_name(request: PageRequest, slug: str) -> HttpResponse:
    """``/nodes/gpu-01/`` leads to the page of the node that has that id now."""
    return redirect("node", get_object_or_404(visible_nodes(request.actor), slug=storable(slug)).pk)


_VERBS: Final[dict[str, tuple[Callable[..., Node], str]]] = {
    "cordon": (cordon_node, "{} takes no new runs from now on; those it has go on."),
    "drain": (drain_node, "{} takes no new runs, and shows as draining until its last run has ended."),
    "uncordon": (uncordon_node, "{} takes new runs again."),
}


@require_POST
@page
def change(request: PageRequest, node_id: UUID, verb: str) -> HttpResponse:
    if verb not in _VERBS:
        raise Http404
    do, words = _VERBS[verb]
    messages.success(request, words.format(do(_find(request, node_id), by=request.actor).name))
    return redirect("node", node_id)


@require_POST
@page
def test(request: PageRequest, node_id: UUID) -> HttpResponse:
    """Try to reach it, now."""
    tried = try_connection(_find(request, node_id), by=request.actor)
    took = f" It took {tried.milliseconds:g} ms." if tried.is_reached and tried.milliseconds is not None else ""
    (messages.success if tried.is_reached else messages.error)(request, f"{tried.text}{took}")
    return redirect("node", node_id)


@form_page
@page
def revoke(request: PageRequest, node_id: UUID) -> HttpResponse:
    """Ask first: what is revoked does not come back by itself."""
    found = _find(request, node_id)
    require(request.actor, Can.MANAGE_NODES)
    if request.method == "GET":
        live = count_on_nodes([found.pk]).get(found.pk, 0)
        return render(request, "pages/nodes/revoke.html", {"node": found, "live_runs": live})
    try:
        revoke_node(found, by=request.actor)
    except HubError as error:
        tell(request, error)
    else:
        messages.success(request, f"{found.name} is revoked: its link is cut, and no certificate of it is accepted.")
    return redirect("node", node_id)


@never_cache
@form_page
@page
def join(request: PageRequest) -> HttpResponse:
    """A token's command is in the answer to the request that made it, and nowhere else."""
    require(request.actor, Can.MANAGE_NODES)
    form = JoinForm(request.POST or None, initial={"name": request.GET.get("node", "")})
    made = _made(form, request.actor) if request.method == "POST" and form.is_valid() else {}
    status = 400 if form.errors else 200
    return render(request, "pages/nodes/join.html", {"form": form, **made}, status=status)


def _made(form: JoinForm, by: Actor) -> dict[str, object]:
    try:
        projects = [project.slug for project in form.cleaned_data["projects"]]
        made = create_join_token(form.cleaned_data["name"], by, projects)
    except HubError as error:
        show_in_form(form, error)
        return {}
    return {
        "command": join_command(hub_url(settings.CONFIG), made.text.encode()),
        "token": made.token,
        "warning": reach_warning(settings.CONFIG),
    }
