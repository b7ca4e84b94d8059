"""Service accounts: a project's own, for programs. Tokens, and nothing to sign in with."""

import pytest
from django.contrib.auth import authenticate
from django.db import IntegrityError, transaction
from django.test import Client

from agenthub_site.accounts.authentication import actor_of, actor_of_token
from agenthub_site.accounts.errors import AlreadyExists
from agenthub_site.accounts.models import Project, Role, Token, User
from agenthub_site.accounts.permissions import Can, may
from agenthub_site.accounts.services import add_member, create_service_account, edit_user, remove_member, set_password
from agenthub_site.accounts.tokens import create_token, find_token
from audit.models import AuditEvent
from nodes.contract.errors import Forbidden, Invalid, InvalidToken, NotFound
from tests.factories import PASSWORD, make_project, make_root

pytestmark = pytest.mark.django_db


@pytest.fixture
def account(project: Project, alice: User) -> User:
    return create_service_account(project, "ci", Role.DEVELOPER, actor_of(alice))


def test_an_owner_makes_one_with_a_token(account: User, project: Project, alice: User) -> None:
    token, secret = create_token(account, "nightly", actor_of(alice), scope="run")
    actor = actor_of_token(find_token(secret))
    assert may(actor, Can.START_RUN, project.pk) and not may(actor, Can.ANSWER_APPROVAL, project.pk)
    assert (token.project, actor.label) == (project, "ci")
    names = AuditEvent.objects.filter(project=project.pk).values_list("name", flat=True).order_by("number")
    assert list(names) == ["service_account.created", "token.created"]


def test_only_an_owner_makes_them_and_their_tokens(account: User, project: Project, bob: User, charlie: User) -> None:
    with pytest.raises(Forbidden):
        create_service_account(project, "deploy", Role.VIEWER, actor_of(bob))
    with pytest.raises(NotFound):
        create_service_account(project, "deploy", Role.VIEWER, actor_of(charlie))
    with pytest.raises(Forbidden):
        create_token(account, "mine", actor_of(bob))


def test_it_signs_in_nowhere(account: User) -> None:
    with pytest.raises(Invalid):
        set_password(account, PASSWORD, by=actor_of(make_root()))
    account.set_password(PASSWORD)  # as if somebody had got round that
    account.save()
    assert authenticate(username="ci", password=PASSWORD) is None
    client = Client(SERVER_NAME="localhost")
    client.force_login(account)
    assert client.get("/runs/").status_code == 302
    assert client.get("/api/v1/me/").status_code == 401


def test_it_is_nobodys_operator(account: User) -> None:
    with pytest.raises(Invalid):
        edit_user(account, by=actor_of(make_root()), is_superuser=True)
    with pytest.raises(IntegrityError), transaction.atomic():
        User.objects.filter(pk=account.pk).update(is_superuser=True)


def test_it_belongs_to_one_project_and_owns_none(account: User, project: Project, alice: User) -> None:
    by = actor_of(make_root())
    with pytest.raises(Invalid):
        add_member(make_project("pier"), account, Role.VIEWER, by)
    with pytest.raises(Invalid):
        add_member(project, account, Role.OWNER, by)
    with pytest.raises(Invalid):
        create_service_account(project, "boss", Role.OWNER, by)
    assert add_member(project, account, Role.VIEWER, actor_of(alice)).role == Role.VIEWER


def test_its_name_is_its_own(account: User, project: Project, alice: User) -> None:
    with pytest.raises(AlreadyExists):
        create_service_account(project, "bob", Role.VIEWER, actor_of(alice))
    with pytest.raises(Invalid):
        create_service_account(project, "no spaces", Role.VIEWER, actor_of(alice))


def test_it_ends_with_its_membership(account: User, project: Project, alice: User) -> None:
    _, secret = create_token(account, "nightly", actor_of(alice))
    remove_member(project, account, actor_of(alice))
    with pytest.raises(InvalidToken):
        find_token(secret)
    account.refresh_from_db()
    assert not account.is_active and Token.objects.get().revoked_at
