"""The registry's pages of agents' tasks: to look at, with the operator's three verbs."""

from typing import ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from unfold.decorators import display

from agenthub_site.accounts.hub_admin import ReadOnlyAdmin

from .models import Lock, Round, Task
from .services.rounds import approve_round, reject_round
from .services.tasks import close_task

_COLOURS = {
    "awaiting operator approval": "warning", "dispatched": "info", "in progress": "info", "awaiting review": "info",
    "completed": "success", "changes requested": "warning", "rejected": "danger",
}  # fmt: skip


@admin.register(Task)
class TaskAdmin(ReadOnlyAdmin):
    list_display = ("key", "title", "project", "shown_state", "dispatcher", "created_at", "ended_at")
    list_filter = ("state",)
    list_select_related = ("project", "dispatcher")
    search_fields = ("=id", "key", "title", "project__slug", "dispatcher__name")
    ordering = ("-id",)
    fields = (
        "project", "key", "title", "description", "shown_state", "dispatcher", "created_by", "created_at", "ended_at",
    )  # fmt: skip
    actions: ClassVar = ["close"]
    asks_first: ClassVar = {"close": "Their rounds and assignments end with them. A closed task is not opened again."}

    @display(description="state", ordering="state", label=_COLOURS)  # type: ignore[untyped-decorator]
    def shown_state(self, task: Task) -> str:
        return task.state.replace("_", " ")

    def view_on_site(self, task: Task) -> str:
        return reverse("task", args=[task.pk])

    @admin.action(description="Close", permissions=["view"])
    def close(self, request: HttpRequest, tasks: QuerySet[Task]) -> None:
        for task in tasks:
            close_task(task, by=self.actor(request))
        self.message_user(request, "Closed; what was left of them is cancelled.")


@admin.register(Round)
class RoundAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "project", "shown_state", "decided_by", "created_at")
    list_filter = ("state",)
    list_select_related = ("project", "task")
    search_fields = ("=id", "task__key", "project__slug")
    ordering = ("-id",)
    fields = ("project", "task", "number", "shown_state", "decided_by", "decided_at", "operator_note", "created_at")
    actions: ClassVar = ["approve", "reject"]

    @display(description="state", ordering="state", label=_COLOURS)  # type: ignore[untyped-decorator]
    def shown_state(self, round_: Round) -> str:
        return round_.state.replace("_", " ")

    def view_on_site(self, round_: Round) -> str:
        return reverse("task", args=[round_.task_id])

    @admin.action(description="Approve", permissions=["view"])
    def approve(self, request: HttpRequest, rounds: QuerySet[Round]) -> None:
        for round_ in rounds:
            approve_round(round_, by=self.actor(request))
        self.message_user(request, "Approved: they are carried out now.")

    @admin.action(description="Reject", permissions=["view"])
    def reject(self, request: HttpRequest, rounds: QuerySet[Round]) -> None:
        for round_ in rounds:
            reject_round(round_, by=self.actor(request))
        self.message_user(request, "Rejected: they are planned anew.")


@admin.register(Lock)
class LockAdmin(ReadOnlyAdmin):
    list_display = ("key", "project", "holder", "fencing_number", "resource_type", "resource_id", "expires_at")
    list_select_related = ("project", "holder")
    search_fields = ("key", "holder__name", "project__slug")
    ordering = ("key",)
