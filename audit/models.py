"""Stream counters and audit events. Actors and projects are (kind, id), without foreign keys upwards."""

from django.db import models

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
    address = models.CharField(max_length=64, blank=True)
    user_agent = models.CharField(max_length=200, blank=True)
    data = models.JSONField(default=dict, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["stream", "number"], name="audit_numbers_are_unique")]
        indexes = [models.Index(fields=["run"]), models.Index(fields=["name", "at"])]
        ordering = ("stream", "number")

    def __str__(self) -> str:
        return f"{self.name} by {self.actor_label or self.actor_kind}"
