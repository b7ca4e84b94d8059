"""The pages' handlers: find what may be seen, call one service, show the answer."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db.models import Count, Prefetch, Q
from django.forms import model_to_dict
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from agenthub_site.accounts import services as accounts
from agenthub_site.accounts.models import Membership, Project, Token
from agenthub_site.accounts.newest import newest
from agenthub_site.accounts.permissions import Can, may, require
from agenthub_site.accounts.tokens import revoke_token
from agents.models import Agent, Run
from agents.rules import PolicyReview
from agents.services.agents import archive_agent, create_agent, edit_agent
from agents.services.policies import set_review
from agents.services.runs import cancel_run, start_run
from agents.services.tokens import create_agent_token
from nodes.contract.errors import HubError
from nodes.contract.ids import uuid_of

from . import words
from .doors import PageRequest, named_project, page, show_in_form, tell
from .forms import AgentForm, AgentTokenForm, ProjectForm, ProjectSettingsForm, RunFilter, StartRunForm
from .machines import seems_outside
from .mcp_clients import mcp_clients
from .policies import asked_of
from .policy_forms import ReviewForm
from .rows import run_rows, shown_apart, with_live_runs
from .usage import State, pressing

PAGE_SIZE = 50
RECENT = 10
form_page = require_http_methods(["GET", "POST"])


def home(request: HttpRequest) -> HttpResponse:
    return redirect("runs")


# Runs.


@require_GET
@page
def runs(request: PageRequest) -> HttpResponse:
    filters = RunFilter(request.GET, actor=request.actor)
    found = run_rows(filters.apply(Run.objects.visible_to(request.actor)))
    before = uuid_of(request.GET.get("before", ""))
    wanted = found.filter(pk__lt=before) if before else found
    apart = None if filters.is_of_one_project else shown_apart(request.actor)
    rows = list(newest(wanted, apart, PAGE_SIZE + 1)[: PAGE_SIZE + 1])
    context = {
        "filters": filters,
        "runs": rows[:PAGE_SIZE],
        "older": rows[PAGE_SIZE - 1].pk if len(rows) > PAGE_SIZE else None,
        "is_first_page": before is None,
    }
    return render(request, "pages/runs/rows.html" if request.htmx else "pages/runs/list.html", context)


@form_page
@page
def new_run(request: PageRequest) -> HttpResponse:
    form = StartRunForm(request.POST or None, actor=request.actor, initial=_run_to_begin_with(request))
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        try:
            run = start_run(data["agent"], by=request.actor, prompt=data["prompt"], keep_open=data["keep_open"])
        except HubError as error:
            show_in_form(form, error)
        else:
            return redirect("run", run.pk)
    context = {"form": form, "may_create": _may_create(request)}
    return render(request, "pages/runs/new.html", context, status=400 if form.errors else 200)


def _run_to_begin_with(request: PageRequest) -> dict[str, object]:
    """``?agent=`` chooses the agent; ``?like=`` an earlier run, to start it again or change its prompt."""
    like = uuid_of(request.GET.get("like", ""))
    earlier = Run.objects.visible_to(request.actor).filter(pk=like).first() if like else None
    if earlier:
        return {"agent": earlier.agent_id, "prompt": earlier.prompt, "keep_open": earlier.keep_open}
    return {"agent": request.GET.get("agent")}


def _find_run(request: PageRequest, run_id: UUID) -> Run:
    seen = Run.objects.visible_to(request.actor).select_related("agent", "node", "project", "user")
    return get_object_or_404(seen, pk=run_id)


@require_GET
@page
def run(request: PageRequest, run_id: UUID) -> HttpResponse:
    """The run page; with htmx only its header, which the timeline's script asks for when the state changes."""
    found = _find_run(request, run_id)
    context = {
        "run": found,
        "may_steer": may(request.actor, Can.SEND_INPUT, found.project_id),
        "pressing": _pressing(request, found),
        "may_audit": may(request.actor, Can.VIEW_AUDIT, found.project_id),
        "reasons": words.table(),
    }
    return render(request, "pages/runs/header.html" if request.htmx else "pages/runs/run.html", context)


def _pressing(request: PageRequest, run: Run) -> list[State]:
    """Budgets that may soon stop it; nothing once it has ended, or for its header alone."""
    is_told = not request.htmx and not run.is_ended and may(request.actor, Can.VIEW_USAGE, run.project_id)
    return pressing(run.project_id, run.agent_id) if is_told else []


@require_POST
@page
def cancel(request: PageRequest, run_id: UUID) -> HttpResponse:
    try:
        cancel_run(_find_run(request, run_id), by=request.actor)
    except HubError as error:
        if error.http in (403, 404):
            raise
        tell(request, error)
    return redirect("run", run_id)


