"""A project's page of the audit trail: to read and to search."""

import json
from typing import Any, Final

from django import forms
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_GET

from agenthub_site.accounts.models import Project
from agenthub_site.accounts.permissions import Can, require
from agenthub_site.audit_trail import EventFilter, visible_events
from audit.models import AuditCheckpoint, AuditEvent
from audit.services import stream_of
from nodes.contract.ids import uuid_of

from .doors import PageRequest, page
from .forms import StyledForm

PAGE_SIZE: Final = 50
_HIDDEN: Final = ("run", "approval", "node", "artifact")
"""Filters that links set, and no field shows."""


class TrailForm(StyledForm):
    """Which events the list shows. A word that fits nothing shows nothing; a date that is none is ignored."""

    q = forms.CharField(required=False, max_length=100, widget=forms.TextInput(attrs={"placeholder": "Search"}))
    name = forms.CharField(required=False, max_length=64, widget=forms.TextInput(attrs={"placeholder": "As run."}))
    actor = forms.CharField(required=False, max_length=150, widget=forms.TextInput(attrs={"placeholder": "Who"}))
    since = forms.DateField(required=False, widget=forms.DateInput(attrs={"type": "date"}))
    until = forms.DateField(required=False, widget=forms.DateInput(attrs={"type": "date"}))


@require_GET
@page
def trail(request: PageRequest, slug: str) -> HttpResponse:
    project = get_object_or_404(Project.objects.visible_to(request.actor), slug=slug)
    require(request.actor, Can.VIEW_AUDIT, project.pk)
    form = TrailForm(request.GET)
    form.is_valid()
    given = {name: str(value) for name, value in form.cleaned_data.items() if value}
    given |= {name: value for name in _HIDDEN if (value := request.GET.get(name, ""))}
    events = visible_events(request.actor).filter(stream=stream_of(project.pk))
    found = EventFilter(given, queryset=events, request=request).qs
    before = uuid_of(request.GET.get("before", ""))
    rows = list((found.filter(pk__lt=before) if before else found)[: PAGE_SIZE + 1])
    sealed = AuditCheckpoint.objects.filter(stream=stream_of(project.pk)).order_by("-last").first()
    context = {
        "project": project,
        "form": form,
        "hidden": {name: given[name] for name in _HIDDEN if name in given},
        "is_narrowing": bool(given),
        "events": [_row(event) for event in rows[:PAGE_SIZE]],
        "older": rows[PAGE_SIZE - 1].pk if len(rows) > PAGE_SIZE else None,
        "is_first_page": before is None,
        "sealed": sealed,
    }
    return render(request, "pages/trail/rows.html" if request.htmx else "pages/trail/list.html", context)


def _row(event: AuditEvent) -> dict[str, Any]:
    return {
        "event": event,
        "by": event.actor_label or event.actor_kind,
        "facts": [
            (name.replace("_", " "), _told(value)) for name, value in event.data.items() if value not in ("", None, [])
        ],
    }


def _told(value: Any) -> str:
    """A value as people write it: ``yes``, ``a, b``; what has a structure as JSON."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and not any(isinstance(each, dict | list) for each in value):
        return ", ".join(map(_told, value))
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
