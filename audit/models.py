"""Stream counters, audit events, and what seals them. Actors and projects are (kind, id), without foreign keys upwards.

Rows of events, checkpoints and keys are never changed or removed: ``audit.protection`` has the database refuse it.
"""

from django.db import models
from django.db.models import Q

from nodes.contract.ids import new_id


class Stream(models.Model):
    """A numbered stream: the last number given. Its row's lock makes numbers dense and commits ordered."""

    name = models.CharField(primary_key=True, max_length=100)
    last_number = models.BigIntegerField(default=0)


class AuditEvent(models.Model):
    """One fact of a project's (or the instance's) audit trail. Written only by ``record()``; never changed."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    stream = models.CharField(max_length=100)
    number = models.BigIntegerField()
    name = models.CharField(max_length=64)
    at = models.DateTimeField()
    actor_kind = models.CharField(max_length=16)
    actor_id = models.CharField(max_length=64)
    actor_label = models.CharField(max_length=150, blank=True)
    object_kind = models.CharField(max_length=32, blank=True)
    object_id = models.CharField(max_length=64, blank=True)
    project = models.UUIDField(null=True, blank=True)
    node = models.UUIDField(null=True, blank=True)
    run = models.UUIDField(null=True, blank=True)
    approval = models.UUIDField(null=True, blank=True)
    artifact = models.CharField(max_length=64, blank=True, db_default="")
    """An artifact's digest."""
    address = models.CharField(max_length=64, blank=True)
    user_agent = models.CharField(max_length=200, blank=True)
    data = models.JSONField(default=dict, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["stream", "number"], name="audit_numbers_are_unique")]
        indexes = [
            models.Index(fields=["run"]),
            models.Index(fields=["name", "at"]),
            models.Index(fields=["stream", "id"], name="audit_of_a_project_in_time"),
            # With the stream in them: else who reads one project's would go through all of it for the few that fit.
            models.Index(fields=["object_id", "stream", "id"], name="audit_of_an_object"),
            models.Index(fields=["run", "stream", "id"], condition=Q(run__isnull=False), name="audit_of_a_run"),
            models.Index(
                fields=["approval", "stream", "id"], condition=Q(approval__isnull=False), name="audit_of_an_approval"
            ),
        ]
        ordering = ("stream", "number")

    def __str__(self) -> str:
        return f"{self.name} by {self.actor_label or self.actor_kind}"


class AuditCheckpoint(models.Model):
    """The seal on a stream's events from ``first`` to ``last``: ``audit.proof.chain.Checkpoint``, with its values.

    ``values_at`` holds the chain's value at each number, 32 bytes each: with them a change is found to the row.
    """

    serial = models.BigIntegerField(primary_key=True)
    stream = models.CharField(max_length=100)
    first = models.BigIntegerField()
    last = models.BigIntegerField()
    at = models.CharField(max_length=32)
    previous = models.CharField(max_length=64)
    hash = models.CharField(max_length=64)
    links = models.CharField(max_length=64)
    parent = models.CharField(max_length=64)
    key = models.CharField(max_length=16)
    signature = models.CharField(max_length=88)
    values_at = models.BinaryField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["stream", "first"], name="audit_seals_begin_once"),
            models.UniqueConstraint(fields=["stream", "last"], name="audit_seals_end_once"),
        ]
        ordering = ("serial",)

    def __str__(self) -> str:
        return f"{self.stream} {self.first} to {self.last}"


class AuditKey(models.Model):
    """A key that signed checkpoints: ``audit.proof.keys.KeyRecord``. Offered to who verifies, and not to be trusted."""

    key = models.CharField(primary_key=True, max_length=16)
    public = models.CharField(max_length=44)
    at = models.CharField(max_length=32)
    by = models.CharField(max_length=16, blank=True)
    signature = models.CharField(max_length=88, blank=True)

    class Meta:
        ordering = ("at",)

    def __str__(self) -> str:
        return self.key


class Lease(models.Model):
    """Who does a work that only one process does at a time. Times are the database's."""

    name = models.CharField(primary_key=True, max_length=32)
    owner = models.CharField(max_length=64, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
