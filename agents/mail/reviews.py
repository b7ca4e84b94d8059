"""Reviews of permissions by agents: a question is told to the reviewing agent by mail, and answered by it."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import structlog
from django.db.models import F
from pydantic import Field

from agenthub_site.accounts.actors import Actor
from mailboxes.errors import DedupeConflict
from mailboxes.services import Address, send
from nodes.contract.errors import HubError, Invalid, NotFound, Unavailable
from nodes.contract.ids import uuid_of

from ..models import Approval
from ..services.approvals import AlreadyDecided, decide_approval, require_asked
from .shapes import Shape

logger = structlog.get_logger(__name__)

AT_ONCE: Final = 100
KIND = "permission_review"
_EXCERPT_CHARS = 4_000
"""Of what is asked: the whole of it is shown with the approval."""
_ONCE = {"allow": "allow_once", "deny": "reject_once"}


class RespondIn(Shape):
    """One way of answering: an option's id, ``decision`` (this once), or the outcome ``cancelled``."""

    permission_ids: Annotated[list[str], Field(min_length=1, max_length=200)]
    option_id: str | None = None
    decision: Literal["allow", "deny"] | None = None
    outcome: str | None = None
    run_id: UUID | None = None


def tell_reviewers(now: datetime) -> int:
    """The loop: tell reviewing agents what they are asked, each question once. How many were dealt with.

    It is no part of the transaction that opens a question, which has locked the trail: inboxes are locked before that.
    What cannot be told is left to people, once the reviewer's time is over. The agent that asks never reviews itself.
    """
    asked = Approval.objects.waiting(now).filter(offered_agent__isnull=False, review_told_at=None)
    asked = asked.exclude(run__agent_id=F("offered_agent_id")).select_related("run__agent").order_by("pk")
    return sum(_tell(approval, now) for approval in asked[:AT_ONCE])


def _tell(approval: Approval, now: datetime) -> bool:
    try:
        _send(approval)
    except Unavailable:
        return False
    except DedupeConflict:  # it was told, and what it says has changed since: a name, say
        pass
    except HubError as error:
        logger.warning("review.cannot_be_told", approval=str(approval.pk), code=error.code, message=error.text)
    return bool(Approval.objects.filter(pk=approval.pk, review_told_at=None).update(review_told_at=now))


def _send(approval: Approval) -> None:
    run = approval.run
    request = approval.request
    send(
        approval.project_id,
        Address("system", "system"),
        [Address.of("agent", str(approval.offered_agent_id))],
        {
            "permission_id": str(approval.pk),
            "run_id": str(approval.run_id),
            "agent": run.agent.name,
            "kind": approval.kind,
            "title": approval.title,
            "command": request["command"][:_EXCERPT_CHARS],
            "paths": [path[:500] for path in request["paths"][:20]],
            "options": [
                {"option_id": option["option_id"][:200], "name": option["name"][:200], "kind": option["kind"]}
                for option in request["options"][:20]
            ],
            "people_at": _time(approval.people_at),
            "expires_at": _time(approval.expires_at),
            "respond": f"agenthub actor permission-review-respond --permission-id {approval.pk} --decision allow|deny",
        },
        subject=f"Review: {''.join(c if c.isprintable() else ' ' for c in approval.title)}"[:200],
        kind=KIND,
        dedupe_key=f"permission-review:{approval.pk}",
    )


def respond(actor: Actor, given: RespondIn) -> list[dict[str, Any]]:
    """Answer each in order; a refusal stops none behind it. Raises ``Invalid`` for an answer that is none, or two."""
    if sum(answer is not None for answer in (given.option_id, given.decision, given.outcome)) != 1:
        raise Invalid("Answer in one way: --option-id ID, --decision allow|deny, or --outcome cancelled.")
    return [_respond_one(actor, permission_id, given) for permission_id in given.permission_ids]


def _respond_one(actor: Actor, permission_id: str, given: RespondIn) -> dict[str, Any]:
    try:
        approval = _find(actor, permission_id, given.run_id)
        try:
            require_asked(approval, by=actor)  # before its options are told
            option_id, outcome = _answer(approval, given)
            decide_approval(approval, by=actor, option_id=option_id, outcome=outcome)
        except AlreadyDecided as error:
            return {**_shown("already_resolved", approval), "error": error.as_json()["error"]}
        return _shown("ok", approval)
    except HubError as error:
        return {"status": "refused", "permission_id": permission_id, "error": error.as_json()["error"]}


def _shown(status: str, approval: Approval) -> dict[str, Any]:
    return {
        "status": status,
        "permission_id": str(approval.pk),
        "request_status": approval.state,
        "outcome": approval.outcome,
        "option_id": approval.option_id or None,
        "reviewed_by_actor_id": approval.decided_by_id or None,
        "reviewed_by": approval.decided_by_label or None,
    }


def _find(actor: Actor, permission_id: str, run_id: UUID | None) -> Approval:
    seen = Approval.objects.visible_to(actor)
    if run_id is not None:
        seen = seen.filter(run=run_id)
    pk = uuid_of(permission_id)
    approval = seen.filter(pk=pk).select_related("offered_agent").first() if pk else None
    if approval is None:
        raise NotFound(f"There is no permission {permission_id[:80]!r} that this actor may see.")
    return approval


def _answer(approval: Approval, given: RespondIn) -> tuple[str | None, str | None]:
    """(option, outcome). ``decision`` stands for what holds this once; anything lasting is named by its option."""
    if given.decision is None:
        return given.option_id, given.outcome
    options = approval.request["options"]
    for option in options:
        if option["kind"] == _ONCE[given.decision]:
            return str(option["option_id"]), None
    if given.decision == "deny":
        return None, "cancelled"
    named = ", ".join(f"{option['option_id']} ({option['kind']})" for option in options)
    raise Invalid(
        f"--decision allow allows this once, and this question has no such answer. Choose with --option-id: {named}.",
        options=[option["option_id"] for option in options],
    )


def _time(at: Any) -> str | None:
    return at.isoformat().replace("+00:00", "Z") if at else None
