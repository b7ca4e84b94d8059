"""``/api/v1/teams/``: who may, what is told, what is in the trail."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from agenthub_site.accounts.models import Membership, Project, User
from agents.teams.models import Team
from audit.models import AuditEvent
from tests.api.clients import Api, refusal
from tests.factories import make_agent, make_project

TEAMS = "/api/v1/teams/"


@pytest.fixture
def made(as_alice: Api, project: Project) -> Any:
    make_agent("mender", project=project)
    answer = as_alice.post(
        TEAMS, {"project": project.slug, "slug": "docs", "name": "Manual", "members": ["user:bob", "mender"]}
    )
    assert answer.status_code == 201, answer.content
    return answer.json()


def who(team: Any) -> list[tuple[str, str]]:
    return [(member["kind"], member["name"]) for member in team["members"]]


def test_a_team_is_told_with_its_members_agents_first(as_bob: Api, made: Any) -> None:
    assert (made["project"], made["slug"], made["name"]) == ("harbour", "docs", "Manual")
    assert who(made) == [("agent", "mender"), ("user", "bob")]
    assert as_bob.get(f"{TEAMS}{made['id']}/").json() == made
    assert as_bob.get(f"{TEAMS}?project=harbour&slug=docs").json()["results"] == [made]
    assert as_bob.get(f"{TEAMS}?project=pier").json()["results"] == []


def test_every_change_is_in_the_trail_once(as_alice: Api, made: Any) -> None:
    one = f"{TEAMS}{made['id']}/"
    for _ in range(2):
        assert as_alice.patch(one, {"name": "Writers"}).json()["name"] == "Writers"
        added = as_alice.post(f"{one}add-members/", {"members": ["alice", "mender"]}).json()
        assert who(added) == [("agent", "mender"), ("user", "alice"), ("user", "bob")]
    assert who(as_alice.post(f"{one}remove-members/", {"members": ["alice", "bob"]}).json()) == [("agent", "mender")]
    assert as_alice.delete(one).status_code == 204
    events = AuditEvent.objects.filter(name__startswith="team.").order_by("number").values_list("name", flat=True)
    assert list(events) == [
        "team.created", "team.edited", "team.members_added", "team.members_removed", "team.deleted",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        ({"slug": "all"}, (400, "invalid")),
        ({"slug": "A B"}, (400, "invalid")),
        ({"slug": "x", "name": "a\nb"}, (400, "invalid")),
        ({"slug": "x", "members": ["ghost"]}, (404, "unknown_member")),
        ({"slug": "x", "members": ["charlie"]}, (404, "unknown_member")),
        ({"slug": "x", "members": ["a"] * 101}, (400, "invalid")),
        ({"slug": "x", "more": 1}, (400, "invalid")),
        ({"slug": "docs"}, (409, "team_exists")),
    ],
)
def test_what_does_not_fit_is_refused_whole(
    as_alice: Api, project: Project, made: Any, body: Any, refused: tuple[int, str]
) -> None:
    assert refusal(as_alice.post(TEAMS, {"project": project.slug, **body})) == refused
    assert Team.objects.count() == 1


def test_maintainers_manage_developers_see_strangers_find_nothing(
    as_bob: Api, as_charlie: Api, made: Any, project: Project, bob: User
) -> None:
    one, body = f"{TEAMS}{made['id']}/", {"members": ["user:alice"]}
    assert refusal(as_bob.post(f"{one}add-members/", body))[0] == 403
    assert refusal(as_bob.delete(one))[0] == 403
    assert as_charlie.get(TEAMS).json()["results"] == []
    assert refusal(as_charlie.post(f"{one}add-members/", body))[0] == refusal(as_charlie.get(one))[0] == 404
    Membership.objects.filter(project=project, user=bob).update(role="maintainer")
    assert as_bob.post(f"{one}add-members/", body).status_code == 200


def test_a_repeat_with_its_key_makes_one_team(as_alice: Api, project: Project) -> None:
    body = {"project": project.slug, "slug": "docs"}
    first, again = (as_alice.post(TEAMS, body, headers={"idempotency-key": "k"}).json() for _ in range(2))
    assert first == again and Team.objects.count() == 1


def test_the_list_takes_as_many_queries_however_long_it_is(as_alice: Api, made: Any, alice: User) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert as_alice.get(TEAMS).status_code == 200
        return len(captured)

    queries()
    of_one = queries()
    pier = make_project("pier", owner=alice)
    make_agent("other", project=pier)
    for number in range(5):
        as_alice.post(TEAMS, {"project": "pier", "slug": f"t-{number}", "members": ["other", "alice"]})
    assert queries() == of_one
