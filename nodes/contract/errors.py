"""The one tree of errors. Every door translates it once; programs test ``code``, people read the message."""

from typing import Any, ClassVar
from uuid import UUID


class HubError(Exception):
    """An expected refusal or failure.

    ``code`` is stable and the same at every door, ``http`` and ``grpc`` are its
    statuses (``grpc`` by name, so that this module needs no gRPC), and ``data``
    holds small, JSON-ready facts for programs.
    """

    code: ClassVar[str] = "internal"
    http: ClassVar[int] = 500
    grpc: ClassVar[str] = "INTERNAL"
    message: ClassVar[str] = "Something went wrong on our side; the log has the details."
    project: UUID | None = None
    """Whose trail is to tell of it. Told to nobody else."""
    is_noted: bool = False
    """It is in the trail already, said better than the door could."""

    def __init__(self, message: str | None = None, **data: Any) -> None:
        self.text = message or self.message
        self.data = data
        super().__init__(self.text)

    def as_json(self) -> dict[str, Any]:
        """The one error shape: ``{"error": {"code", "message", "data"}}``."""
        return {"error": {"code": self.code, "message": self.text, "data": self.data}}


class Invalid(HubError):
    """Input that does not fit; ``data["fields"]`` names what is wrong with each field."""

    code, http, grpc = "invalid", 400, "INVALID_ARGUMENT"
    message = "The request does not fit."


class Unauthenticated(HubError):
    code, http, grpc = "unauthenticated", 401, "UNAUTHENTICATED"
    message = "Sign in, or send a valid token as 'Authorization: Bearer …'."


class InvalidToken(Unauthenticated):
    code = "invalid_token"
    message = "This token is unknown, expired or revoked. Make a new one with 'agenthub token create NAME'."


class Forbidden(HubError):
    code, http, grpc = "forbidden", 403, "PERMISSION_DENIED"
    message = "Your role does not allow that."


class NotFound(HubError):
    """Missing, or not visible to this actor: the two are never told apart."""

    code, http, grpc = "not_found", 404, "NOT_FOUND"
    message = "There is no such thing, or you may not see it."


class Conflict(HubError):
    code, http, grpc = "conflict", 409, "ABORTED"
    message = "This conflicts with what is already there."


class WrongState(Conflict):
    code, grpc = "wrong_state", "FAILED_PRECONDITION"
    message = "This cannot be done in the present state."


class TooLarge(HubError):
    code, http, grpc = "too_large", 413, "RESOURCE_EXHAUSTED"
    message = "The request is larger than allowed."


class Unavailable(HubError):
    """Try again later: something this needs is not there at present."""

    code, http, grpc = "unavailable", 503, "UNAVAILABLE"
    message = "This is not available at present; try again."


class OutcomeUnknown(Unavailable):
    """It was asked for, and no answer came: it may have been done."""

    code = "outcome_unknown"
    message = "No answer came in time, so that nobody knows whether it was done. Look before you ask for it again."


class ConfigError(HubError):
    """A bad setting. The message names the key and what is allowed."""

    code, grpc = "bad_config", "FAILED_PRECONDITION"
