"""The registry's pages of people, projects and tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from allauth.account.decorators import secure_admin_login
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models import Count, QuerySet
from django.forms import BaseModelFormSet, ModelForm
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path
from django_q.models import Failure, OrmQ, Schedule, Success
from unfold.admin import TabularInline
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from . import (
    members_admin,
    secrets_admin,  # noqa: F401 - registers its page
    services,
)
from .hub_admin import HubAdmin, ReadOnlyAdmin
from .mfa.removal import remove_factors
from .models import Membership, Project, Token, User
from .tokens import revoke_token

# Roles are our groups; tasks are not the operators' to edit; people manage their own factors and sessions.
for _model in (Group, Failure, OrmQ, Schedule, Success, EmailAddress, Authenticator, UserSession):
    admin.site.unregister(_model)

# One way in for everybody, with its second factor and its bound on guessing.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]


if TYPE_CHECKING:
    _DjangoUserAdmin = DjangoUserAdmin[User]
else:
    _DjangoUserAdmin = DjangoUserAdmin


@admin.register(User)
class UserAdmin(_DjangoUserAdmin, HubAdmin):  # type: ignore[misc]
    """People are made inactive, not deleted: the trail names them."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ("username", "email", "is_root", "is_active", "last_login")
    list_filter = ("is_superuser", "is_active")
    search_fields = ("username", "email")
    ordering = ("username",)
    filter_horizontal = ()
    readonly_fields = ("last_login", "date_joined")
    fieldsets = (
        (None, {"fields": ("username", "password", "email")}),
        ("Rights", {"fields": ("is_active", "is_superuser")}),
        ("Times", {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = (
        (None, {"classes": ("wide",), "fields": ("username", "email", "is_superuser", "password1", "password2")}),
    )

    labels = {"is_superuser": "Root operator"}
    help_texts = {
        "is_superuser": "May do everything in every project, and what is done here.",
        "is_active": "Who is not active cannot sign in; sessions and tokens end.",
    }
    actions = ("remove_factors",)
    asks_first = {"remove_factors": "They sign in with their password alone until they set up a second factor again."}

    @admin.display(description="root operator", ordering="is_superuser", boolean=True)
    def is_root(self, user: User) -> bool:
        return user.is_superuser

    @admin.action(description="Remove second factors, end sessions", permissions=["change"])
    def remove_factors(self, request: HttpRequest, users: QuerySet[User]) -> None:
        removed = sum(remove_factors(user, by=self.actor(request)) for user in users)
        self.message_user(request, f"{removed} factors are removed. Their owners sign in with their password alone.")

    def save_model(self, request: HttpRequest, obj: User, form: ModelForm[User], change: bool) -> None:
        by, given = self.actor(request), form.cleaned_data
        if change:
            services.edit_user(obj, by=by, **{name: given[name] for name in form.changed_data if name != "password"})
            return
        made = services.create_user(
            given["username"],
            by=by,
            password=given["password1"],
            email=given.get("email", ""),
            is_superuser=given.get("is_superuser", False),
        )
        obj.pk = made.pk
        obj.refresh_from_db()

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:
        with transaction.atomic():
            response: HttpResponse = super().user_change_password(request, id, form_url)
            if request.method == "POST" and isinstance(response, HttpResponseRedirect):
                services.password_was_set(User.objects.get(pk=id), by=self.actor(request))
        return response


class MembershipInline(TabularInline):  # type: ignore[misc]
    model = Membership
    fields = ("user", "role")
    autocomplete_fields = ("user",)
    extra = 0
    hide_title = True

    def get_queryset(self, request: HttpRequest) -> QuerySet[Membership]:
        members: QuerySet[Membership] = super().get_queryset(request).select_related("user", "project")
        return members

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return True

    has_view_permission = has_change_permission = has_delete_permission = has_add_permission


@admin.register(Project)
class ProjectAdmin(HubAdmin):
    list_display = ("slug", "name", "members_count", "created_at")
    search_fields = ("slug", "name")
    ordering = ("slug",)
    readonly_fields = ("created_at",)
    inlines = (MembershipInline,)

    def get_urls(self) -> list[Any]:
        table = self.admin_site.admin_view(members_admin.show_permissions)
        return [path("permissions/", table, name="permissions"), *super().get_urls()]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Project]:
        projects: QuerySet[Project] = super().get_queryset(request)
        return projects.annotate(members_number=Count("memberships"))

    def get_readonly_fields(self, request: HttpRequest, obj: Project | None = None) -> tuple[str, ...]:
        return ("slug", "created_at") if obj else ("created_at",)

    @admin.display(description="members", ordering="members_number")
    def members_count(self, project: Any) -> int:
        number: int = project.members_number
        return number

    def save_model(self, request: HttpRequest, obj: Project, form: ModelForm[Project], change: bool) -> None:
        by, given = self.actor(request), form.cleaned_data
        if change:
            stored = Project.objects.get(pk=obj.pk)
            services.edit_project(stored, by=by, **{name: given[name] for name in form.changed_data})
            return
        made = services.create_project(given["slug"], given["name"], by, given.get("description", ""))
        services.edit_project(made, by=by, **{name: given[name] for name in services.DEMANDS_OF_RUNS})
        obj.pk = made.pk
        obj.refresh_from_db()

    def save_formset(
        self, request: HttpRequest, form: Any, formset: BaseModelFormSet[Membership, Any], change: bool
    ) -> None:
        by, project = self.actor(request), form.instance
        members = formset.save(commit=False)
        for gone in formset.deleted_objects:
            services.remove_member(project, gone.user, by)
        for member in members:
            before = Membership.objects.filter(pk=member.pk).select_related("user").first()
            services.add_member(project, member.user, member.role, by)
            if before is not None and before.user_id != member.user_id:
                services.remove_member(project, before.user, by)


@admin.register(Token)
class TokenAdmin(ReadOnlyAdmin):
    """Without their secrets, which nobody has but their owners."""

    list_display = ("name", "speaks_for", "scope", "hint", "created_at", "expires_at", "last_used_at", "revoked_at")
    list_filter = (("revoked_at", admin.EmptyFieldListFilter),)
    list_select_related = ("user",)
    search_fields = ("name", "hint", "user__username", "agent_label")
    fields = (
        "name", "speaks_for", "project", "scope", "hint", "created_at", "expires_at", "last_used_at", "revoked_at",
    )  # fmt: skip
    actions = ("revoke",)
    asks_first = {"revoke": "Whatever uses them is refused from now on. A token that was revoked stays so."}

    @admin.display(description="speaks for")
    def speaks_for(self, token: Token) -> str:
        return token.owner

    @admin.action(description="Revoke", permissions=["view"])
    def revoke(self, request: HttpRequest, tokens: QuerySet[Token]) -> None:
        for token in tokens.select_related("user"):
            revoke_token(token, self.actor(request))
        self.message_user(request, "The tokens are refused from now on.")
