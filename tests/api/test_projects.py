"""``/api/v1/projects/`` and their members."""

from typing import Any

import pytest

from agenthub_site.accounts.models import Membership, Project, Role, User
from nodes.contract.ids import new_id
from tests.api.clients import Api, refusal
from tests.factories import make_project, make_user

PROJECTS = "/api/v1/projects/"


def test_everybody_sees_their_own_projects(as_bob: Api, as_charlie: Api, as_root: Api, project: Project) -> None:
    make_project("pier")
    assert [(p["slug"], p["role"]) for p in as_bob.get(PROJECTS).json()["results"]] == [("harbour", "developer")]
    assert as_charlie.get(PROJECTS).json()["results"] == []
    assert len(as_root.get(PROJECTS).json()["results"]) == 2


def test_root_makes_a_project_and_owns_it(as_root: Api) -> None:
    response = as_root.post(PROJECTS, {"slug": "pier", "name": "Pier"})
    assert (response.status_code, response.json()["role"]) == (201, "owner")


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ({"slug": "harbour", "name": "Again"}, (409, "already_exists")),
        ({"slug": "no spaces", "name": "Pier"}, (400, "invalid")),
        ({"slug": "pier"}, (400, "invalid")),
        ({"slug": "pier", "name": "Pier", "owner": "alice"}, (400, "invalid")),
    ],
)
def test_a_project_that_does_not_fit_is_refused(
    as_root: Api, project: Project, body: Any, answer: tuple[int, str]
) -> None:
    assert refusal(as_root.post(PROJECTS, body)) == answer
    assert Project.objects.count() == 1


def test_an_owner_makes_no_projects(as_alice: Api, project: Project) -> None:
    assert refusal(as_alice.post(PROJECTS, {"slug": "pier", "name": "Pier"})) == (403, "forbidden")


def test_an_owner_renames_a_project_and_a_developer_does_not(as_alice: Api, as_bob: Api, project: Project) -> None:
    url = f"{PROJECTS}{project.pk}/"
    assert as_alice.patch(url, {"name": "Harbour East"}).json()["name"] == "Harbour East"
    assert refusal(as_bob.patch(url, {"name": "Bob's"})) == (403, "forbidden")
    assert refusal(as_alice.patch(url, {"slug": "east"})) == (400, "invalid")


def test_an_outsider_finds_no_project(as_charlie: Api, project: Project) -> None:
    url = f"{PROJECTS}{project.pk}/"
    for response in (as_charlie.get(url), as_charlie.patch(url, {"name": "x"}), as_charlie.get(f"{url}members/")):
        assert refusal(response) == (404, "not_found")


def test_members_come_change_and_go(as_alice: Api, charlie: User, project: Project) -> None:
    url = f"{PROJECTS}{project.pk}/members/"
    assert as_alice.post(url, {"user": "charlie", "role": "viewer"}).status_code == 201
    assert as_alice.post(url, {"user": "charlie", "role": "reviewer"}).json()["role"] == "reviewer"
    listed = {member["username"]: member["role"] for member in as_alice.get(url).json()["results"]}
    assert listed == {"alice": "owner", "bob": "developer", "charlie": "reviewer"}
    assert as_alice.delete(f"{url}{charlie.pk}/").status_code == 204
    assert not Membership.objects.filter(user=charlie).exists()


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ({"user": "ghost", "role": "viewer"}, (400, "invalid")),
        ({"user": "charlie", "role": "captain"}, (400, "invalid")),
        ({"user": "alice", "role": "viewer"}, (409, "last_owner")),
    ],
)
def test_a_member_that_does_not_fit_is_refused(
    as_alice: Api, project: Project, body: Any, answer: tuple[int, str]
) -> None:
    assert refusal(as_alice.post(f"{PROJECTS}{project.pk}/members/", body)) == answer


def test_who_is_no_member_cannot_be_removed(as_alice: Api, project: Project) -> None:
    assert refusal(as_alice.delete(f"{PROJECTS}{project.pk}/members/{new_id()}/")) == (404, "not_found")


@pytest.mark.parametrize("role", [Role.MAINTAINER, Role.DEVELOPER, Role.REVIEWER, Role.VIEWER])
def test_owners_alone_choose_members_and_names_of_users_are_not_told(project: Project, role: str) -> None:
    make_project(dora=role)
    as_dora, url = Api(make_user("dora")), f"{PROJECTS}{project.pk}/members/"
    assert as_dora.get(url).status_code == 200
    for username in ("charlie", "ghost"):
        assert refusal(as_dora.post(url, {"user": username, "role": "viewer"})) == (403, "forbidden")


def test_a_list_takes_the_same_queries_however_long(as_root: Api, django_assert_num_queries: Any) -> None:
    for number in range(5):
        make_project(f"project-{number}")
    as_root.get(PROJECTS)
    with django_assert_num_queries(3):  # token, roles, projects
        assert len(as_root.get(PROJECTS).json()["results"]) == 5


def test_a_list_of_members_takes_the_same_queries_however_long(
    as_alice: Api, project: Project, django_assert_num_queries: Any
) -> None:
    make_project(dora="viewer", emil="viewer", frida="viewer")
    as_alice.get(f"{PROJECTS}{project.pk}/members/")
    with django_assert_num_queries(4):  # token, roles, project, members
        assert len(as_alice.get(f"{PROJECTS}{project.pk}/members/").json()["results"]) == 5


def test_me_says_who_i_am(as_bob: Api, project: Project, bob: User) -> None:
    me = as_bob.get("/api/v1/me/").json()
    assert "run:start" in me.pop("token")["scope"]
    assert me == {
        "id": str(bob.pk),
        "kind": "user",
        "username": "bob",
        "email": "bob@example.org",
        "is_root": False,
        "projects": [{"id": str(project.pk), "slug": "harbour", "name": "Harbour", "role": "developer"}],
    }
