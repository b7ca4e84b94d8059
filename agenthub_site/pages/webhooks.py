"""A project's webhooks: where they lead, how they fare, and what was posted of late."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django import forms
from django.contrib import messages
from django.db.models import Count
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from agenthub_site.accounts.models import Project
from agenthub_site.accounts.permissions import Can, may, require
from agents.mail.desk import prepare
from agents.mail.requeuing import requeue_mail
from agents.mail.shapes import SendIn
from agents.webhooks.models import URL_CHARS, Webhook
from agents.webhooks.services import add_webhook, change_webhook, remove_webhook, rotate_webhook_secret
from mailboxes.models import Delivery
from mailboxes.reading import deliveries_to
from mailboxes.services import post
from mailboxes.states import State
from nodes.contract.errors import HubError

from .doors import PageRequest, page, show_in_form, tell
from .forms import StyledForm

DELIVERIES: Final = 20
"""The latest, shown on a webhook's page."""
_TEST: Final = {"text": "This is a test, sent from the webhook's page."}


class AddressForm(StyledForm):
    url = forms.CharField(
        max_length=URL_CHARS, label="Address",
        widget=forms.URLInput(attrs={"placeholder": "https://host/path", "autocomplete": "off"}),
    )  # fmt: skip


class WebhookForm(AddressForm):
    name = forms.CharField(
        max_length=64, help_text="It is written to as webhook:NAME.",
        widget=forms.TextInput(attrs={"placeholder": "builds", "autocomplete": "off", "autocapitalize": "none"}),
    )  # fmt: skip
    field_order = ("name", "url")


@dataclass(frozen=True, slots=True)
class Hook:
    """A webhook as it stands."""

    webhook: Webhook
    now: datetime
    waiting: int = 0
    dead: int = 0

    @property
    def state(self) -> str:
        """``off``, ``resting`` (it failed, and is left alone for a while) or ``on``."""
        if not self.webhook.is_enabled:
            return "off"
        return "resting" if self.webhook.not_before and self.webhook.not_before > self.now else "on"

    @property
    def colour(self) -> str:
        return {"off": "secondary", "resting": "yellow", "on": "green"}[self.state]


def _project(request: PageRequest, slug: str) -> Project:
    """One whose webhooks the actor may manage."""
    found: Project = get_object_or_404(Project.objects.visible_to(request.actor), slug=slug)
    require(request.actor, Can.MANAGE_WEBHOOKS, found.pk)
    return found


def _webhook(request: PageRequest, slug: str, webhook_id: UUID) -> Webhook:
    among = Webhook.objects.filter(project=_project(request, slug)).select_related("project")
    found: Webhook = get_object_or_404(among, pk=webhook_id)
    return found


def _hooks(project: Project, webhooks: list[Webhook]) -> list[Hook]:
    """Each with how much waits for it, and how much was given up. Two queries."""
    theirs = Delivery.objects.filter(inbox__kind="webhook", inbox__owner__in=[str(each.pk) for each in webhooks])
    waiting = _count(theirs.filter(settled_at=None))
    dead = _count(theirs.filter(project_id=project.pk, state=State.DEAD))
    now = timezone.now()
    return [Hook(each, now, waiting[str(each.pk)], dead[str(each.pk)]) for each in webhooks]


def _count(deliveries: Any) -> Counter[str]:
    """By webhook."""
    rows = deliveries.order_by().values_list("inbox__owner").annotate(Count("number"))
    return Counter(dict(rows))


@never_cache
@require_http_methods(["GET", "POST"])
@page
def webhooks(request: PageRequest, slug: str) -> HttpResponse:
    """All of a project's. A new one's secret is in the answer to the request that made it, and nowhere else."""
    project = _project(request, slug)
    form = WebhookForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            made, secret = add_webhook(project, by=request.actor, **form.cleaned_data)
        except HubError as error:
            show_in_form(form, error)
        else:
            return _show(request, made, secret=secret)
    found = list(Webhook.objects.filter(project=project).order_by("name"))
    context = {"project": project, "hooks": _hooks(project, found), "form": form}
    return render(request, "pages/webhooks/list.html", context, status=400 if form.errors else 200)


