"""The policy: its rules level by level, a dry run in place, standing answers, and who answers what is asked."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db.models import Q
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from agenthub_site.accounts.models import Project
from agenthub_site.accounts.permissions import ROLES, Can, may, require
from agents.models import Agent
from agents.rules import PolicyGrant, PolicyReview, PolicyRule
from agents.services.compiling import compile_policy, compile_project, reviews_of
from agents.services.policies import add_rule, edit_rule, move_rule, remove_grant, remove_rule, set_review
from nodes.contract.actions import Place
from nodes.contract.errors import HubError
from nodes.contract.judged import imagined, try_out

from .doors import PageRequest, page, show_in_form
from .policy_forms import ReviewForm, RuleForm, TrialForm
from .templatetags.pages import duration


@dataclass(frozen=True, slots=True)
class Level:
    """The rules of one level, in order."""

    name: str
    title: str
    rules: list[PolicyRule]
    may_edit: bool


@dataclass(frozen=True, slots=True)
class Deciding:
    """One action of a request that was tried out, and who decided on it."""

    action: Any
    rule: PolicyRule | None
    grant: PolicyGrant | None


@dataclass(frozen=True, slots=True)
class Asked:
    """Who answers: an agent ``first`` (its name, or empty), people ``after`` a while; ``expires`` if a level says."""

    first: str
    after: str
    roles: list[str]
    expires: str


def _project(request: PageRequest, slug: str) -> Project | None:
    return get_object_or_404(Project.objects.visible_to(request.actor), slug=slug) if slug else None


def _may_edit(request: PageRequest, project_id: UUID | None) -> bool:
    if project_id is None:
        return may(request.actor, Can.MANAGE_ROUTES)
    return may(request.actor, Can.EDIT_POLICY, project_id)


def _require_edit(request: PageRequest, project: Project | None) -> None:
    if project is None:
        require(request.actor, Can.MANAGE_ROUTES)
    else:
        require(request.actor, Can.EDIT_POLICY, project.pk)


def _page_of(project: Project | None) -> HttpResponse:
    return redirect("policy", project.slug) if project else redirect("hub_policy")


@require_GET
@page
def policy(request: PageRequest, slug: str = "") -> HttpResponse:
    """A project's, with what binds it from above; without a slug the hub's own."""
    return _show(request, _project(request, slug))


def _show(request: PageRequest, project: Project | None, **forms: Any) -> HttpResponse:
    """Six queries at most, however many rules there are."""
    here = Q(project=None) | Q(project=project)
    rules = list(PolicyRule.objects.filter(here).select_related("agent"))
    review = PolicyReview.objects.filter(project=project, agent=None).select_related("reviewer").first()
    grants = PolicyGrant.objects.filter(project=project, expires_at__gt=timezone.now()).select_related("agent")
    context = {
        "project": project,
        "levels": list(_levels(request, project, rules)),
        "grants": grants if project else [],
        "may_edit": _may_edit(request, project.pk if project else None),
        "rule_form": RuleForm(project=project),
        "review_form": ReviewForm(project=project, review=review),
        "review": review,
        "asked": asked_of(Agent(project=project)) if project else None,
        "agent_reviews": PolicyReview.objects.filter(project=project, agent__isnull=False).select_related(
            "agent", "reviewer"
        ),
        "trial_form": TrialForm(project=project) if project else None,
        **forms,
    }
    is_wrong = any(form.is_bound and form.errors for form in forms.values())
    return render(request, "pages/policy/policy.html", context, status=400 if is_wrong else 200)


def _levels(request: PageRequest, project: Project | None, rules: list[PolicyRule]) -> Iterable[Level]:
    """From the top: the hub's, the project's, and each agent's that has any."""
    may_edit = project is None and _may_edit(request, None)
    yield Level("instance", "The whole hub", [rule for rule in rules if not rule.project_id], may_edit)
    if project is None:
        return
    can = _may_edit(request, project.pk)
    yield Level("project", project.name, [rule for rule in rules if rule.project_id and not rule.agent_id], can)
    agents = {rule.agent.pk: rule.agent for rule in rules if rule.agent}
    for agent in sorted(agents.values(), key=lambda agent: agent.name):
        yield Level("agent", f"The agent {agent.name}", [rule for rule in rules if rule.agent_id == agent.pk], can)


