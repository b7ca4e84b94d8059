"""Who is who at the provider, and which sessions it opened."""

from typing import ClassVar

from django.conf import settings
from django.db import models

from nodes.contract.ids import new_id


class Identity(models.Model):
    """A person at a provider, bound to exactly one user here. E-mail addresses bind nobody."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="identities")
    issuer = models.CharField(max_length=255)
    subject = models.CharField(max_length=255)
    label = models.CharField(max_length=150, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        app_label = "accounts"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["issuer", "subject"], name="one_user_per_subject"),
            models.UniqueConstraint(fields=["user", "issuer"], name="one_subject_per_user_and_issuer"),
        ]
        verbose_name_plural = "identities"

    def __str__(self) -> str:
        return f"{self.subject} at {self.issuer}"


class ProviderSession(models.Model):
    """A session here that a sign-in at the provider opened: what its back-channel logout ends."""

    session_key = models.CharField(max_length=40, primary_key=True)
    identity = models.ForeignKey(Identity, on_delete=models.CASCADE, related_name="sessions")
    sid = models.CharField(max_length=255, blank=True, db_index=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        app_label = "accounts"

    def __str__(self) -> str:
        return f"a session of {self.identity}"
