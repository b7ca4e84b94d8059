"""The base of every page of the registry: for root operators, through the services, nothing deleted."""

from typing import Any, ClassVar

from django.contrib import messages
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from unfold.admin import ModelAdmin

from nodes.contract.errors import HubError

from .actors import Actor
from .authentication import request_actor


class HubAdmin(ModelAdmin):  # type: ignore[misc]
    """Seen by root operators alone. What a service refuses is said above the form, and nothing is saved."""

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
        try:
            response: HttpResponse = super().changeform_view(request, object_id, form_url, extra_context)
        except HubError as refusal:
            self.message_user(request, refusal.text, messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())
        return response


class ReadOnlyAdmin(HubAdmin):
    """To look at: what is here is made and changed elsewhere."""

    actions: ClassVar[Any] = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False
