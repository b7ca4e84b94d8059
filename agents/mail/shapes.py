"""What goes in and out of the doors of mail, the same for REST, the command line and the actor service."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mailboxes.addresses import Address
from mailboxes.limits import LEASE_SECONDS, LEASE_SECONDS_LEAST, LEASE_SECONDS_MOST, MOST_PER_PAGE, PAGE
from mailboxes.reading import Mail
from mailboxes.services import Acked, Sent
from nodes.contract.errors import Invalid

from .addressing import names_of

S = TypeVar("S", bound="Shape")
WAIT_SECONDS_MOST = 30.0


class Shape(BaseModel):
    """A body. A field that does not exist is refused: a typing error must not pass for a wish granted."""

    model_config = ConfigDict(extra="forbid", strict=False)


class SendIn(Shape):
    to: Annotated[list[str], Field(min_length=1, max_length=100)]
    payload: Any
    project: str = ""
    subject: str = ""
    kind: str = "message"
    reply_to: UUID | None = None
    dedupe_key: str | None = None
    run_id: UUID | None = None
    hop_count: int | None = None


class InboxIn(Shape):
    after: Annotated[int, Field(ge=0, lt=2**62)] = 0
    limit: Annotated[int, Field(ge=1, le=MOST_PER_PAGE)] = PAGE
    run_id: UUID | None = None
    state: str | None = None


class ReceiveIn(Shape):
    limit: Annotated[int, Field(ge=1, le=MOST_PER_PAGE)] = 10
    lease_seconds: Annotated[float, Field(ge=LEASE_SECONDS_LEAST, le=LEASE_SECONDS_MOST)] = LEASE_SECONDS
    wait: Annotated[float, Field(ge=0, le=WAIT_SECONDS_MOST)] = 0.0
    """Seconds to wait for something to come, if there is nothing."""
    run_id: UUID | None = None
    key: str | None = None
    """Of this asking: asked again with it, because the answer was lost, it is the same lease."""


class AckIn(Shape):
    """``message_ids`` are messages' ids, or their numbers in the inbox. What is neither is not found, by itself."""

    message_ids: Annotated[
        list[Annotated[UUID | int | str, Field(union_mode="left_to_right")]], Field(min_length=1, max_length=500)
    ]
    run_id: UUID | None = None


def read_shape(shape: type[S], given: bytes | dict[str, Any]) -> S:
    """The body as ``shape`` has it. Raises ``Invalid``, with the fields that do not fit."""
    try:
        if isinstance(given, dict):
            return shape.model_validate(given)
        return shape.model_validate_json(given or b"{}")
    except ValidationError as error:
        fields: dict[str, list[str]] = {}
        for each in error.errors(include_url=False, include_context=False, include_input=False):
            fields.setdefault(".".join(map(str, each["loc"][:1])) or "body", []).append(each["msg"])
        raise Invalid(f"The request does not fit: {_first(fields)}", fields=fields) from None


def _first(fields: dict[str, list[str]]) -> str:
    name, messages = next(iter(fields.items()))
    return f"{name}: {messages[0]}."


def show_mails(mails: Sequence[Mail]) -> list[dict[str, Any]]:
    """Each as doors tell it, with the names of both ends."""
    names = names_of({address for mail in mails for address in (mail.sender, mail.recipient)})
    first: dict[UUID, Mail] = {}
    for mail in mails:  # the copies of one message say the same: it is read once
        vars(mail)["payload"] = first.setdefault(mail.message_id, mail).payload
    return [show_mail(mail, names) for mail in mails]


def show_mail(mail: Mail, names: dict[Address, str]) -> dict[str, Any]:
    return {
        "number": mail.number,
        "message_id": str(mail.message_id),
        "project": str(mail.project_id),
        "run_id": str(mail.run_id) if mail.run_id else None,
        "from": show_address(mail.sender, names),
        "to": show_address(mail.recipient, names),
        "audience": mail.audience,
        "subject": mail.subject,
        "kind": mail.kind,
        "payload": mail.payload,
        "reply_to": str(mail.reply_to) if mail.reply_to else None,
        "hop_count": mail.hop_count,
        "dedupe_key": mail.dedupe_key,
        "created_at": _time(mail.created_at),
        "state": mail.state,
        "redelivered": mail.redelivered,
        "leased_until": _time(mail.leased_until),
        "settled_at": _time(mail.settled_at),
        "reason": mail.reason,
    }


def show_address(address: Address, names: dict[Address, str]) -> dict[str, str]:
    return {"kind": address.kind, "id": address.id, "name": names.get(address, "")}


def show_sent(sent: Sent) -> dict[str, Any]:
    return {
        "message_id": str(sent.message_id),
        "created": sent.created,
        "hop_count": sent.hop_count,
        "created_at": _time(sent.created_at),
        "to": [{"kind": to.kind, "id": to.id, "number": number} for to, number in sent.deliveries],
    }


def show_acked(acked: Iterable[Acked]) -> list[dict[str, Any]]:
    """``status_changed`` says whether the ack did anything; ``code`` why it could not."""
    return [
        {
            "id": str(each.id) if isinstance(each.id, UUID) else each.id,
            "message_id": str(each.message_id) if each.message_id else None,
            "number": each.number,
            "state": each.state or None,
            "status_changed": each.changed,
            "acked_at": _time(each.acked_at),
            "code": each.code or None,
        }
        for each in acked
    ]


def _time(at: Any) -> str | None:
    return at.isoformat().replace("+00:00", "Z") if at else None