# Agents.


@require_GET
@page
def agents(request: PageRequest) -> HttpResponse:
    seen = Agent.objects.visible_to(request.actor).filter(archived_at=None).select_related("project", "node")
    rows = with_live_runs(seen.order_by("project__slug", "name"), "agent")
    return render(request, "pages/agents/list.html", {"agents": rows, "may_create": _may_create(request)})


def _may_create(request: PageRequest) -> bool:
    actor = request.actor
    return actor.sees_all or any(may(actor, Can.CREATE_AGENT, project_id) for project_id in actor.project_ids)


def _find_agent(request: PageRequest, agent_id: UUID) -> Agent:
    return get_object_or_404(Agent.objects.visible_to(request.actor).select_related("project", "node"), pk=agent_id)


@never_cache
@require_GET
@page
def agent(request: PageRequest, agent_id: UUID) -> HttpResponse:
    return _agent_page(request, _find_agent(request, agent_id))


def _agent_page(request: PageRequest, found: Agent, **more: Any) -> HttpResponse:
    may_tokens = may(request.actor, Can.MANAGE_TOKENS, found.project_id)
    may_review = may(request.actor, Can.EDIT_POLICY, found.project_id)
    asks = not (found.is_external or found.archived_at)
    review = PolicyReview.objects.filter(agent=found).first() if asks else None
    context = {
        "agent": found,
        "runs": run_rows(Run.objects.visible_to(request.actor).filter(agent=found))[:RECENT],
        "may_edit": may(request.actor, Can.EDIT_AGENT, found.project_id),
        "may_start": may(request.actor, Can.START_RUN, found.project_id)
        and found.archived_at is None
        and not found.is_external,
        "may_write": may(request.actor, Can.SEND_MESSAGE, found.project_id) and found.archived_at is None,
        "mcp_clients": mcp_clients(request.build_absolute_uri("/mcp"), more.get("secret", "")),
        "may_tokens": may_tokens,
        "tokens": Token.objects.filter(agent_id=found.pk, revoked_at=None) if may_tokens else [],
        "token_form": AgentTokenForm(),
        "asked": asked_of(found) if asks else None,
        "review": review,
        "review_form": ReviewForm(project=found.project, agent=found, review=review) if asks and may_review else None,
        "now": timezone.now(),
        **more,
    }
    is_wrong = any(form and form.is_bound and form.errors for form in (context["token_form"], context["review_form"]))
    return render(request, "pages/agents/agent.html", context, status=400 if is_wrong else 200)


@require_POST
@page
def review_agent(request: PageRequest, agent_id: UUID) -> HttpResponse:
    """Say who answers what this agent asks, within what its project's policy says."""
    found = _find_agent(request, agent_id)
    require(request.actor, Can.EDIT_POLICY, found)
    form = ReviewForm(request.POST, project=found.project, agent=found)
    if form.is_valid():
        try:
            set_review(found.project, found, by=request.actor, **form.said())
        except HubError as error:
            show_in_form(form, error)
        else:
            messages.success(request, "Saved. It holds for what is asked from now on.")
            return redirect("agent", agent_id)
    return _agent_page(request, found, review_form=form)


@never_cache
@require_POST
@page
def add_agent_token(request: PageRequest, agent_id: UUID) -> HttpResponse:
    """Its secret is in this answer, and nowhere else."""
    found, form = _find_agent(request, agent_id), AgentTokenForm(request.POST)
    require(request.actor, Can.MANAGE_TOKENS, found)
    if form.is_valid():
        try:
            _, secret = create_agent_token(found, by=request.actor, **form.made())
        except HubError as error:
            show_in_form(form, error)
        else:
            return _agent_page(request, found, secret=secret)
    return _agent_page(request, found, token_form=form)


@require_POST
@page
def revoke_agent_token(request: PageRequest, agent_id: UUID, agent_token_id: UUID) -> HttpResponse:
    found = _find_agent(request, agent_id)
    require(request.actor, Can.MANAGE_TOKENS, found)
    token = get_object_or_404(Token, agent_id=found.pk, pk=agent_token_id)
    revoke_token(token, by=request.actor)
    messages.success(request, f"The token {token.name} no longer works.")
    return redirect("agent", agent_id)


