"""Teams and who is in them. The team ``all`` of each project has no row: it is whoever is there."""

from __future__ import annotations

import re
from typing import ClassVar, Final

from django.db import models
from django.db.models import Q

from agenthub_site.accounts.models import Membership, Project
from mailboxes.addresses import Address
from nodes.contract.ids import new_id

from ..models import Agent, VisibleQuerySet

ALL: Final = "all"
"""The team of everybody, which every project has."""
TAKEN: Final = "Every project has the team 'all': it is everybody. Take another slug."
SLUG: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


class Team(models.Model):
    """Written to as ``team:SLUG``. The slug stays: triggers and scripts name it."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="teams")
    slug = models.CharField(max_length=64)
    name = models.CharField(max_length=128)
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar = VisibleQuerySet["Team"].as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "slug"], name="a_team_has_a_slug_of_its_own"),
            models.CheckConstraint(
                condition=~Q(slug=ALL), name="the_team_of_everybody_has_no_row", violation_error_message=TAKEN
            ),
        ]
        ordering = ("project", "slug")

    def __str__(self) -> str:
        return self.slug


class TeamMember(models.Model):
    """An agent, or a person by their membership of the project: who leaves the project leaves its teams."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="members", db_index=False)
    agent = models.ForeignKey(Agent, null=True, on_delete=models.CASCADE, related_name="+")
    membership = models.ForeignKey(Membership, null=True, on_delete=models.CASCADE, related_name="+")

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(agent__isnull=False, membership=None) | Q(agent=None, membership__isnull=False),
                name="a_member_of_a_team_is_an_agent_or_a_person",
            ),
            models.UniqueConstraint(fields=["team", "agent"], name="an_agent_is_in_a_team_once"),
            models.UniqueConstraint(fields=["team", "membership"], name="a_person_is_in_a_team_once"),
        ]
        ordering = ("team", "id")

    def __str__(self) -> str:
        return self.name

    @property
    def address(self) -> Address:
        if self.membership is not None:
            return Address("user", str(self.membership.user_id))
        return Address("agent", str(self.agent_id))

    @property
    def name(self) -> str:
        if self.membership is not None:
            return self.membership.user.username
        return self.agent.name if self.agent is not None else ""
