"""Invitations: a link that makes somebody a member, once, by the word of an owner who is one still."""

from datetime import timedelta

import pytest
from django.core.cache import cache
from django.utils import timezone

from agenthub_site.accounts.authentication import actor_of
from agenthub_site.accounts.errors import AlreadyExists
from agenthub_site.accounts.invitations import (
    accept_invitation,
    accept_with_new_account,
    find_invitation,
    invite,
    revoke_invitation,
)
from agenthub_site.accounts.models import Invitation, Membership, Project, Role, User
from agenthub_site.accounts.services import add_member
from audit.models import AuditEvent
from nodes.contract.errors import Forbidden, Invalid, NotFound
from tests.api.clients import Api, refusal
from tests.factories import PASSWORD, make_root

pytestmark = pytest.mark.django_db


def test_an_owner_invites_and_somebody_comes_once(project: Project, alice: User, charlie: User) -> None:
    invitation, secret = invite(project, Role.REVIEWER, actor_of(alice))
    assert secret not in str(vars(invitation))
    assert accept_invitation(secret, charlie, actor_of(charlie)).role == Role.REVIEWER
    with pytest.raises(NotFound):
        accept_invitation(secret, make_root(), actor_of(make_root()))
    names = AuditEvent.objects.filter(project=project.pk).order_by("number").values_list("name", flat=True)
    assert list(names) == ["invitation.created", "invitation.accepted"]


def test_only_owners_invite(project: Project, bob: User, charlie: User) -> None:
    with pytest.raises(Forbidden):
        invite(project, Role.VIEWER, actor_of(bob))
    with pytest.raises(NotFound):
        invite(project, Role.VIEWER, actor_of(charlie))


def test_a_new_account_has_the_password_and_the_address_of_the_invitation(project: Project, alice: User) -> None:
    _, secret = invite(project, Role.DEVELOPER, actor_of(alice), email="dora@example.org")
    with pytest.raises(Invalid):
        accept_with_new_account(secret, "dora", "12345")
    dora = accept_with_new_account(secret, "dora", PASSWORD)
    assert dora.check_password(PASSWORD) and dora.email == "dora@example.org" and not dora.is_superuser
    assert Membership.objects.get(user=dora).role == Role.DEVELOPER


def test_an_invitation_for_an_address_is_for_no_other(project: Project, alice: User, charlie: User) -> None:
    _, secret = invite(project, Role.VIEWER, actor_of(alice), email="dora@example.org")
    with pytest.raises(Forbidden):
        accept_invitation(secret, charlie, actor_of(charlie))
    assert Invitation.objects.get().accepted_at is None


def test_what_is_withdrawn_or_late_or_of_a_former_owner_leads_nowhere(project: Project, alice: User, bob: User) -> None:
    withdrawn, first = invite(project, Role.VIEWER, actor_of(alice))
    revoke_invitation(withdrawn, actor_of(alice))
    late, second = invite(project, Role.VIEWER, actor_of(alice))
    Invitation.objects.filter(pk=late.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    _, third = invite(project, Role.OWNER, actor_of(alice))
    add_member(project, bob, Role.OWNER, actor_of(alice))
    add_member(project, alice, Role.VIEWER, actor_of(bob))
    for secret in (first, second, third, "nonsense"):
        with pytest.raises(NotFound):
            find_invitation(secret)


def test_a_member_does_not_use_one_up(project: Project, alice: User, bob: User) -> None:
    _, secret = invite(project, Role.OWNER, actor_of(alice))
    with pytest.raises(AlreadyExists):
        accept_invitation(secret, bob, actor_of(bob))
    assert find_invitation(secret)


@pytest.mark.parametrize("days", [0, 31])
def test_it_is_good_for_a_month_at_most(project: Project, alice: User, days: int) -> None:
    with pytest.raises(Invalid):
        invite(project, Role.VIEWER, actor_of(alice), days=days)


def test_it_is_told_once_and_accepted_over_rest(alice: User, charlie: User, project: Project) -> None:
    as_alice, as_charlie, as_nobody = Api(alice), Api(charlie), Api()
    cache.clear()
    address = f"/api/v1/projects/{project.slug}/invitations/"
    made = as_alice.post(address, {"role": "viewer"}).json()
    assert made["token"] not in as_alice.get(address).content.decode()
    accept = "/api/v1/invitations/accept/"
    assert refusal(as_nobody.post(accept, {"token": made["token"]})) == (401, "unauthenticated")
    assert as_charlie.post(accept, {"token": made["token"]}).json()["role"] == "viewer"
    another = as_alice.post(address, {"role": "viewer"}).json()["token"]
    new = {"token": another, "username": "dora", "password": PASSWORD}
    assert as_nobody.post(accept, new).json()["username"] == "dora"


def test_tries_are_bounded() -> None:
    as_nobody = Api()
    cache.clear()
    statuses = [as_nobody.post("/api/v1/invitations/accept/", {"token": "x"}).status_code for _ in range(21)]
    assert statuses == [404] * 20 + [429]
    cache.clear()
