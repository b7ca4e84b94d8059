"""Webhooks of projects. What signs their deliveries is among the hub's secrets."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from agenthub_site.accounts.models import Project
from mailboxes.addresses import Address
from nodes.contract.ids import new_id

from ..models import VisibleQuerySet

URL_CHARS = 500


class Webhook(models.Model):
    """A recipient by the name ``webhook:NAME``; its inbox is like any other, and the hub empties it."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="webhooks")
    name = models.CharField(max_length=64)
    url = models.CharField(max_length=URL_CHARS)
    is_enabled = models.BooleanField(default=True)
    former_until = models.DateTimeField(null=True, editable=False)
    """Until then deliveries are signed with the secret before the present one as well."""
    failures = models.PositiveSmallIntegerField(default=0, editable=False)
    """In a row, of whichever deliveries."""
    not_before = models.DateTimeField(null=True, editable=False)
    """It is left alone until then."""
    asked_at = models.DateTimeField(null=True, editable=False)
    """When a worker was asked to deliver, who has not said that it is done."""
    last_at = models.DateTimeField(null=True, editable=False)
    last_result = models.CharField(max_length=200, blank=True, default="", editable=False)
    """What came of the last attempt: ``200``, or why it failed."""
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar = VisibleQuerySet["Webhook"].as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "name"], name="a_webhook_has_a_name_of_its_own")]
        ordering = ("project", "name")

    def __str__(self) -> str:
        return self.name

    @property
    def address(self) -> Address:
        return Address("webhook", str(self.pk))

    @property
    def secret_name(self) -> str:
        """Under which the hub keeps what signs its deliveries."""
        return f"webhook.{self.pk}"

    @property
    def former_secret_name(self) -> str:
        return f"{self.secret_name}.former"
