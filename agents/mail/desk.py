"""Mail as an actor's own affair: what it may send, and its inbox. Doors call this; it asks who may."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

from agenthub_site.accounts.actors import Actor, ActorKind
from agenthub_site.accounts.api import find_project
from agenthub_site.accounts.errors import OutOfScope
from agenthub_site.accounts.permissions import Can, require
from mailboxes.limits import HOPS
from mailboxes.reading import count_open, last_number
from mailboxes.sending import Draft
from mailboxes.services import draft, inbox
from nodes.contract.errors import Invalid, NotFound

from ..models import Run
from .addressing import UnknownRecipient, WebhookOff, address_of, resolve
from .hops import most_hops_of
from .repeats import went_to
from .shapes import InboxIn, SendIn, show_mails


def prepare(actor: Actor, given: SendIn, *, within: UUID | None = None) -> Draft:
    """A message of the actor's that may be sent. Raises ``Forbidden``, ``NotFound``, ``UnknownRecipient``, ``Invalid``.

    ``within`` is the run that the actor is in: ``user`` is who started it, where ``given`` names no other.
    Sent before under its ``dedupe_key``, it goes to whom it went then, where they are no longer to be found.
    """
    run = find_run(actor, given.run_id)
    project_id = project_at_hand(actor, given.project, run)
    require(actor, Can.SEND_MESSAGE, project_id)
    sender = address_of(actor)
    run = run or find_run(actor, within)
    try:
        to = resolve(project_id, given.to, sender=sender, run=run)
    except (UnknownRecipient, WebhookOff):
        before = went_to(project_id, given.to, sender=sender, dedupe_key=given.dedupe_key, run=run)
        if before is None:
            raise
        to = before
    is_passed_on = given.reply_to is not None or bool(given.hop_count)
    most_hops = most_hops_of(project_id) if is_passed_on and actor.kind is ActorKind.AGENT else HOPS
    return draft(
        project_id, sender, to.addresses, given.payload, subject=given.subject, kind=given.kind, audience=to.audience,
        reply_to=given.reply_to, dedupe_key=given.dedupe_key, run_id=given.run_id, hop_count=given.hop_count,
        most_hops=most_hops,
    )  # fmt: skip


def read_inbox(actor: Actor, given: InboxIn, apart: Collection[UUID] = ()) -> dict[str, Any]:
    """A page of the actor's inbox, and how many deliveries in it are open (counted up to 10,000)."""
    require_own(actor)
    recipient, projects = address_of(actor), projects_of(actor)
    page = inbox(
        recipient, after=given.after, limit=given.limit, run_id=given.run_id, state=given.state, projects=projects,
        apart=apart,
    )  # fmt: skip
    return {
        "results": show_mails(page.results),
        "next": page.next,
        "last_number": page.last_number,
        "pending_count": count_open(recipient, given.run_id, projects, apart),
    }


def told_of(actor: Actor) -> dict[str, int]:
    """What live readers of an inbox are told: its last number, and how many deliveries are open."""
    require_own(actor)
    recipient = address_of(actor)
    return {"last_number": last_number(recipient), "pending_count": count_open(recipient, None, projects_of(actor))}


def require_own(actor: Actor) -> None:
    """One's own inbox needs no role; a token needs the scope. Raises ``OutOfScope``."""
    if not actor.is_within_scope(Can.READ_MESSAGES):
        raise OutOfScope(capability=Can.READ_MESSAGES.value)


def projects_of(actor: Actor) -> Collection[UUID] | None:
    """From which projects mail is still shown to the actor; None: all."""
    return None if actor.sees_all else actor.project_ids


def find_run(actor: Actor, run_id: UUID | None) -> Run | None:
    """A run that the actor sees. Raises ``NotFound``."""
    if run_id is None:
        return None
    run = Run.objects.visible_to(actor).filter(pk=run_id).defer("prompt", "diff").first()
    if run is None:
        raise NotFound("There is no such run, or you may not see it.", run=str(run_id))
    return run


def project_at_hand(actor: Actor, wanted: str, run: Run | None, default: UUID | None = None) -> UUID:
    """The one that is named, or the run's, or ``default``, or the only one. Raises ``NotFound``, ``Invalid``."""
    if wanted:
        found: UUID = find_project(actor, wanted).pk
        if run is not None and run.project_id != found:
            raise NotFound("There is no such run in this project.", run=str(run.pk))
        return found
    if run is not None:
        return run.project_id
    if default is not None:
        return default
    if len(actor.roles) != 1:
        raise Invalid("Say in which project: there are several.", fields={"project": ["is missing"]})
    return actor.project_ids[0]
