"""What changes people, projects, memberships and tokens."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from audit.services import record
from nodes.contract.errors import Forbidden, Invalid, NotFound

from .actors import Actor
from .errors import AlreadyExists, LastOwner, LastRoot
from .models import Membership, Project, Role, Token, User
from .permissions import Can, require

HINT_CHARS = 8
EDITABLE_USER_FIELDS = frozenset({"username", "email", "is_active", "is_superuser"})
EDITABLE_PROJECT_FIELDS = frozenset({"name", "description"})


def create_user(
    username: str, *, by: Actor, password: str | None = None, email: str = "", is_superuser: bool = False
) -> User:
    """A person who may sign in; without ``password`` only by other means. Root alone makes people.

    ``Invalid`` for a weak password or a bad name, ``AlreadyExists`` for a taken one.
    """
    require(by, Can.MANAGE_USERS)
    user = User(username=username, email=email, is_superuser=is_superuser, is_staff=is_superuser)
    with _field_errors():
        if password is not None:
            validate_password(password, user)
        user.set_password(password)
        user.clean_fields()
    with transaction.atomic():
        _save_new(user, f"There is a user named {username} already.")
        record(None, "user.created", by=by, of=("user", user.pk), username=username, is_superuser=is_superuser)
    return user


def edit_user(user: User, *, by: Actor, **changes: Any) -> User:
    """Change name, e-mail, whether they may sign in, and whether they are a root operator. Root alone does.

    ``LastRoot`` if no active root operator would be left.
    """
    require(by, Can.MANAGE_USERS)
    unknown = sorted(changes.keys() - EDITABLE_USER_FIELDS)
    if unknown:
        raise Invalid(fields={field: ["This cannot be changed."] for field in unknown})
    with transaction.atomic():
        # In one order for all, so that two roots cannot demote each other at once.
        roots = User.objects.select_for_update(no_key=True).filter(is_superuser=True, is_active=True).order_by("id")
        others = [root.pk for root in roots if root.pk != user.pk]
        user = User.objects.select_for_update(no_key=True).get(pk=user.pk)
        for field, value in changes.items():
            setattr(user, field, value)
        user.is_staff = user.is_superuser
        if not (others or (user.is_superuser and user.is_active)):
            raise LastRoot()
        with _field_errors():
            user.clean_fields(exclude=["password"])
        _save(user, {*changes, "is_staff"})
        record(None, "user.edited", by=by, of=("user", user.pk), changed=sorted(changes))
    return user


def set_password(user: User, password: str, *, by: Actor) -> None:
    """A person changes their own password, root anybody's. Ends the user's other sessions."""
    if not (by.sees_all or by.id == str(user.pk)):
        raise Forbidden("You may change your own password only.")
    with _field_errors():
        validate_password(password, user)
    user.set_password(password)
    with transaction.atomic():
        user.save(update_fields=["password"])
        password_was_set(user, by=by)


def password_was_set(user: User, *, by: Actor) -> None:
    """Note in the trail what Django's own form did. Inside the transaction that did it."""
    record(None, "user.password_changed", by=by, of=("user", user.pk))


def create_project(slug: str, name: str, by: Actor, description: str = "") -> Project:
    """A project; a person who makes it becomes its owner. ``AlreadyExists`` for a taken slug."""
    require(by, Can.CREATE_PROJECT)
    project = Project(slug=slug, name=name, description=description)
    with _field_errors():
        project.clean_fields()
    with transaction.atomic():
        _save_new(project, f"There is a project named {slug} already.")
        if by.user_id:
            Membership.objects.create(project=project, user_id=by.user_id, role=Role.OWNER)
        record(project.pk, "project.created", by=by, of=("project", project.pk), slug=slug, title=name)
    return project


def edit_project(project: Project, *, by: Actor, **changes: Any) -> Project:
    """Change name or description; the slug stays, since paths on nodes are made of it."""
    require(by, Can.EDIT_PROJECT, project.pk)
    unknown = changes.keys() - EDITABLE_PROJECT_FIELDS
    if unknown:
        raise Invalid(fields={field: ["This cannot be changed."] for field in sorted(unknown)})
    changed = [field for field, value in changes.items() if getattr(project, field) != value]
    if not changed:
        return project
    for field in changed:
        setattr(project, field, changes[field])
    with _field_errors():
        project.clean_fields()
    with transaction.atomic():
        project.save(update_fields=changed)
        record(project.pk, "project.edited", by=by, of=("project", project.pk), changed=sorted(changed))
    return project


