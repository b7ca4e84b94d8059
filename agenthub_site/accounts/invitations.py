"""Invitations: a link with which somebody becomes a member of a project. Once, within its time.

The hub sends no mail: whoever invites hands the link over. It is kept as a digest, and told once.
"""

import secrets
from datetime import timedelta
from typing import Final

from django.db import transaction
from django.utils import timezone

from audit.services import record
from nodes.contract.errors import Forbidden, Invalid, NotFound

from .actors import SYSTEM, Actor
from .authentication import actor_of
from .errors import AlreadyExists, field_errors
from .models import Invitation, Membership, Project, Role, Token, User
from .permissions import Can, may, require, require_self_or
from .services import create_user

DAYS: Final = 7
MOST_DAYS: Final = 30
GONE: Final = "This invitation is unknown, was used, has expired or was withdrawn. Ask for another."


def invite(project: Project, role: str, by: Actor, *, email: str = "", days: int = DAYS) -> tuple[Invitation, str]:
    """An invitation and its secret, which is told here and never again. Owners invite.

    With ``email`` it is for the account of that address alone, and a new account gets it.
    """
    require(by, Can.MANAGE_MEMBERS, project.pk)
    if role not in Role.values:
        raise Invalid(fields={"role": [f"Not a role. Use one of: {', '.join(Role.values)}."]})
    if not 1 <= days <= MOST_DAYS:
        raise Invalid(fields={"days": [f"From 1 to {MOST_DAYS}."]})
    if by.user_id is None:
        raise Forbidden("A person invites.")
    secret = secrets.token_urlsafe(32)
    invitation = Invitation(
        project=project, role=role, email=email, digest=Token.digest_of(secret), invited_by_id=by.user_id,
        expires_at=timezone.now() + timedelta(days=days),
    )  # fmt: skip
    with field_errors():
        invitation.clean_fields(exclude=["project"])
    with transaction.atomic():
        invitation.save(force_insert=True)
        record(
            project.pk, "invitation.created", by=by, of=("invitation", invitation.pk), role=role, for_email=bool(email),
            expires_at=invitation.expires_at,
        )  # fmt: skip
    return invitation, secret


def revoke_invitation(invitation: Invitation, by: Actor) -> None:
    """Withdraw it. Withdrawing it again changes nothing; a member it has made stays."""
    require(by, Can.MANAGE_MEMBERS, invitation.project_id)
    now = timezone.now()
    with transaction.atomic():
        open_ones = Invitation.objects.filter(pk=invitation.pk, revoked_at=None, accepted_at=None)
        if open_ones.update(revoked_at=now):
            record(invitation.project_id, "invitation.revoked", by=by, of=("invitation", invitation.pk))


def find_invitation(secret: str) -> Invitation:
    """The open invitation with this secret. ``NotFound`` otherwise, whatever the reason."""
    found = Invitation.objects.select_related("project", "invited_by").filter(
        digest=Token.digest_of(secret), revoked_at=None, accepted_at=None, expires_at__gt=timezone.now()
    )
    invitation = found.first()
    if invitation is None or not _may_still_invite(invitation):
        raise NotFound(GONE)
    return invitation


def _may_still_invite(invitation: Invitation) -> bool:
    """Nobody comes in by the word of somebody who is no owner any more."""
    host = invitation.invited_by
    return host.is_active and may(actor_of(host), Can.MANAGE_MEMBERS, invitation.project_id)


@transaction.atomic
def accept_invitation(secret: str, user: User, by: Actor) -> Membership:
    """Make ``user``, who is ``by``, a member. ``AlreadyExists`` for one who is a member: the invitation stays open."""
    require_self_or(by, Can.MANAGE_MEMBERS, user.pk)
    if by.user_id != user.pk or user.service_of_id:
        raise Forbidden("An invitation is accepted by the person it is for.")
    if by.token and by.token.project_id:
        raise Forbidden("This token is good in one project alone. Accept the invitation in the browser.")
    return _accept(find_invitation(secret), user, by)


@transaction.atomic
def accept_with_new_account(secret: str, username: str, password: str, *, address: str = "") -> User:
    """Make a local account, with the password that its person chose, and a member of it."""
    invitation = find_invitation(secret)
    by = Actor(SYSTEM.kind, SYSTEM.id, f"an invitation of {invitation.invited_by.username}", address=address)
    user = create_user(username, by=by, password=password, email=invitation.email)
    _accept(invitation, user, by)
    return user


def _accept(invitation: Invitation, user: User, by: Actor) -> Membership:
    if invitation.email and invitation.email.casefold() != user.email.casefold():
        raise Forbidden("This invitation is for another e-mail address than your account's.")
    project = Project.objects.select_for_update(no_key=True).get(pk=invitation.project_id)
    if Membership.objects.filter(project=project, user=user).exists():
        raise AlreadyExists(f"{user.username} is a member of {project.slug} already.")
    now = timezone.now()
    still_open = Invitation.objects.filter(pk=invitation.pk, revoked_at=None, accepted_at=None, expires_at__gt=now)
    if not still_open.update(accepted_at=now, accepted_by=user):
        raise NotFound(GONE)
    membership = Membership.objects.create(project=project, user=user, role=invitation.role)
    record(
        project.pk, "invitation.accepted", by=by, of=("invitation", invitation.pk), user=user.pk,
        username=user.username, role=invitation.role,
    )  # fmt: skip
    return membership
