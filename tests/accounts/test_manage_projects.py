"""Projects, members and people: who may change them, and what is refused."""

from dataclasses import replace

import pytest

from agenthub_site.accounts.authentication import actor_of
from agenthub_site.accounts.errors import AlreadyExists, LastOwner
from agenthub_site.accounts.models import Membership, Project, Role, User
from agenthub_site.accounts.permissions import Can, require
from agenthub_site.accounts.services import (
    add_member,
    create_project,
    create_user,
    edit_project,
    edit_user,
    remove_member,
    set_password,
)
from audit.models import AuditEvent
from nodes.contract.errors import Forbidden, Invalid, NotFound
from tests.factories import PASSWORD


def names() -> list[str]:
    return list(AuditEvent.objects.order_by("id").values_list("name", flat=True))


def test_who_makes_a_project_owns_it(root: User) -> None:
    project = create_project("pier", "Pier", actor_of(root))
    assert Membership.objects.get(project=project).role == Role.OWNER
    assert names() == ["project.created"]


def test_only_root_makes_projects(alice: User) -> None:
    with pytest.raises(Forbidden):
        create_project("pier", "Pier", actor_of(alice))
    assert not Project.objects.exists()


def test_a_taken_slug_is_a_conflict_and_a_bad_one_is_named(root: User, project: Project) -> None:
    with pytest.raises(AlreadyExists):
        create_project(project.slug, "Again", actor_of(root))
    for slug in ("no spaces", "--json", "-"):
        with pytest.raises(Invalid) as refused:
            create_project(slug, "Again", actor_of(root))
        assert list(refused.value.data["fields"]) == ["slug"]


def test_a_change_is_recorded_once_and_no_change_is_not(alice: User, project: Project) -> None:
    edit_project(project, by=actor_of(alice), name="Harbour East")
    edit_project(project, by=actor_of(alice), name="Harbour East")
    assert names() == ["project.edited"]


def test_a_slug_cannot_be_changed(alice: User, project: Project) -> None:
    with pytest.raises(Invalid):
        edit_project(project, by=actor_of(alice), slug="other")


def test_an_owner_adds_changes_and_removes_members(alice: User, charlie: User, project: Project) -> None:
    add_member(project, charlie, Role.VIEWER, actor_of(alice))
    add_member(project, charlie, Role.REVIEWER, actor_of(alice))
    assert project.memberships.get(user=charlie).role == Role.REVIEWER
    remove_member(project, charlie, actor_of(alice))
    assert names() == ["member.added", "member.role_changed", "member.removed"]


def test_a_developer_manages_no_members_but_may_leave(bob: User, charlie: User, project: Project) -> None:
    with pytest.raises(Forbidden):
        add_member(project, charlie, Role.VIEWER, actor_of(bob))
    remove_member(project, bob, actor_of(bob))
    assert not project.memberships.filter(user=bob).exists()


def test_an_outsider_is_told_of_no_project(bob: User, charlie: User, project: Project) -> None:
    with pytest.raises(NotFound):
        add_member(project, bob, Role.OWNER, actor_of(charlie))


def test_the_last_owner_stays(alice: User, root: User, project: Project) -> None:
    with pytest.raises(LastOwner):
        remove_member(project, alice, actor_of(root))
    with pytest.raises(LastOwner):
        add_member(project, alice, Role.VIEWER, actor_of(alice))
    assert project.memberships.get(user=alice).role == Role.OWNER


def test_root_makes_people_with_passwords_that_hold(root: User) -> None:
    user = create_user("dora", by=actor_of(root), password=PASSWORD)
    assert user.check_password(PASSWORD)
    with pytest.raises(Invalid):
        create_user("emil", by=actor_of(root), password="12345")
    with pytest.raises(AlreadyExists):
        create_user("dora", by=actor_of(root))
    with pytest.raises(AlreadyExists):
        create_user("Dora", by=actor_of(root))
    other = create_user("Emil", by=actor_of(root))
    with pytest.raises(AlreadyExists):
        edit_user(other, by=actor_of(root), username="DORA")
    assert edit_user(other, by=actor_of(root), username="emil").username == "emil"


def test_what_is_the_hubs_is_refused_without_talk_of_a_project(alice: User, project: Project) -> None:
    with pytest.raises(Forbidden, match="only a root operator"):
        require(actor_of(alice), Can.MANAGE_USERS)
    with pytest.raises(Forbidden, match="only a root operator"):
        require(actor_of(alice), Can.VIEW_AUDIT)
    with pytest.raises(Forbidden, match="it takes the role maintainer or above"):
        require(replace(actor_of(alice), roles={project.pk: Role.VIEWER}), Can.EDIT_POLICY, project.pk)


def test_nobody_else_makes_people(alice: User) -> None:
    with pytest.raises(Forbidden):
        create_user("dora", by=actor_of(alice))


def test_people_change_their_own_password_only(alice: User, bob: User) -> None:
    set_password(alice, PASSWORD, by=actor_of(alice))
    assert alice.check_password(PASSWORD)
    with pytest.raises(Forbidden):
        set_password(alice, "another horse entirely", by=actor_of(bob))