def add_member(project: Project, user: User, role: str, by: Actor) -> Membership:
    """Make the user a member, or change a member's role. ``LastOwner`` if no owner would be left."""
    require(by, Can.MANAGE_MEMBERS, project.pk)
    if role not in Role.values:
        raise Invalid(fields={"role": [f"Not a role. Use one of: {', '.join(Role.values)}."]})
    with transaction.atomic():
        _lock(project)
        membership = Membership.objects.filter(project=project, user=user).first()
        if membership is None:
            membership = Membership.objects.create(project=project, user=user, role=role)
            record(project.pk, "member.added", by=by, of=("user", user.pk), username=user.username, role=role)
        elif membership.role != role:
            if membership.role == Role.OWNER:
                _require_another_owner(membership)
            before, membership.role = membership.role, role
            membership.save(update_fields=["role"])
            record(
                project.pk, "member.role_changed", by=by, of=("user", user.pk),
                username=user.username, role=role, before=before,
            )  # fmt: skip
    return membership


def remove_member(project: Project, user: User, by: Actor) -> None:
    """Take the user out of the project: its owners anybody, everybody themselves."""
    if by.user_id != user.pk:
        require(by, Can.MANAGE_MEMBERS, project.pk)
    with transaction.atomic():
        _lock(project)
        membership = Membership.objects.filter(project=project, user=user).first()
        if membership is None:
            raise NotFound(f"{user.username} is not a member of this project.")
        if membership.role == Role.OWNER:
            _require_another_owner(membership)
        membership.delete()
        record(project.pk, "member.removed", by=by, of=("user", user.pk), username=user.username)


def create_token(user: User, name: str, by: Actor, expires_at: datetime | None = None) -> tuple[Token, str]:
    """A bearer token and its secret, which is told here and never again. For oneself, or by root for anybody.

    ``AlreadyExists`` while the user has a valid token of that name: tokens are told apart and revoked by it.
    """
    if not (by.sees_all or by.user_id == user.pk):
        raise Forbidden("You may make tokens for yourself only.")
    if expires_at is not None and expires_at <= timezone.now():
        raise Invalid(fields={"expires_at": ["This is in the past."]})
    secret = Token.PREFIX + secrets.token_urlsafe(32)
    token = Token(user=user, name=name, hint=secret[:HINT_CHARS], digest=Token.digest_of(secret), expires_at=expires_at)
    with _field_errors():
        token.clean_fields()
    with transaction.atomic():
        User.objects.select_for_update(no_key=True).get(pk=user.pk)  # two at once take turns
        valid = Token.objects.filter(Q(expires_at=None) | Q(expires_at__gt=timezone.now()), revoked_at=None)
        if valid.filter(user=user, name=name).exists():
            raise AlreadyExists(f"{user.username} has a token named {name} already; revoke it, or use another name.")
        token.save(force_insert=True)
        record(None, "token.created", by=by, of=("token", token.pk), title=name, user=user.pk, expires_at=expires_at)
    return token, secret


def revoke_token(token: Token, by: Actor) -> Token:
    """Make the token invalid from now on. Revoking it again changes nothing."""
    if not (by.sees_all or by.user_id == token.user_id):
        raise NotFound()
    now = timezone.now()
    with transaction.atomic():
        if Token.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=now):
            record(None, "token.revoked", by=by, of=("token", token.pk), title=token.name, user=token.user_id)
    token.refresh_from_db(fields=["revoked_at"])
    return token


def _lock(project: Project) -> None:
    """Changes of a project's members take turns, so that two owners cannot remove each other at once."""
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)


def _require_another_owner(membership: Membership) -> None:
    owners = Membership.objects.filter(project_id=membership.project_id, role=Role.OWNER)
    if not owners.exclude(pk=membership.pk).exists():
        raise LastOwner()


def _save_new(row: User | Project, taken: str) -> None:
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError as error:
        raise AlreadyExists(taken) from error


def _save(user: User, fields: set[str]) -> None:
    try:
        with transaction.atomic():
            user.save(update_fields=sorted(fields))
    except IntegrityError as error:
        raise AlreadyExists(f"There is a user named {user.username} already.") from error


@contextmanager
def _field_errors() -> Iterator[None]:
    """Django's ``ValidationError`` as ``Invalid``, which every door knows."""
    try:
        yield
    except ValidationError as error:
        fields = error.message_dict if hasattr(error, "error_dict") else {"password": error.messages}
        raise Invalid(" ".join(error.messages), fields=fields) from error
