"""The registry's pages of the policy's rules, standing answers and reviewers."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.forms import ModelForm, MultipleChoiceField
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from agenthub_site.accounts.hub_admin import HubAdmin, ReadOnlyAdmin

from .rules import PolicyGrant, PolicyReview, PolicyRule
from .services.policies import (
    REVIEWING_ROLES,
    add_rule,
    edit_rule,
    move_rule,
    remove_grant,
    remove_rule,
    set_review,
)

_PLACE = ("project", "agent")
_GIVEN = ("author_label", "created_at", "expires_at", "last_used_at")
_WRITTEN = ("author_label", "created_at", "updated_at")
_LABELS = {"author_label": "Author"}


@admin.register(PolicyRule)
class PolicyRuleAdmin(HubAdmin):
    labels = _LABELS
    help_texts = {
        "project": "Empty: it stands on the instance, over all projects.",
        "agent": "Empty: it is for all agents of the project.",
        "is_strict": "Of what is asked: no standing answer counts.",
        "kind": "Empty: any kind.",
        "tool": "The name of a tool of an MCP server; * stands for anything.",
        "path": "As in ./docs/** or ./Makefile, from the workspace.",
        "command": "As in git push*, with its arguments.",
        "host": "As in *.example.org.",
        "position": "From 0: on its level the first rule that matches counts.",
    }
    list_display = ("__str__", "level", "project", "agent", "position", "is_strict", "is_enabled", "note")
    list_filter = ("verdict", "kind", "is_enabled", ("project", admin.RelatedOnlyFieldListFilter))
    list_select_related = _PLACE
    search_fields = ("=id", "command", "path", "tool", "host", "note", "project__slug", "agent__name")
    autocomplete_fields = _PLACE
    ordering = ("project", "agent", "position")
    actions = ("move_up", "move_down")
    fieldsets = (
        ("Where it stands: on the instance, in a project, or with an agent of it", {"fields": _PLACE}),
        (None, {"fields": ("verdict", "is_strict", "is_enabled", "note")}),
        ("About: all that is given must match", {"fields": ("kind", "tool", "path", "command", "host")}),
        ("Written", {"fields": ("position", *_WRITTEN)}),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: PolicyRule | None = None) -> tuple[str, ...]:
        return (*(_PLACE if obj else ()), "position", *_WRITTEN)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self.has_view_permission(request)

    def save_model(self, request: HttpRequest, obj: PolicyRule, form: ModelForm[PolicyRule], change: bool) -> None:
        by, given = self.actor(request), {**form.cleaned_data}
        if change:
            edit_rule(obj, by=by, **{name: given[name] for name in form.changed_data})
            return
        made = add_rule(given.pop("project"), given.pop("agent"), by=by, **given)
        obj.pk = made.pk
        obj.refresh_from_db()

    def delete_model(self, request: HttpRequest, obj: PolicyRule) -> None:
        remove_rule(obj, by=self.actor(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[PolicyRule]) -> None:
        for rule in queryset:
            remove_rule(rule, by=self.actor(request))

    @admin.action(description="Move up", permissions=["change"])
    def move_up(self, request: HttpRequest, rules: QuerySet[PolicyRule]) -> None:
        for rule in rules.order_by("position"):
            move_rule(rule, by=self.actor(request), position=max(0, rule.position - 1))

    @admin.action(description="Move down", permissions=["change"])
    def move_down(self, request: HttpRequest, rules: QuerySet[PolicyRule]) -> None:
        for rule in rules.order_by("-position"):
            move_rule(rule, by=self.actor(request), position=rule.position + 1)


@admin.register(PolicyGrant)
class PolicyGrantAdmin(ReadOnlyAdmin):
    labels: ClassVar = _LABELS
    list_display = ("about", "project", "agent", "author", "expires_at", "last_used_at")
    list_filter = ("kind", ("project", admin.RelatedOnlyFieldListFilter))
    list_select_related = _PLACE
    search_fields = ("=id", "command", "path", "host", "author_label", "project__slug", "agent__name")
    ordering = ("-id",)
    fields = (*_PLACE, "kind", "tool", "path", "command", "host", "note", *_GIVEN)
    actions: ClassVar[Any] = ("withdraw",)
    asks_first: ClassVar = {"withdraw": "What they settled is asked again from now on."}

    @admin.display(description="author", ordering="author_label")
    def author(self, grant: PolicyGrant) -> str:
        return grant.author_label

    @admin.action(description="Withdraw", permissions=["view"])
    def withdraw(self, request: HttpRequest, grants: QuerySet[PolicyGrant]) -> None:
        for grant in grants:
            remove_grant(grant, by=self.actor(request))
        self.message_user(request, "They are asked again.")


class ReviewForm(ModelForm):  # type: ignore[type-arg]
    roles = MultipleChoiceField(
        choices=[(role, role) for role in sorted(REVIEWING_ROLES)], required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget, help_text="None: every role that may answer.",
    )  # fmt: skip


@admin.register(PolicyReview)
class PolicyReviewAdmin(HubAdmin):
    """One for each level."""

    form = ReviewForm
    labels = {"people_after_seconds": "People after (seconds)", "expires_seconds": "Answered within (seconds)"}
    help_texts = {
        "project": "Empty: it holds on the instance, for all projects.",
        "agent": "Empty: it holds for all agents of the project.",
        "reviewer": "An agent of the project that answers first, unless a level above names roles.",
        "people_after_seconds": "How long a reviewing agent is asked alone.",
        "expires_seconds": "Then the answer is no. Empty: as long as the agent's own setting says.",
    }
    list_display = ("level", "project", "agent", "asked", "reviewer", "people_after", "answered_within")
    list_filter = (("project", admin.RelatedOnlyFieldListFilter),)
    list_select_related = (*_PLACE, "reviewer")
    search_fields = ("project__slug", "agent__name", "reviewer__name")
    autocomplete_fields = (*_PLACE, "reviewer")
    ordering = ("project", "agent")
    fields = (*_PLACE, "roles", "reviewer", "people_after_seconds", "expires_seconds")

    @admin.display(description="roles")
    def asked(self, review: PolicyReview) -> str:
        return ", ".join(review.roles) or "every role"

    @admin.display(description="people after", ordering="people_after_seconds")
    def people_after(self, review: PolicyReview) -> str | None:
        return f"{review.people_after_seconds} s" if review.people_after_seconds else None

    @admin.display(description="answered within", ordering="expires_seconds")
    def answered_within(self, review: PolicyReview) -> str | None:
        return f"{review.expires_seconds} s" if review.expires_seconds else None

    def get_readonly_fields(self, request: HttpRequest, obj: PolicyReview | None = None) -> tuple[str, ...]:
        return _PLACE if obj else ()

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self.has_view_permission(request)

    def save_model(self, request: HttpRequest, obj: PolicyReview, form: ModelForm[PolicyReview], change: bool) -> None:
        given = {name: form.cleaned_data[name] for name in self.fields if name not in _PLACE}
        kept = set_review(obj.project, obj.agent, by=self.actor(request), **given)
        if kept:
            obj.pk = kept.pk

    def delete_model(self, request: HttpRequest, obj: PolicyReview) -> None:
        set_review(obj.project, obj.agent, by=self.actor(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[PolicyReview]) -> None:
        for review in queryset:
            set_review(review.project, review.agent, by=self.actor(request))
