"""``/api/v1/audit/``: who may read which trail, what it can be narrowed to, and taking it away."""

import json
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, transaction
from django.test import AsyncClient
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from agenthub_site.accounts.actors import SYSTEM, Actor, ActorKind
from agenthub_site.accounts.models import Project, User
from audit.models import AuditEvent
from audit.proof.verify import verify
from audit.sealer import Sealer
from audit.services import Fact, record, record_all
from nodes.contract.ids import new_id
from tests.api.clients import Api, refusal
from tests.factories import make_project, make_token, make_user
from tests.plans import know, plans_of

PATH = "/api/v1/audit/"
MALLORY = Actor(ActorKind.USER, "m-1", "mallory", address="10.6.6.6", user_agent="curl/8")


@pytest.fixture
def trail(project: Project) -> dict[str, Any]:
    """Something of the project, of another one, and of none."""
    ids = {"run": new_id(), "node": new_id(), "approval": new_id()}
    other = make_project("lighthouse", owner=make_user("otto"))
    with transaction.atomic():
        record(project.pk, "run.queued", by=SYSTEM, of=("run", ids["run"]), **ids, artifact="a" * 64, note="a needle")
        record(project.pk, "member.added", by=MALLORY, of=("user", "u-1"))
        record(other.pk, "run.queued", by=SYSTEM)
        record(None, "node.revoked", by=SYSTEM)
    return {**ids, "other": other}


def names(response: Any) -> list[str]:
    assert response.status_code == 200, response.content
    return [event["name"] for event in response.json()["results"]]


def test_an_owner_reads_the_trail_of_her_project_alone(trail: dict[str, Any], as_alice: Api, as_root: Api) -> None:
    assert names(as_alice.get(PATH)) == ["member.added", "run.queued"]
    assert {*names(as_root.get(PATH))} == {"member.added", "run.queued", "node.revoked"}


def test_a_developer_reads_none_and_is_told_why(trail: dict[str, Any], as_bob: Api, as_charlie: Api) -> None:
    assert names(as_bob.get(PATH)) == []
    assert refusal(as_bob.get(PATH, {"project": "harbour"})) == (403, "forbidden")
    assert refusal(as_charlie.get(PATH, {"project": "harbour"})) == (404, "not_found")
    assert refusal(as_bob.get(PATH, {"project": "instance"})) == (403, "forbidden")


def test_one_entry_of_a_foreign_project_is_not_there(trail: dict[str, Any], as_alice: Api, as_root: Api) -> None:
    foreign = as_root.get(PATH, {"project": "lighthouse"}).json()["results"][0]
    assert refusal(as_alice.get(f"{PATH}{foreign['id']}/")) == (404, "not_found")
    assert as_root.get(f"{PATH}{foreign['id']}/").json() == foreign


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"project": "harbour"}, ["member.added", "run.queued"]),
        ({"name": "run."}, ["run.queued"]),
        ({"actor": "mallory"}, ["member.added"]),
        ({"actor": "user:m-1"}, ["member.added"]),
        ({"actor": "system"}, ["run.queued"]),
        ({"object": "user:u-1"}, ["member.added"]),
        ({"address": "10.6.6.6"}, ["member.added"]),
        ({"artifact": "a" * 64}, ["run.queued"]),
        ({"q": "NEEDLE"}, ["run.queued"]),
        ({"since": "2099-01-01T00:00:00Z"}, []),
        ({"since": "0001-01-01T00:00:00Z", "limit": "1"}, ["member.added"]),
        ({"until": "9999-12-31T23:59:59Z", "limit": "1"}, ["member.added"]),
        ({"since": "0001-01-01T00:00:00+09:00", "limit": "1"}, ["member.added"]),
        ({"until": "9999-12-31T23:59:59-09:00", "limit": "1"}, ["member.added"]),
        ({"until": "0001-01-01T00:00:00+09:00"}, []),
        ({"until": "2001-01-01T00:00:00Z"}, []),
        ({"until": "2099-01-01T00:00:00Z", "limit": "1"}, ["member.added"]),
    ],
)
def test_it_can_be_narrowed(trail: dict[str, Any], as_alice: Api, query: dict[str, str], expected: list[str]) -> None:
    assert names(as_alice.get(PATH, query)) == expected


