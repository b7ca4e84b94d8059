"""The inbox: what waits for the person over all projects, answered in place, alone or together; and its history."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db.models import Q
from django.db.models.functions import Left
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from agenthub_site.accounts.newest import newest
from agenthub_site.accounts.permissions import Can, may
from agents.models import Approval, ApprovalQuerySet
from agents.queries import open_approvals, shown_approvals
from agents.services.always_allow import always_allow, may_stand, propose_grants
from agents.services.approvals import BulkAnswer, decide_approval, decide_approvals
from nodes.contract.errors import HubError, Invalid
from nodes.contract.ids import uuid_of

from .doors import PageRequest, page
from .forms import AlwaysAllowForm
from .questions import Card, Standing
from .rows import shown_apart

PLACES = ("inbox", "run")
RECENT = 10
CARDS = 25
"""Open questions at once, each with what it is about."""
PAGE_SIZE = 50


def _questions(request: PageRequest) -> ApprovalQuerySet:
    """Approvals as a list shows them, with their run's beginning."""
    rows: ApprovalQuerySet = shown_approvals(request.actor).prefetch_related("grants")
    return rows.annotate(prompt_head=Left("run__prompt", 100))


@require_GET
@page
def approvals(request: PageRequest) -> HttpResponse:
    """What waits for an answer; with ``?tab=history`` what was answered, or not in time."""
    if request.GET.get("tab") == "history":
        return _history(request)
    return render(
        request, "pages/approvals/cards.html" if request.htmx else "pages/approvals/list.html", _open(request)
    )


def _open(request: PageRequest, problems: list[str] | None = None, done: int = 0) -> dict[str, object]:
    """The person's own questions, then those that others are asked first."""
    now = timezone.now()
    asked: Any = _questions(request).waiting(now)  # annotated
    waiting = list(asked.order_by("-is_offered", "id")[: CARDS + 1])
    closed = _questions(request).filter(~Q(state=Approval.State.PENDING) | Q(expires_at__lte=now))
    return {
        "waiting": [_card(request, approval, place="inbox") for approval in waiting[:CARDS]],
        "are_more": len(waiting) > CARDS,
        "may_bulk": sum(approval.is_offered for approval in waiting[:CARDS]) > 1,
        "recent": newest(closed, shown_apart(request.actor), RECENT).order_by("-id")[:RECENT],
        "problems": problems or [],
        "done": done,
    }


def _history(request: PageRequest) -> HttpResponse:
    closed = ~Q(state=Approval.State.PENDING) | Q(expires_at__lte=timezone.now())
    rows = _questions(request).filter(closed).order_by("-id")
    before = uuid_of(request.GET.get("before", ""))
    wanted = rows.filter(pk__lt=before) if before else rows
    found = list(newest(wanted, shown_apart(request.actor), PAGE_SIZE + 1)[: PAGE_SIZE + 1])
    older = found[PAGE_SIZE - 1].pk if len(found) > PAGE_SIZE else None
    context = {"history": found[:PAGE_SIZE], "older": older, "is_first_page": before is None, "is_history": True}
    return render(request, "pages/approvals/history.html" if request.htmx else "pages/approvals/list.html", context)


def _card(request: PageRequest, approval: Any, *, place: str, **more: Any) -> Card:
    may_keep = approval.is_offered and may(request.actor, Can.EDIT_POLICY, approval.project_id)
    may_always = may_keep and may_stand(approval)
    return Card(approval, approval.is_offered, place=place, may_always=may_always, may_edit_policy=may_keep, **more)


def _show(request: PageRequest, approval: Any, status: int = 200, **more: Any) -> HttpResponse:
    """One question: its card alone for a page that has a place for it (``?in=``), or else a page of its own."""
    place = request.GET.get("in", "")
    context = {"card": _card(request, approval, place=place if place in PLACES else "", **more)}
    name = "card" if request.htmx else "approval"
    return render(request, f"pages/approvals/{name}.html", context, status=status)


@require_GET
@page
def approval(request: PageRequest, approval_id: UUID) -> HttpResponse:
    return _show(request, get_object_or_404(_questions(request), pk=approval_id))


@require_http_methods(["GET", "POST"])
@page
def always(request: PageRequest, approval_id: UUID) -> HttpResponse:
    """ "Always allow this": what it would store and would have matched lately; sent, the answer is given as well."""
    found = get_object_or_404(_questions(request), pk=approval_id)
    form = AlwaysAllowForm(request.POST or None, auto_id=f"always-{approval_id}-%s")
    try:
        if request.method == "POST" and form.is_valid():
            always_allow(found, by=request.actor, choices=form.choices(), **form.cleaned_data)
            return _show(request, _questions(request).get(pk=approval_id))
        standing = Standing.of(*propose_grants(found, by=request.actor))
    except HubError as error:
        if error.http in (403, 404):
            raise
        return _show(request, _questions(request).get(pk=approval_id), problem=error.text)
    return _show(request, found, standing=standing, form=form)


@require_POST
@page
def decide(request: PageRequest, approval_id: UUID) -> HttpResponse:
    """Answers with the card as it is now: who decided, or why this answer came too late."""
    approval = get_object_or_404(_questions(request), pk=approval_id)
    option, problem = request.POST.get("option_id") or None, ""
    try:
        decide_approval(approval, by=request.actor, option_id=option, outcome=None if option else "cancelled")
    except HubError as error:
        if error.http in (403, 404):
            raise
        problem = error.text
    if request.htmx:
        return _show(request, approval, problem=problem)
    if problem:
        messages.error(request, problem)
    return redirect("approvals")


@require_POST
@page
def decide_many(request: PageRequest) -> HttpResponse:
    """One kind of answer for all that are ticked; the list as it is then, with what was refused."""
    ids = [found for found in map(uuid_of, request.POST.getlist("approvals")) if found]
    given = request.POST.get("answer", "")
    problems, done = [], 0
    try:
        answers: dict[str, BulkAnswer] = {"allow_once": "allow_once", "reject": "reject"}
        if given not in answers:
            raise Invalid("Choose to allow them once, or to reject them.")
        results = decide_approvals(ids, answers[given], by=request.actor)
    except HubError as error:
        problems = [error.text]
    else:
        done = sum(isinstance(result, Approval) for result in results)
        titles = dict(Approval.objects.visible_to(request.actor).filter(pk__in=ids).values_list("pk", "title"))
        for pk, result in zip(ids, results, strict=True):
            if isinstance(result, HubError):
                problems.append(f"{titles.get(pk, pk)}: {result.text}"[:300])
    if request.htmx:
        return render(request, "pages/approvals/cards.html", _open(request, problems, done))
    for problem in problems:
        messages.error(request, problem)
    return redirect("approvals")


@require_GET
@page
def badge(request: PageRequest) -> HttpResponse:
    """The number beside *Approvals*, for a page whose socket is down."""
    return render(request, "pages/badge.html", {"approvals_waiting": open_approvals(request.actor).count()})
