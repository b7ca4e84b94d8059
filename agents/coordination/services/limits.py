"""A project's limits on coordinated work."""

from typing import Any, Final

from django.db import transaction

from agenthub_site.accounts.actors import Actor
from agenthub_site.accounts.errors import field_errors
from agenthub_site.accounts.models import Project
from agenthub_site.accounts.permissions import Can, require
from audit.services import record
from nodes.contract.errors import Invalid

from ..models import Limits

LIMITS: Final = (
    "max_rounds", "max_assignments_per_round", "max_messages_per_task", "max_hop_count",
    "max_simultaneous_assignments", "lease_minutes", "auto_approve", "auto_create_next_round",
)  # fmt: skip


@transaction.atomic
def edit_limits(project: Project, *, by: Actor, **changes: Any) -> Limits:
    """Change some of the eight; they hold from the next step on. ``Invalid`` names those that do not fit."""
    require(by, Can.EDIT_LIMITS, project.pk)
    if unknown := sorted(changes.keys() - set(LIMITS)):
        raise Invalid(
            f"There is no limit {unknown[0]}.", fields={name: ["There is no such limit."] for name in unknown}
        )
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    limits = Limits.objects.filter(project=project).first() or Limits(project=project)
    changed = {name: value for name, value in changes.items() if getattr(limits, name) != value}
    for name, value in changed.items():
        setattr(limits, name, value)
    with field_errors():
        limits.clean_fields(exclude=["project"])
    if changed:
        limits.save()
        record(project.pk, "limits.edited", by=by, of=("project", project.pk), changed=changed)
    return limits