def test_it_can_be_narrowed_to_a_run_a_node_or_an_approval(trail: dict[str, Any], as_alice: Api) -> None:
    for of in (str(trail["run"]), f"run:{trail['run']}", "run"):
        assert names(as_alice.get(PATH, {"object": of})) == ["run.queued"]
    for field in ("run", "node", "approval"):
        assert names(as_alice.get(PATH, {field: str(trail[field])})) == ["run.queued"]


@pytest.mark.parametrize(
    ("field", "index"),
    [("run", "audit_of_a_run"), ("approval", "audit_of_an_approval"), ("object", "audit_of_an_object")],
)
def test_what_is_asked_of_one_thing_is_found_by_an_index(
    trail: dict[str, Any], project: Project, as_alice: Api, field: str, index: str
) -> None:
    """Also where the trail of one project has an index of its own, in the order that is asked for."""
    with transaction.atomic():
        ids = [new_id() for _ in range(500)]
        record_all([Fact(project.pk, "run.queued", of=("run", pk), run=pk, approval=pk) for pk in ids], by=SYSTEM)
    know(AuditEvent)
    wanted = str(trail["run" if field == "object" else field])
    plans = plans_of(lambda: as_alice.get(PATH, {field: wanted}))
    assert [plan for plan in plans if index in plan]


def test_what_is_older_or_newer_than_asked_is_not_gone_through(project: Project, as_root: Api) -> None:
    with CaptureQueriesContext(connection) as queries:
        as_root.get(PATH, {"since": "2026-11-10T00:00:00Z", "until": "2026-11-12T00:00:00Z"})
    (asked,) = [query["sql"] for query in queries if "audit_auditevent" in query["sql"]]
    assert '"audit_auditevent"."id" >= ' in asked
    assert '"audit_auditevent"."id" < ' in asked


def test_a_page_costs_the_same_whatever_is_on_it(
    trail: dict[str, Any], as_alice: Api, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_max_num_queries(5):
        as_alice.get(PATH)


def test_it_is_not_written_to(trail: dict[str, Any], as_root: Api) -> None:
    assert refusal(as_root.post(PATH, {})) == (405, "method_not_allowed")
    assert refusal(as_root.delete(f"{PATH}{new_id()}/")) == (405, "method_not_allowed")


def test_the_latest_checkpoint_can_be_taken_elsewhere(
    trail: dict[str, Any], as_root: Api, as_alice: Api, tmp_path: Any
) -> None:
    assert refusal(as_root.get(f"{PATH}checkpoint"))[0] == 404
    Sealer(tmp_path).tick(timezone.now())
    assert as_root.get(f"{PATH}checkpoint").json()["serial"] >= 3
    assert as_alice.get(f"{PATH}checkpoint?project=harbour").json()["last"] == 2
    assert refusal(as_alice.get(f"{PATH}checkpoint")) == (403, "forbidden")


@pytest.mark.django_db(transaction=True)
async def test_an_export_verifies_by_itself(alice: User, trail: dict[str, Any]) -> None:
    status, lines = await _export(alice, "?project=harbour")
    assert status == 200
    report = verify(lines)
    assert report.is_whole and (report.events, report.unsealed) == (2, 2)
    events = [json.loads(line) for line in lines if b'"type":"event"' in line]
    assert [event["name"] for event in events] == ["run.queued", "member.added"]
    assert verify((await _export(alice, "?project=harbour&after=1"))[1]).events == 1


@pytest.mark.django_db(transaction=True)
async def test_everything_is_exported_to_root_alone(alice: User, root: User, trail: dict[str, Any]) -> None:
    assert (await _export(alice, ""))[0] == 403
    assert verify((await _export(root, ""))[1]).events == 5  # the refusal among them
    assert (await _export(root, "?after=3"))[0] == 400


async def _export(user: User, query: str) -> tuple[int, list[bytes]]:
    token = await sync_to_async(make_token)(user, name=str(new_id()))
    response: Any = await AsyncClient(SERVER_NAME="localhost").get(
        f"{PATH}export{query}", headers={"Authorization": f"Bearer {token}"}
    )
    if response.status_code != 200:
        return response.status_code, []
    return 200, b"".join([part async for part in response.streaming_content]).splitlines()