@form_page
@page
def new_agent(request: PageRequest) -> HttpResponse:
    form = AgentForm(request.POST or None, actor=request.actor, initial={"project": named_project(request)})
    if request.method == "POST" and form.is_valid():
        try:
            made = create_agent(form.cleaned_data["project"], by=request.actor, **form.settings())
        except HubError as error:
            show_in_form(form, error)
        else:
            messages.success(request, f"The agent {made.name} is ready.")
            _warn_of_workspace(request, made)
            return redirect("agent", made.pk)
    return render(request, "pages/agents/form.html", {"form": form}, status=400 if form.errors else 200)


@form_page
@page
def change_agent(request: PageRequest, agent_id: UUID) -> HttpResponse:
    found = _find_agent(request, agent_id)
    require(request.actor, Can.EDIT_AGENT, found)
    form = AgentForm(request.POST or None, actor=request.actor, agent=found)
    if request.method == "POST" and form.is_valid():
        try:
            edit_agent(found, by=request.actor, **form.settings())
        except HubError as error:
            show_in_form(form, error)
        else:
            messages.success(request, "Saved. Runs under way keep what they were started with.")
            _warn_of_workspace(request, found)
            return redirect("agent", found.pk)
    context = {"form": form, "agent": _find_agent(request, agent_id) if form.errors else found}
    return render(request, "pages/agents/form.html", context, status=400 if form.errors else 200)


def _warn_of_workspace(request: PageRequest, agent: Agent) -> None:
    """The node decides, run by run; what it would refuse for certain is said before the first one."""
    if seems_outside(agent):
        messages.warning(
            request,
            "Its workspace seems to lie outside the safe paths of its node, which refuses its runs then: add the "
            "directory to safe_paths in the node's config.toml and restart the node, or choose another.",
        )


@require_POST
@page
def archive(request: PageRequest, agent_id: UUID) -> HttpResponse:
    found = _find_agent(request, agent_id)
    archive_agent(found, by=request.actor)
    messages.success(request, f"The agent {found.name} is archived. Its runs stay.")
    return redirect("agents")


# Projects.


@require_GET
@page
def projects(request: PageRequest) -> HttpResponse:
    seen = Project.objects.visible_to(request.actor).annotate(
        agent_count=Count("agents", filter=Q(agents__archived_at=None), distinct=True),
        member_count=Count("memberships", distinct=True),
    )
    context = {"projects": with_live_runs(seen, "project"), "may_create": may(request.actor, Can.CREATE_PROJECT)}
    return render(request, "pages/projects/list.html", context)


@form_page
@page
def new_project(request: PageRequest) -> HttpResponse:
    require(request.actor, Can.CREATE_PROJECT)
    form = ProjectForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            made = accounts.create_project(by=request.actor, **form.cleaned_data)
        except HubError as error:
            show_in_form(form, error)
        else:
            return redirect("project", made.slug)
    return render(request, "pages/projects/form.html", {"form": form}, status=400 if form.errors else 200)


def _find_project(request: PageRequest, slug: str) -> Project:
    members = Prefetch("memberships", Membership.objects.select_related("user").order_by("user__username"))
    return get_object_or_404(Project.objects.visible_to(request.actor).prefetch_related(members), slug=slug)


@form_page
@page
def change_project(request: PageRequest, slug: str) -> HttpResponse:
    found = _find_project(request, slug)
    require(request.actor, Can.EDIT_PROJECT, found.pk)
    named = found.name
    form = ProjectSettingsForm(request.POST or None, initial=model_to_dict(found))
    if request.method == "POST" and form.is_valid():
        try:
            accounts.edit_project(found, by=request.actor, **form.changes())
        except HubError as error:
            show_in_form(form, error)
        else:
            messages.success(request, "Saved. Runs under way keep what they were started with.")
            return redirect("project", slug)
    context = {"project": found, "form": form, "named": named}
    return render(request, "pages/projects/settings.html", context, status=400 if form.errors else 200)


@require_GET
@page
def project(request: PageRequest, slug: str) -> HttpResponse:
    found = _find_project(request, slug)
    agents_here = found.agents.filter(archived_at=None).select_related("node")
    context = {
        "project": found,
        "agents": with_live_runs(agents_here, "agent"),
        "runs": run_rows(Run.objects.visible_to(request.actor).filter(project=found))[:RECENT],
        "pressing": pressing(found.pk) if may(request.actor, Can.VIEW_USAGE, found.pk) else [],
        "routes": found.routes.select_related("node", "user").order_by("-is_enabled", "node__slug", "id"),
        "may_route": may(request.actor, Can.MANAGE_ROUTES),
        "may_manage": may(request.actor, Can.MANAGE_MEMBERS, found.pk),
        "may_create": may(request.actor, Can.CREATE_AGENT, found.pk),
    }
    return render(request, "pages/projects/project.html", context)
