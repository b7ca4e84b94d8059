"""What makes, finds and revokes tokens.

A token made with a token is never wider: no scope, place or time that the other has not, and it goes when that goes.
"""

import secrets
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from audit.services import Fact, record, record_all
from nodes.contract.errors import Forbidden, Invalid, InvalidToken, NotFound

from .actors import Actor, Held
from .errors import AlreadyExists, OutOfScope, field_errors
from .models import Membership, Project, Token, User
from .permissions import Can, may, require
from .scopes import ALL, capabilities_of, clean_scope

HINT_CHARS: Final = 8
OWN_HINT: Final = "imported"
"""For a secret that somebody else made, perhaps not at random: nothing of it is kept."""
USE_NOTED_EVERY: Final = timedelta(minutes=1)


def create_token(
    user: User,
    name: str,
    by: Actor,
    expires_at: datetime | None = None,
    *,
    scope: str | None = None,
    project: Project | None = None,
) -> tuple[Token, str]:
    """A bearer token and its secret, which is told here and never again.

    For oneself; by root for anybody; by a project's owner for its service accounts. What is left out is as wide as
    whoever asks may have it. ``AlreadyExists`` while the user has a valid token of that name.
    """
    if not _may_manage(by, user):
        if not by.is_within_scope(Can.MANAGE_TOKENS):
            raise OutOfScope(capability=Can.MANAGE_TOKENS)
        raise Forbidden("You may make tokens for yourself only.")
    project_id = project.pk if project else user.service_of_id
    if project_id and not (user.is_superuser or Membership.objects.filter(user=user, project=project_id).exists()):
        raise Invalid(fields={"project": [f"{user.username} is not a member of it."]})
    return _make(Token(user=user, name=name), by, expires_at, scope, project_id)


def create_agent_token(
    agent: UUID,
    label: str,
    project_id: UUID,
    *,
    name: str,
    by: Actor,
    expires_at: datetime | None = None,
    scope: str | None = None,
    secret: str = "",
) -> tuple[Token, str]:
    """A token that speaks for an agent, in its project. ``agents.services.tokens`` knows which agents there are.

    With a ``secret`` that it has already, elsewhere; that it is no other token's is for the caller to know.
    """
    require(by, Can.MANAGE_TOKENS, project_id)
    token = Token(agent_id=agent, agent_label=label[:150], name=name)
    token.hint = OWN_HINT if secret else ""
    return _make(token, by, expires_at, scope, project_id, secret=secret)


def renew_agent_token(token: Token, *, by: Actor) -> None:
    """Let an agent's token that ran out work again, as wide as it was and for as long as ``by`` may give it."""
    require(by, Can.MANAGE_TOKENS, token.project_id)
    token.expires_at, token.scope, token.project_id = _no_wider(by, None, token.scope, token.project_id)
    token.made_with_id = by.token.id if by.token else None
    with transaction.atomic():
        if not Token.objects.filter(pk=token.pk, revoked_at=None).update(
            expires_at=token.expires_at, made_with=token.made_with_id
        ):
            raise InvalidToken()  # revoked just now
        record(
            _trail(token), "token.renewed", by=by, of=("token", token.pk), title=token.name, scope=token.scope,
            expires_at=token.expires_at, **_whose(token),
        )  # fmt: skip


def _make(
    token: Token,
    by: Actor,
    expires_at: datetime | None,
    scope: str | None,
    project_id: UUID | None,
    *,
    secret: str = "",
) -> tuple[Token, str]:
    token.expires_at, token.scope, token.project_id = _no_wider(by, expires_at, scope, project_id)
    token.made_with_id = by.token.id if by.token else None
    secret = secret or Token.PREFIX + secrets.token_urlsafe(32)
    token.hint, token.digest = token.hint or secret[:HINT_CHARS], Token.digest_of(secret)
    with field_errors():
        token.clean_fields(exclude=["made_with", "project", "user"])
    with transaction.atomic():
        if token.project_id and token.user_id is None:
            Project.objects.select_for_update(no_key=True).get(pk=token.project_id)
        elif token.user_id:
            User.objects.select_for_update(no_key=True).get(pk=token.user_id)  # two at once take turns
        if by.token and not Token.objects.select_for_update(no_key=True).filter(pk=by.token.id, revoked_at=None):
            raise InvalidToken()  # revoked just now, with all that it made
        valid = Token.objects.filter(Q(expires_at=None) | Q(expires_at__gt=timezone.now()), revoked_at=None)
        if valid.filter(user=token.user_id, agent_id=token.agent_id, name=token.name).exists():
            raise AlreadyExists(
                f"{token.owner} has a token named {token.name} already; revoke it, or use another name."
            )
        token.save(force_insert=True)
        record(
            _trail(token), "token.created", by=by, of=("token", token.pk), title=token.name, scope=token.scope,
            expires_at=token.expires_at, **_whose(token),
        )  # fmt: skip
    return token, secret


