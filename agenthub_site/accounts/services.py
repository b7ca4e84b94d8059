"""What changes people, service accounts, projects and memberships."""

from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.db import IntegrityError, transaction

from audit.services import record
from nodes.contract.errors import Invalid, NotFound

from .actors import Actor
from .errors import AlreadyExists, LastOwner, LastRoot, field_errors
from .models import Membership, Project, Role, User
from .permissions import Can, require, require_self_or
from .sessions import end_sessions
from .tokens import revoke_tokens_of

EDITABLE_USER_FIELDS = frozenset({"username", "email", "is_active", "is_superuser"})
DEMANDS_OF_RUNS = frozenset({"required_isolation", "required_network"})
EDITABLE_PROJECT_FIELDS = DEMANDS_OF_RUNS | {"name", "description"}


def create_user(
    username: str, *, by: Actor, password: str | None = None, email: str = "", is_superuser: bool = False
) -> User:
    """A person who may sign in; without ``password`` only by other means. Root alone makes people.

    ``Invalid`` for a weak password or a bad name, ``AlreadyExists`` for a taken one.
    """
    require(by, Can.MANAGE_USERS)
    user = User(username=username, email=email, is_superuser=is_superuser, is_staff=is_superuser)
    with field_errors():
        if password is not None:
            validate_password(password, user)
        user.set_password(password)
        user.clean_fields()
    with transaction.atomic():
        _require_free_name(user)
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
        if user.service_of_id and changes.get("is_superuser"):
            raise Invalid(fields={"is_superuser": ["A service account is no operator."]})
        for field, value in changes.items():
            setattr(user, field, value)
        user.is_staff = user.is_superuser
        if not (others or (user.is_superuser and user.is_active)):
            raise LastRoot()
        with field_errors():
            user.clean_fields(exclude=["password"])
        if "username" in changes:
            _require_free_name(user)
        _save(user, {*changes, "is_staff"})
        if changes.get("is_active") is False:
            shut_out(user, by=by)
        record(None, "user.edited", by=by, of=("user", user.pk), changed=sorted(changes))
    return user


def shut_out(user: User, *, by: Actor) -> None:
    """End the person's sessions and revoke their tokens, so that neither comes back with the account.

    Inside the transaction that makes them inactive; live readers ask within 5 s who is asking.
    """
    end_sessions(user, by=by)
    revoke_tokens_of(by, user=user)


def set_password(user: User, password: str, *, by: Actor) -> None:
    """A person changes their own password, root anybody's. Ends the user's other sessions."""
    require_self_or(by, Can.MANAGE_USERS, user.pk)
    if user.service_of_id:
        raise Invalid("A service account has no password: it has tokens.")
    with field_errors():
        validate_password(password, user)
    user.set_password(password)
    with transaction.atomic():
        user.save(update_fields=["password"])
        password_was_set(user, by=by)


def password_was_set(user: User, *, by: Actor) -> None:
    """Note in the trail what Django's own form did. Inside the transaction that did it."""
    record(None, "user.password_changed", by=by, of=("user", user.pk))


def create_project(slug: str, name: str, by: Actor, description: str = "") -> Project:
    """A project; a person who makes it becomes its owner. ``AlreadyExists`` for a taken slug, ``Invalid`` for one that
    would be an option to a command.
    """
    require(by, Can.CREATE_PROJECT)
    if slug.startswith("-"):
        raise Invalid(fields={"slug": ["It begins with a letter, a digit or an underscore."]})
    project = Project(slug=slug, name=name, description=description)
    with field_errors():
        project.clean_fields()
    with transaction.atomic():
        _save_new(project, f"There is a project named {slug} already.")
        if by.user_id:
            Membership.objects.create(project=project, user_id=by.user_id, role=Role.OWNER)
        record(project.pk, "project.created", by=by, of=("project", project.pk), slug=slug, title=name)
    return project