def asked_of(one: Agent) -> Asked:
    """Who answers what an agent asks. One that is not kept has no words of its own: then it is its project's."""
    review = reviews_of([one])[one.pk]
    first = Agent.objects.filter(pk=review.agent_id).values_list("name", flat=True).first() if review.agent_id else ""
    roles = [str(role) for role in reversed(ROLES) if role in review.roles]
    is_shorter = review.expires_seconds < one.approval_seconds
    expires = duration(review.expires_seconds) if is_shorter else ""
    return Asked(first or "", duration(review.people_after_seconds), roles, expires)


@require_POST
@page
def add(request: PageRequest, slug: str = "") -> HttpResponse:
    project = _project(request, slug)
    _require_edit(request, project)
    form = RuleForm(request.POST, project=project)
    if form.is_valid():
        given = dict(form.cleaned_data)
        try:
            add_rule(project, given.pop("agent", None), by=request.actor, **given)
        except HubError as error:
            show_in_form(form, error)
        else:
            messages.success(request, "The rule is in force. Live runs are told.")
            return _page_of(project)
    return _show(request, project, rule_form=form)


def _rule(request: PageRequest, rule_id: UUID) -> PolicyRule:
    """What one sees but may not change is refused by ``_require_edit``."""
    rules = PolicyRule.objects.visible_to(request.actor).select_related("project", "agent")
    found: PolicyRule = get_object_or_404(rules, pk=rule_id)
    _require_edit(request, found.project)
    return found


@require_http_methods(["GET", "POST"])
@page
def rule(request: PageRequest, rule_id: UUID) -> HttpResponse:
    found = _rule(request, rule_id)
    form = RuleForm(request.POST or None, rule=found)
    if request.method == "POST" and form.is_valid():
        try:
            edit_rule(found, by=request.actor, **form.cleaned_data)
        except HubError as error:
            show_in_form(form, error)
        else:
            messages.success(request, "Saved. Live runs are told.")
            return _page_of(found.project)
    context = {"rule": found, "project": found.project, "form": form}
    return render(request, "pages/policy/rule.html", context, status=400 if form.errors else 200)


@require_POST
@page
def move(request: PageRequest, rule_id: UUID) -> HttpResponse:
    found, text = _rule(request, rule_id), request.POST.get("position", "")
    if text.isdecimal() and len(text) < 6:
        move_rule(found, by=request.actor, position=int(text))
    return _page_of(found.project)


@require_POST
@page
def remove(request: PageRequest, rule_id: UUID) -> HttpResponse:
    found = _rule(request, rule_id)
    remove_rule(found, by=request.actor)
    messages.success(request, f"Removed: {found}. Live runs are told.")
    return _page_of(found.project)


@require_POST
@page
def withdraw(request: PageRequest, grant_id: UUID) -> HttpResponse:
    grants = PolicyGrant.objects.visible_to(request.actor).select_related("project")
    found = get_object_or_404(grants, pk=grant_id)
    remove_grant(found, by=request.actor)
    messages.success(request, f"Withdrawn: {found}. From now on that is asked again.")
    return redirect("policy", found.project.slug)


@require_POST
@page
def review(request: PageRequest, slug: str = "") -> HttpResponse:
    project = _project(request, slug)
    _require_edit(request, project)
    form = ReviewForm(request.POST, project=project)
    if form.is_valid():
        try:
            set_review(project, by=request.actor, **form.said())
        except HubError as error:
            show_in_form(form, error)
        else:
            messages.success(request, "Saved. It holds for what is asked from now on.")
            return _page_of(project)
    return _show(request, project, review_form=form)


@require_POST
@page
def test(request: PageRequest, slug: str) -> HttpResponse:
    """A dry run: what would happen if an agent asked this, and which rule decides."""
    project = get_object_or_404(Project.objects.visible_to(request.actor), slug=slug)
    form = TrialForm(request.POST, project=project)
    context: dict[str, Any] = {"project": project, "trial_form": form}
    if form.is_valid():
        agent = form.cleaned_data["agent"]
        compiled = compile_policy(agent) if agent else compile_project(project.pk)
        context["trial"] = trial = try_out(compiled, imagined(**form.asked()), Place("/workspace", home="/home/agent"))
        context["decisions"] = _deciding(trial.actions)
    name = "trial" if request.htmx else "tried"
    return render(request, f"pages/policy/{name}.html", context, status=200 if request.htmx or form.is_valid() else 400)


def _deciding(actions: Iterable[Any]) -> list[Deciding]:
    held = list(actions)
    rules = {str(row.pk): row for row in PolicyRule.objects.filter(pk__in=[a.rule for a in held if a.rule])}
    grants = {str(row.pk): row for row in PolicyGrant.objects.filter(pk__in=[a.grant for a in held if a.grant])}
    return [Deciding(action, rules.get(action.rule), grants.get(action.grant)) for action in held]