def _no_wider(
    by: Actor, expires_at: datetime | None, scope: str | None, project_id: UUID | None
) -> tuple[datetime | None, str, UUID | None]:
    """What the new token will have, within what the one it is made with has. ``Invalid`` for more."""
    if expires_at is not None and expires_at <= timezone.now():
        raise Invalid(fields={"expires_at": ["This is in the past."]})
    held = by.token
    if held is None:
        return expires_at, clean_scope(scope or ALL), project_id
    wanted = clean_scope(scope) if scope else _words(held)
    if not capabilities_of(wanted) <= held.scope:
        raise Invalid(fields={"scope": ["A token made with a token has no wider scope than that one."]})
    if held.expires_at and expires_at and expires_at > held.expires_at:
        raise Invalid(fields={"expires_at": ["A token made with a token ends no later than that one."]})
    if held.project_id and project_id and project_id != held.project_id:
        raise Invalid(fields={"project": ["A token made with a token is good in no other project than that one."]})
    return expires_at or held.expires_at, wanted, project_id or held.project_id


def _words(held: Held) -> str:
    return Token.objects.filter(pk=held.id).values_list("scope", flat=True).first() or clean_scope("read")


def revoke_token(token: Token, by: Actor) -> Token:
    """Make the token, and all that was made with it, invalid from now on. Revoking it again changes nothing.

    With a token that is good in one project alone only those can be revoked that are, too.
    """
    if by.token and by.token.project_id not in (None, token.project_id):
        raise NotFound()
    if token.user is None:
        require(by, Can.MANAGE_TOKENS, token.project_id)
    elif not _may_manage(by, token.user):
        raise Forbidden() if by.sees_all or by.user_id == token.user_id else NotFound()
    with transaction.atomic():
        _revoke([token.pk], by)
    token.refresh_from_db(fields=["revoked_at"])
    return token


def revoke_tokens_of(by: Actor, **owner: Any) -> None:
    """Of a user or an agent, within the transaction that ends what they may do."""
    _revoke(list(Token.objects.filter(revoked_at=None, **owner).values_list("pk", flat=True)), by)


def _revoke(ids: list[UUID], by: Actor) -> None:
    revoked: list[Token] = []
    while ids:
        # Locked in one order; who makes another with one of them finds it revoked, or is found here as made with it.
        locked = Token.objects.select_for_update(no_key=True, of=("self",)).select_related("user")
        found = list(locked.filter(pk__in=ids).order_by("pk"))
        fresh = [token for token in found if token.revoked_at is None]
        Token.objects.filter(pk__in=[token.pk for token in fresh]).update(revoked_at=timezone.now())
        revoked += fresh
        ids = list(Token.objects.filter(made_with__in=ids, revoked_at=None).values_list("pk", flat=True))
    facts = [
        Fact(_trail(token), "token.revoked", of=("token", token.pk), data={"title": token.name, **_whose(token)})
        for token in revoked
    ]
    if facts:
        record_all(facts, by=by)


def _may_manage(by: Actor, user: User) -> bool:
    if by.user_id == user.pk:
        return by.is_within_scope(Can.MANAGE_TOKENS)
    is_mine = user.service_of_id is not None and may(by, Can.MANAGE_MEMBERS, user.service_of_id)
    return is_mine or may(by, Can.MANAGE_USERS)


def _trail(token: Token) -> UUID | None:
    """A person's tokens belong to no project; those of what lives in a project are in its trail."""
    return token.project_id if token.agent_id or (token.user and token.user.service_of_id) else None


def _whose(token: Token) -> dict[str, Any]:
    return {"user": token.user_id} if token.user_id else {"agent": token.agent_id}


def visible_tokens(actor: Actor) -> QuerySet[Token]:
    """One's own; root everybody's; an owner those of the project's service accounts, a maintainer those of agents."""
    tokens = Token.objects.select_related("user", "project")
    if actor.sees_all:
        return tokens
    own = Q(user=actor.user_id) if actor.user_id else Q(agent_id=actor.id, user=None)
    if actor.token and actor.token.project_id:
        own &= Q(project=actor.token.project_id)
    owned = [pk for pk in actor.roles if may(actor, Can.MANAGE_MEMBERS, pk)]
    kept = [pk for pk in actor.roles if may(actor, Can.MANAGE_TOKENS, pk)]
    return tokens.filter(own | Q(user__service_of__in=owned) | Q(user=None, project__in=kept))


def find_token(secret: str) -> Token:
    """The valid token with this secret, its use noted. ``InvalidToken`` otherwise, as of a user who is inactive.

    Looked up by the secret's digest, so that the time it takes tells nothing of the secret.
    """
    now = timezone.now()
    token = Token.objects.select_related("user").filter(digest=Token.digest_of(secret)).first()
    if token is None or not token.is_valid(now) or (token.user is not None and not token.user.is_active):
        raise InvalidToken()
    _note_use(token, now)
    return token


def _note_use(token: Token, now: datetime) -> None:
    """At most once a minute, and by one of those who come at once: reading with a token writes next to nothing."""
    due = now - USE_NOTED_EVERY
    if token.last_used_at is None or token.last_used_at < due:
        unnoted = Q(last_used_at=None) | Q(last_used_at__lt=due)
        Token.objects.filter(unnoted, pk=token.pk).update(last_used_at=now)