def edit_project(project: Project, *, by: Actor, **changes: Any) -> Project:
    """Change name, description or what is demanded of runs; the slug stays, since paths on nodes are made of it."""
    require(by, Can.EDIT_PROJECT, project.pk)
    if changes.keys() & DEMANDS_OF_RUNS:
        require(by, Can.EDIT_POLICY, project.pk)
    unknown = changes.keys() - EDITABLE_PROJECT_FIELDS
    if unknown:
        raise Invalid(fields={field: ["This cannot be changed."] for field in sorted(unknown)})
    changed = [field for field, value in changes.items() if getattr(project, field) != value]
    if not changed:
        return project
    for field in changed:
        setattr(project, field, changes[field])
    with field_errors():
        project.clean_fields()
    with transaction.atomic():
        project.save(update_fields=changed)
        demanded = {field: changes[field] for field in changed if field in DEMANDS_OF_RUNS}
        record(project.pk, "project.edited", by=by, of=("project", project.pk), changed=sorted(changed), **demanded)
    return project


def add_member(project: Project, user: User, role: str, by: Actor) -> Membership:
    """Make the user a member, or change a member's role. ``LastOwner`` if no owner would be left."""
    require(by, Can.MANAGE_MEMBERS, project.pk)
    if role not in Role.values:
        raise Invalid(fields={"role": [f"Not a role. Use one of: {', '.join(Role.values)}."]})
    if user.service_of_id:
        _check_service(user, project, role)
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


def _check_service(user: User, project: Project, role: str) -> None:
    if user.service_of_id != project.pk:
        raise Invalid("A service account belongs to one project, and to no other.")
    if role == Role.OWNER:
        raise Invalid(fields={"role": ["A service account is no owner: that is a person's to be."]})


def create_service_account(project: Project, name: str, role: str, by: Actor) -> User:
    """An account for programs: a member of this project alone, with tokens, and neither password nor session.

    Its owners make it. ``AlreadyExists`` for a taken name, which it shares with people.
    """
    require(by, Can.MANAGE_MEMBERS, project.pk)
    user = User(username=name, service_of=project)
    user.set_unusable_password()
    _check_service(user, project, role)
    with field_errors():
        user.clean_fields()
    with transaction.atomic():
        _require_free_name(user)
        _save_new(user, f"There is a user named {name} already.")
        _lock(project)
        Membership.objects.create(project=project, user=user, role=role)
        record(project.pk, "service_account.created", by=by, of=("user", user.pk), username=name, role=role)
    return user


def remove_member(project: Project, user: User, by: Actor) -> None:
    """Take the user out of the project: its owners anybody, everybody themselves.

    A service account ends with it: it is made inactive, and its tokens are revoked.
    """
    require_self_or(by, Can.MANAGE_MEMBERS, user.pk, project.pk)
    with transaction.atomic():
        _lock(project)
        membership = Membership.objects.filter(project=project, user=user).first()
        if membership is None:
            raise NotFound(f"{user.username} is not a member of this project.")
        if membership.role == Role.OWNER:
            _require_another_owner(membership)
        membership.delete()
        if user.service_of_id:
            User.objects.filter(pk=user.pk).update(is_active=False)
            revoke_tokens_of(by, user=user)
        record(project.pk, "member.removed", by=by, of=("user", user.pk), username=user.username)


def _lock(project: Project) -> None:
    """Changes of a project's members take turns, so that two owners cannot remove each other at once."""
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)


def _require_another_owner(membership: Membership) -> None:
    owners = Membership.objects.filter(project_id=membership.project_id, role=Role.OWNER)
    if not owners.exclude(pk=membership.pk).exists():
        raise LastOwner()


def _require_free_name(user: User) -> None:
    """``Root`` beside ``root`` would pass for somebody else."""
    taken = User.objects.filter(username__iexact=user.username).exclude(pk=user.pk).first()
    if taken is not None:
        raise AlreadyExists(f"There is a user named {taken.username} already.")


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
