"""The registry's pages of who comes into projects: invitations, service accounts, and what each role may do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminSelectWidget

from .actors import AGENT_ROLE
from .hub_admin import HubAdmin, ReadOnlyAdmin
from .invitations import revoke_invitation
from .models import Invitation, Project, Role, ServiceAccount
from .permissions import ROLES, TABLE
from .scopes import ALL, SCOPES
from .services import create_service_account, remove_member

if TYPE_CHECKING:
    _ModelForm = ModelForm[ServiceAccount]
else:
    _ModelForm = ModelForm


@admin.register(Invitation)
class InvitationAdmin(ReadOnlyAdmin):
    """Without their secrets, which nobody has but whom they were handed to. Owners invite, on their project's page."""

    list_display = ("project", "role", "email", "invited_by", "created_at", "expires_at", "state")
    list_filter = ("role", ("accepted_at", admin.EmptyFieldListFilter), ("revoked_at", admin.EmptyFieldListFilter))
    list_select_related = ("project", "invited_by")
    search_fields = ("=id", "project__slug", "email", "invited_by__username")
    ordering = ("-id",)
    fields = (
        "project", "role", "email", "invited_by", "created_at", "expires_at", "accepted_by", "accepted_at",
        "revoked_at",
    )  # fmt: skip
    actions: ClassVar[Any] = ("withdraw",)
    asks_first: ClassVar = {"withdraw": "Their links lead nowhere from now on. Who came in by one stays."}
    labels: ClassVar = {"revoked_at": "Withdrawn at"}

    @admin.display(description="state")
    def state(self, invitation: Invitation) -> str:
        if invitation.accepted_at:
            return "accepted"
        if invitation.revoked_at:
            return "withdrawn"
        return "open" if invitation.expires_at > timezone.now() else "expired"

    @admin.action(description="Withdraw", permissions=["view"])
    def withdraw(self, request: HttpRequest, invitations: QuerySet[Invitation]) -> None:
        for invitation in invitations.select_related("project"):
            revoke_invitation(invitation, self.actor(request))
        self.message_user(request, "Their links lead nowhere from now on. Who came in by one stays.")


class ServiceAccountForm(_ModelForm):
    project = forms.ModelChoiceField(Project.objects.order_by("slug"), widget=UnfoldAdminSelectWidget)
    role = forms.ChoiceField(
        choices=[(role.value, role.label) for role in ROLES if role != Role.OWNER], widget=UnfoldAdminSelectWidget,
        help_text="What it may do in its project. It is no owner: that is a person's to be.",
    )  # fmt: skip

    class Meta:
        model = ServiceAccount
        fields = ("username",)


@admin.register(ServiceAccount)
class ServiceAccountAdmin(HubAdmin):
    """Accounts for programs: members of one project, with tokens, and neither password nor session."""

    form = ServiceAccountForm
    list_display = ("username", "project", "is_active", "date_joined")
    list_filter = ("is_active",)
    list_select_related = ("service_of",)
    search_fields = ("username", "service_of__slug")
    ordering = ("username",)
    actions: ClassVar[Any] = ("end",)
    asks_first: ClassVar = {"end": "They are no members any more, and their tokens are refused from now on."}
    labels: ClassVar = {"username": "Name", "service_of": "Project", "date_joined": "Made at"}
    help_texts: ClassVar = {"username": "Unique on this hub, as in web-ci.", "is_active": ""}

    @admin.display(description="project", ordering="service_of__slug")
    def project(self, account: ServiceAccount) -> str:
        return str(account.service_of)

    def get_queryset(self, request: HttpRequest) -> QuerySet[ServiceAccount]:
        accounts: QuerySet[ServiceAccount] = super().get_queryset(request)
        return accounts.exclude(service_of=None)

    def get_fields(self, request: HttpRequest, obj: ServiceAccount | None = None) -> tuple[str, ...]:
        return ("username", "service_of", "is_active", "date_joined") if obj else ("username", "project", "role")

    def get_readonly_fields(self, request: HttpRequest, obj: ServiceAccount | None = None) -> tuple[str, ...]:
        return self.get_fields(request, obj) if obj else ()

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(
        self, request: HttpRequest, obj: ServiceAccount, form: ModelForm[ServiceAccount], change: bool
    ) -> None:
        given = form.cleaned_data
        made = create_service_account(given["project"], given["username"], given["role"], self.actor(request))
        obj.pk = made.pk
        obj.refresh_from_db()

    @admin.action(description="End: make inactive, revoke tokens", permissions=["view"])
    def end(self, request: HttpRequest, accounts: QuerySet[ServiceAccount]) -> None:
        for account in accounts.filter(is_active=True).select_related("service_of"):
            if account.service_of is not None:
                remove_member(account.service_of, account, self.actor(request))
        self.message_user(request, "Their tokens are refused from now on.")


def _code(word: str) -> SafeString:
    return format_html("<code>{}</code>", word)


def _codes(words: Iterable[str]) -> SafeString:
    return format_html_join(", ", "<code>{}</code>", ((word,) for word in sorted(words)))


def show_permissions(request: HttpRequest) -> HttpResponse:
    """The one table of capabilities, and what each scope of a token has."""
    if not getattr(request.user, "is_superuser", False):
        raise PermissionDenied
    columns = [*ROLES, AGENT_ROLE]
    grants = {
        "headers": ["Capability", "What it lets one do", *columns],
        "rows": [
            [_code(can), grant.means if grant.roles else f"{grant.means} (root only)"]
            + ["yes" if role in grant.roles else "" for role in columns]
            for can, grant in TABLE.items()
        ],
    }
    scopes = {
        "headers": ["Scope", "What it has"],
        "rows": [
            [_code(name), "everything that its holder may" if name == ALL else _codes(cans)]
            for name, cans in SCOPES.items()
        ],
    }
    shown = {"title": "Who may do what", "grants": grants, "scopes": scopes}
    return render(request, "admin/permissions.html", {**admin.site.each_context(request), **shown})
