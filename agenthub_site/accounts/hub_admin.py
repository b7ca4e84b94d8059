"""The base of every page of the registry: for root operators, through the services, nothing deleted."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Final
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import unquote
from django.db.models import JSONField, Model, QuerySet
from django.forms import ModelForm
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from unfold.admin import ModelAdmin
from unfold.widgets import UnfoldAdminTextareaWidget

from nodes.contract.errors import HubError

from .actors import Actor
from .authentication import request_actor


class HubAdmin(ModelAdmin):  # type: ignore[misc]
    """Seen by root operators alone.

    What a service refuses is said in the form, beside the field it is about; what was typed stays, and nothing is
    saved. Of an action it is said above the list: what it did before stays.
    """

    field_names: ClassVar[dict[str, str]] = {}
    """A service's name of a field to the form's, where they differ."""
    labels: ClassVar[dict[str, str]] = {}
    help_texts: ClassVar[dict[str, str]] = {}
    asks_first: ClassVar[dict[str, str]] = {}
    """Actions that nothing undoes, and what each comes to: whoever chose one is asked before it is done."""
    trail_key: ClassVar = "pk"
    """By which of its fields the trail names a thing."""
    formfield_overrides: ClassVar[Any] = {JSONField: {"widget": UnfoldAdminTextareaWidget(attrs={"rows": 3})}}
    show_full_result_count = False
    list_per_page = 50
    list_filter_submit = True
    compressed_fields = True

    def actor(self, request: HttpRequest) -> Actor:
        return request_actor(request)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return request.user.is_active and getattr(request.user, "is_superuser", False)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self.has_view_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        extra_context = {"show_history": object_id is not None, **(extra_context or {})}
        try:
            response: HttpResponse = super().changeform_view(request, object_id, form_url, extra_context)
        except HubError as refusal:  # with what was written undone
            if _refusal_of(request):
                raise
            request.META[_REFUSAL] = refusal
            response = super().changeform_view(request, object_id, form_url, extra_context)
        return response

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """What the trail has of it."""
        thing = self.get_object(request, unquote(object_id))
        if thing is None:
            raise Http404
        found = urlencode({"q": getattr(thing, self.trail_key)})
        return HttpResponseRedirect(f"{reverse('admin:audit_auditevent_changelist')}?{found}")

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        actions: dict[str, Any] = super().get_actions(request)
        for name, means in self.asks_first.items():
            if name in actions and "post" not in request.POST:
                title = actions[name][2]
                actions[name] = (partial(_ask_first, action=name, title=title, means=means), name, title)
        return actions

    def response_action(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        try:
            response: HttpResponse | None = super().response_action(request, queryset)
            return response
        except HubError as refusal:  # each of the chosen is a transaction of its own
            self.message_user(request, f"It stopped at one of those chosen: {refusal.text}", messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        try:
            response: HttpResponse = super().delete_view(request, object_id, extra_context)
            return response
        except HubError as refusal:
            self.message_user(request, refusal.text, messages.ERROR)
            return HttpResponseRedirect(reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist"))

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Of what does not exist yet, without what can only be read."""
        known = () if obj else self.get_readonly_fields(request)
        return [each for each in super().get_fieldsets(request, obj) if not {*known}.issuperset(each[1]["fields"])]

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        words = {"labels": self.labels, "help_texts": self.help_texts}
        form = super().get_form(request, obj, change=change, **{**words, **kwargs})
        refusal = _refusal_of(request)
        return _with_refusal(form, refusal, self.field_names) if refusal else form


_MOST_NAMED: Final = 20


def _ask_first(
    page: HubAdmin, request: HttpRequest, chosen: QuerySet[Any], *, action: str, title: str, means: str
) -> HttpResponse:
    """The question before an action: what it comes to, and for which. The answer is the same request, with ``post``."""
    count = chosen.count()
    shown = {
        "title": title, "means": means, "action": action, "opts": page.opts, "count": count,
        "named": chosen[:_MOST_NAMED], "more": max(0, count - _MOST_NAMED),
        "ticked": request.POST.getlist(ACTION_CHECKBOX_NAME), "tick": ACTION_CHECKBOX_NAME,
        "across": request.POST.get("select_across", "0"),
    }  # fmt: skip
    return render(request, "admin/ask_first.html", {**page.admin_site.each_context(request), **shown})


_REFUSAL: Final = "agenthub.refusal"


def _refusal_of(request: HttpRequest) -> HubError | None:
    """Why the request could not be done, when it is answered by its own form."""
    refusal: HubError | None = request.META.get(_REFUSAL)
    return refusal


def _with_refusal(form: type[ModelForm[Any]], refusal: HubError, names: Mapping[str, str]) -> type[ModelForm[Any]]:
    """The same form, which finds itself what the service found."""

    def full_clean(self: ModelForm[Any]) -> None:
        form.full_clean(self)
        problems = {names.get(name, name): why for name, why in (refusal.data.get("fields") or {}).items()}
        here = {name: why for name, why in problems.items() if name in self.fields}
        for name, why in here.items():
            self.add_error(name, why)
        if not here or len(here) < len(problems):
            self.add_error(None, refusal.text)

    return type(form.__name__, (form,), {"full_clean": full_clean})


class ReadOnlyAdmin(HubAdmin):
    """To look at: what is here is made and changed elsewhere."""

    actions: ClassVar[Any] = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False
