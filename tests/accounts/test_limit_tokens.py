"""What a token may at most: its scope, its project, its time; and nothing made with it has more."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from agenthub_site.accounts.actors import Actor, ActorKind
from agenthub_site.accounts.authentication import actor_of, actor_of_token
from agenthub_site.accounts.errors import OutOfScope
from agenthub_site.accounts.invitations import accept_invitation
from agenthub_site.accounts.models import Project, Role, Token, User
from agenthub_site.accounts.permissions import Can, may, require
from agenthub_site.accounts.scopes import SCOPES, capabilities_of, clean_scope
from agenthub_site.accounts.services import create_project, edit_user, remove_member, set_password
from agenthub_site.accounts.tokens import create_token, find_token, revoke_token, visible_tokens
from agents.usage.models import Budget
from mailboxes.services import Address, send
from nodes.contract.errors import Forbidden, Invalid, InvalidToken, NotFound
from tests.api.clients import Api, refusal
from tests.factories import PASSWORD, make_project, make_root, make_token

pytestmark = pytest.mark.django_db


def holding(user: User, **fields: Any) -> Actor:
    """The user, come by a token with these fields."""
    return actor_of_token(find_token(make_token(user, name=f"held {len(fields)} {fields}"[:64], **fields)))


def test_a_token_of_read_reads_and_does_nothing(alice: User, project: Project) -> None:
    actor = holding(alice, scope="read")
    assert may(actor, Can.VIEW, project.pk) and not may(actor, Can.START_RUN, project.pk)
    with pytest.raises(OutOfScope):
        require(actor, Can.START_RUN, project.pk)


def test_a_scope_gives_nothing_that_the_role_has_not(bob: User, project: Project) -> None:
    assert not may(holding(bob, scope="all"), Can.MANAGE_MEMBERS, project.pk)


def test_roots_token_is_bound_by_its_scope_as_well(project: Project) -> None:
    root = make_root()
    with pytest.raises(OutOfScope):
        create_project("pier", "Pier", holding(root, scope="run"))
    with pytest.raises(OutOfScope):
        require(holding(root, scope="read"), Can.EDIT_PROJECT, project.pk)
    with pytest.raises(Forbidden):
        create_token(project.members.get(username="bob"), "x", holding(root, scope="read"))


def test_a_token_of_one_project_sees_no_other(alice: User, project: Project) -> None:
    pier = make_project("pier", owner=alice)
    actor = holding(alice, project=pier)
    assert list(Project.objects.visible_to(actor)) == [pier]
    with pytest.raises(NotFound):
        require(actor, Can.VIEW, project.pk)


def test_roots_token_of_one_project_is_as_good_as_its_owners(project: Project) -> None:
    actor = holding(make_root(), project=project)
    assert may(actor, Can.MANAGE_MEMBERS, project.pk) and not actor.sees_all
    assert not may(actor, Can.MANAGE_USERS)


def test_a_token_is_useless_once_its_person_has_left_the_project(bob: User, project: Project) -> None:
    secret = make_token(bob, project=project)
    remove_member(project, bob, actor_of(bob))
    assert not actor_of_token(find_token(secret)).roles


def test_a_token_is_useless_once_its_person_is_inactive(bob: User) -> None:
    secret = make_token(bob)
    edit_user(bob, by=actor_of(make_root()), is_active=False)
    with pytest.raises(InvalidToken):
        find_token(secret)


@pytest.mark.parametrize("scope", ["read", "run", "answer", "run:start"])
def test_what_concerns_oneself_takes_a_scope_as_well(bob: User, project: Project, scope: str) -> None:
    actor = holding(bob, scope=scope)
    with pytest.raises(OutOfScope):
        set_password(bob, PASSWORD, by=actor)
    with pytest.raises(OutOfScope):
        create_token(bob, "another", actor)
    with pytest.raises(OutOfScope):
        remove_member(project, bob, actor)
    with pytest.raises(Forbidden):
        revoke_token(Token.objects.get(), actor)


def test_a_token_makes_none_that_is_wider(alice: User, project: Project) -> None:
    soon = timezone.now() + timedelta(days=1)
    actor = holding(alice, scope="run token:manage", expires_at=soon, project=project)
    for wider in (
        {"scope": "all"}, {"scope": "answer"}, {"expires_at": soon + timedelta(seconds=1)},
        {"project": make_project("pier", owner=alice)},
    ):  # fmt: skip
        with pytest.raises(Invalid):
            create_token(alice, "wider", actor, **wider)
    made, _ = create_token(alice, "as wide", actor)
    assert (made.scope, made.expires_at, made.project) == ("run token:manage", soon, project)
    assert create_token(alice, "less", actor, scope="read")[0].scope == "read"


def test_what_was_made_with_a_token_goes_with_it(alice: User) -> None:
    first, secret = create_token(alice, "first", actor_of(alice))
    _, second = create_token(alice, "second", actor_of_token(find_token(secret)))
    _, third = create_token(alice, "third", actor_of_token(find_token(second)))
    stale = actor_of_token(find_token(third))
    revoke_token(first, actor_of(alice))
    for each in (second, third):
        with pytest.raises(InvalidToken):
            find_token(each)
    with pytest.raises(InvalidToken):
        create_token(alice, "fourth", stale)


def test_a_token_of_a_project_takes_a_member(charlie: User, project: Project) -> None:
    with pytest.raises(Invalid):
        create_token(charlie, "x", actor_of(charlie), project=project)


@pytest.mark.parametrize("scope", ["", " ", "everything", "run:start no:such", "\x00"])
def test_a_scope_that_does_not_exist_is_refused(scope: str) -> None:
    with pytest.raises(Invalid):
        clean_scope(scope)


def test_scopes_are_words() -> None:
    assert clean_scope("run:start, read read") == "read run:start"
    assert clean_scope("read all") == "all"
    assert capabilities_of("run:start") == {Can.VIEW, Can.START_RUN}
    assert capabilities_of("all") == SCOPES["all"] == set(Can) - {Can.USE_HUB_TOOLS}
    assert clean_scope("hub:tools all") == "all hub:tools"
    assert capabilities_of("all hub:tools") == set(Can)


def test_an_agents_actor_has_no_tokens_of_others_in_sight(alice: User, project: Project) -> None:
    make_token(alice)
    agent = Actor(ActorKind.AGENT, "0199a1b2-0000-7000-8000-00000000abcd", roles={project.pk: "agent"})
    assert not visible_tokens(agent).exists()


def test_an_owner_sees_the_tokens_of_service_accounts_and_others_do_not(project: Project, alice: User) -> None:
    account = User.objects.create(username="ci", service_of=project)
    make_token(account)
    assert visible_tokens(actor_of(alice)).count() == 1
    member = make_project(owner=alice, mia=Role.MAINTAINER).members.get(username="mia")
    assert not visible_tokens(actor_of(member)).exists()


def test_roots_narrow_token_reads_neither_the_trail_nor_budgets_nor_mail(project: Project) -> None:
    api = Api()
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {make_token(make_root(), scope='run:start')}")
    Budget.objects.create(project=project, unit="tokens", amount=1, created_by="root")
    assert api.get("/api/v1/audit/").json()["results"] == []
    assert refusal(api.get("/api/v1/audit/export?project=instance")) == (403, "out_of_scope")
    assert api.get("/api/v1/budgets/").json()["results"] == []
    message = send(project.pk, Address("system", "system"), [Address("system", "other")], "secret").message_id
    assert refusal(api.get(f"/api/v1/messages/{message}/")) == (403, "out_of_scope")


def test_a_token_of_one_project_manages_no_other_tokens_and_accepts_no_invitation(alice: User) -> None:
    pier = make_project("pier", owner=alice)
    wide, _ = create_token(alice, "wide", actor_of(alice))
    actor = holding(alice, project=pier)
    assert wide not in visible_tokens(actor)
    with pytest.raises(NotFound):
        revoke_token(wide, actor)
    with pytest.raises(Forbidden, match="in the browser"):
        accept_invitation("x", alice, actor)
