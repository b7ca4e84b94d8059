"""Refusals that only people, projects and tokens know."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.core.exceptions import ValidationError

from nodes.contract.errors import Conflict, Forbidden, HubError, Invalid


class CsrfFailed(Forbidden):
    code = "csrf_failed"
    message = "The CSRF token is missing or wrong. Reload the page, or send a bearer token instead of a session."


class OutOfScope(Forbidden):
    code = "out_of_scope"
    message = "This token's scope does not cover that. Use one that was made for it."


class AlreadyExists(Conflict):
    code, grpc = "already_exists", "ALREADY_EXISTS"
    message = "There is one of that name already."


class LastOwner(Conflict):
    code, grpc = "last_owner", "FAILED_PRECONDITION"
    message = "A project keeps at least one owner. Make somebody else an owner first."


class LastRoot(Conflict):
    code, grpc = "last_root", "FAILED_PRECONDITION"
    message = "The hub keeps at least one active root operator. Make somebody else one first."


class IdempotencyConflict(Conflict):
    code = "idempotency_conflict"
    message = "This Idempotency-Key was used for another request. Use a new key for a new request."


class PreconditionFailed(HubError):
    code, http, grpc = "precondition_failed", 412, "FAILED_PRECONDITION"
    message = "It was changed in the meantime. Read it again, and repeat the change on what it is now."


class SecretUnreadable(Conflict):
    """One of the hub's own secrets is there, and cannot be read."""

    code, grpc = "secret_unreadable", "FAILED_PRECONDITION"


class SecretKeyUnusable(SecretUnreadable):
    """The key of the hub's secrets itself: it is damaged, cannot be read, or others can read it."""

    code = "secret_key_unusable"


@contextmanager
def field_errors() -> Iterator[None]:
    """Django's ``ValidationError`` as ``Invalid``, which every door knows."""
    try:
        yield
    except ValidationError as error:
        fields = error.message_dict if hasattr(error, "error_dict") else {"password": error.messages}
        raise Invalid(" ".join(error.messages), fields=fields) from error
