"""What lists of agents, runs and approvals can be narrowed to."""

from typing import Any

import django_filters as filters
from django.db.models import Q, QuerySet
from django.utils import timezone

from agenthub_site.accounts.authentication import request_actor
from nodes.contract.ids import uuid_of

from .models import Agent, Approval, Run, VisibleQuerySet
from .queries import in_states
from .states import ENDED, LIVE, State


def by_id_or(field: str, pk: str) -> Any:
    """A filter's method: an id compares with ``pk``, anything else with ``field``."""

    def narrow(_self: object, rows: QuerySet[Any], _name: str, value: str) -> QuerySet[Any]:
        found = uuid_of(value)
        return rows.filter(**{pk: found} if found else {field: value})

    return narrow


def by_state(*states: str, **options: Any) -> Any:
    """A filter that takes several of these, and names them all to who asks for another."""
    refusal = f"There is no state '%(value)s'; there are {', '.join(states)}."
    return filters.MultipleChoiceFilter(
        choices=[(state, state) for state in states], error_messages={"invalid_choice": refusal}, **options
    )


class AgentFilter(filters.FilterSet):  # type: ignore[misc]
    project = filters.CharFilter(method="by_project", label="A project's slug or id.")
    node = filters.CharFilter(method="by_node", label="A node's slug or id.")
    archived = filters.BooleanFilter(method="by_archived", label="Also those that were put away.")

    by_project = by_id_or("project__slug", "project_id")
    by_node = by_id_or("node__slug", "node_id")

    class Meta:
        model = Agent
        fields = ("project", "node", "archived")

    @property
    def qs(self) -> QuerySet[Agent]:
        rows: QuerySet[Agent] = super().qs
        wants_all = self.form.cleaned_data.get("archived") if self.is_bound and self.form.is_valid() else False
        return rows if wants_all else rows.filter(archived_at=None)

    def by_archived(self, rows: QuerySet[Agent], _name: str, _value: bool) -> QuerySet[Agent]:
        return rows


class RunFilter(filters.FilterSet):  # type: ignore[misc]
    state = by_state(*State, method="by_state")
    live = filters.BooleanFilter(method="by_live", label="Not ended yet, or ended.")
    agent = filters.CharFilter(method="by_agent", label="An agent's name or id.")
    project = filters.CharFilter(method="by_project", label="A project's slug or id.")
    node = filters.CharFilter(method="by_node", label="A node's slug or id.")

    by_agent = by_id_or("agent__name", "agent_id")
    by_project = by_id_or("project__slug", "project_id")
    by_node = by_id_or("node__slug", "node_id")

    class Meta:
        model = Run
        fields = ("state", "live", "agent", "project", "node")

    def by_state(self, rows: VisibleQuerySet[Run], _name: str, states: list[str]) -> QuerySet[Run]:
        return in_states(rows, states)

    def by_live(self, rows: VisibleQuerySet[Run], _name: str, value: bool) -> QuerySet[Run]:
        return in_states(rows, LIVE if value else ENDED)


ASKED_STATES = ("open", *Approval.State.values)


class ApprovalFilter(filters.FilterSet):  # type: ignore[misc]
    state = by_state(*ASKED_STATES, method="by_state", label="`open`: an answer still counts.")
    mine = filters.BooleanFilter(method="by_mine", label="Those that you may answer, or may not.")
    run = filters.UUIDFilter(field_name="run_id")
    kind = filters.CharFilter(field_name="kind", label="read, write, shell, network, publish or other.")
    agent = filters.CharFilter(method="by_agent", label="An agent's name or id.")
    project = filters.CharFilter(method="by_project", label="A project's slug or id.")

    by_agent = by_id_or("run__agent__name", "run__agent_id")
    by_project = by_id_or("project__slug", "project_id")

    class Meta:
        model = Approval
        fields = ("state", "mine", "run", "kind", "agent", "project")

    def by_state(self, rows: QuerySet[Approval], _name: str, states: list[str]) -> QuerySet[Approval]:
        if not states:
            return rows
        wanted = Q(state__in=[state for state in states if state != "open"])
        if "open" in states:
            wanted |= Q(state=Approval.State.PENDING, expires_at__gt=timezone.now())
        return rows.filter(wanted)

    def by_mine(self, rows: QuerySet[Approval], _name: str, value: bool) -> QuerySet[Approval]:
        mine = Approval.objects.offered_to(request_actor(self.request), timezone.now())
        return rows.filter(pk__in=mine.values("pk")) if value else rows.exclude(pk__in=mine.values("pk"))