@never_cache
@require_http_methods(["GET", "POST"])
@page
def webhook(request: PageRequest, slug: str, webhook_id: UUID) -> HttpResponse:
    """How it stands, its latest deliveries, and its address, which is changed here."""
    found = _webhook(request, slug, webhook_id)
    if request.method == "GET":
        return _show(request, found)
    form = AddressForm(request.POST)
    if form.is_valid():
        try:
            change_webhook(found, by=request.actor, url=form.cleaned_data["url"])
        except HubError as error:
            show_in_form(form, error)
        else:
            messages.success(request, "Saved. What waits is posted there.")
            return _back(found)
    return _show(request, found, form=form)


def _show(request: PageRequest, found: Webhook, form: AddressForm | None = None, secret: str = "") -> HttpResponse:
    (hook,) = _hooks(found.project, [found])
    latest = deliveries_to(found.address).select_related("message").defer("message__payload").order_by("-number")
    context = {
        "project": found.project,
        "hook": hook,
        "deliveries": latest[:DELIVERIES],
        "may_requeue": may(request.actor, Can.MANAGE_MESSAGES, found.project_id),
        "form": form or AddressForm(initial={"url": found.url}),
        "secret": secret,
    }
    name = "part" if request.htmx else "webhook"
    return render(request, f"pages/webhooks/{name}.html", context, status=400 if form else 200)


def _back(found: Webhook) -> HttpResponse:
    return redirect("webhook", found.project.slug, found.pk)


@require_POST
@page
def switch(request: PageRequest, slug: str, webhook_id: UUID) -> HttpResponse:
    """On or off, as the form says."""
    found = _webhook(request, slug, webhook_id)
    change_webhook(found, by=request.actor, is_enabled=request.POST.get("is_enabled") == "on")
    return _back(found)


@never_cache
@require_POST
@page
def rotate(request: PageRequest, slug: str, webhook_id: UUID) -> HttpResponse:
    found = _webhook(request, slug, webhook_id)
    secret = rotate_webhook_secret(found, by=request.actor)
    found.refresh_from_db(fields=["former_until"])
    return _show(request, found, secret=secret)


@require_POST
@page
def test(request: PageRequest, slug: str, webhook_id: UUID) -> HttpResponse:
    """A message like any other, in the name of who asks."""
    found = _webhook(request, slug, webhook_id)
    to = [f"webhook:{found.pk}"]
    try:
        post(prepare(request.actor, SendIn(project=slug, to=to, kind="test", subject="Test", payload=_TEST)))
    except HubError as error:
        tell(request, error)
    else:
        messages.success(request, "A test message is on its way. What came of it shows below.")
    return _back(found)


@require_POST
@page
def deliver_again(request: PageRequest, slug: str, webhook_id: UUID, message_id: UUID) -> HttpResponse:
    """To this webhook alone."""
    found = _webhook(request, slug, webhook_id)
    require(request.actor, Can.MANAGE_MESSAGES, found.project_id)
    if not deliveries_to(found.address).filter(message=message_id).exists():
        raise Http404
    try:
        requeue_mail(message_id, by=request.actor, to=[found.address])
    except HubError as error:
        tell(request, error)
    else:
        messages.success(request, "It is posted again.")
    return _back(found)


@require_POST
@page
def remove(request: PageRequest, slug: str, webhook_id: UUID) -> HttpResponse:
    found = _webhook(request, slug, webhook_id)
    remove_webhook(found, by=request.actor)
    messages.success(request, f"webhook:{found.name} is gone. What waited for it is dead.")
    return redirect("webhooks", slug)
