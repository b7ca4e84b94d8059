"""Operators work by REST: tasks, rounds, limits, and agents with tokens of their own."""

from datetime import timedelta
from typing import Any

import pytest
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agenthub_site.accounts.actors import SYSTEM
from agenthub_site.accounts.authentication import actor_of_token
from agenthub_site.accounts.models import Project, Token, User
from agenthub_site.accounts.tokens import create_agent_token, find_token
from agents.coordination.models import Limits, Review, Round
from agents.coordination.services.assignments import Work, claim_assignment, complete_assignment
from agents.coordination.services.rounds import review_round
from agents.models import Agent
from agents.services.agents import archive_agent
from agents.services.importing import TRIES
from audit.models import AuditEvent
from mailboxes.services import Address, inbox
from nodes.contract.errors import InvalidToken
from tests.api.clients import Api, refusal

from .conftest import Crew, make_external

REVOKE = "/api/v1/agents/revoke-unlisted/"
TASKS, ROUNDS, IMPORT = "/api/v1/tasks/", "/api/v1/rounds/", "/api/v1/agents/import/"
LIMITS = "/api/v1/projects/harbour/limits/"


@pytest.fixture
def as_bob(bob: User) -> Api:
    return Api(bob)


@pytest.fixture
def as_alice(alice: User) -> Api:
    return Api(alice)


def test_a_person_begins_a_task_for_an_agent_to_plan(crew: Crew, as_bob: Api) -> None:
    body = {"project": "harbour", "key": "T-1", "title": "Mend", "dispatcher": "ada"}
    made = as_bob.post(TASKS, body, format="json")
    assert (made.status_code, made.json()["state"], made.json()["created_by"]) == (201, "draft", "bob")
    assert crew.plan(task=crew.agent("ada").tasks.get()).number == 1
    assert refusal(as_bob.post(TASKS, {**body, "title": "Other"}, format="json")) == (409, "task_exists")
    assert refusal(as_bob.post(TASKS, {**body, "dispatcher": "nobody"}, format="json")) == (400, "invalid")
    assert refusal(as_bob.post(TASKS, {**body, "colour": "red"}, format="json")) == (400, "invalid")


def test_an_operator_approves_and_sees_what_came_of_it(crew: Crew, as_bob: Api) -> None:
    round_ = crew.plan()
    (waiting,) = as_bob.get(ROUNDS, {"state": "awaiting_operator_approval"}).json()["results"]
    assert (waiting["id"], waiting["task_key"], waiting["number"]) == (str(round_.pk), "T-1", 1)
    approved = as_bob.post(f"{ROUNDS}{round_.pk}/approve/", {"note": "Go."}, format="json").json()
    assert (approved["state"], approved["decided_by"], approved["operator_note"]) == ("dispatched", "bob", "Go.")
    again = as_bob.post(f"{ROUNDS}{round_.pk}/reject/", {}, format="json")
    assert refusal(again) == (409, "round_not_awaiting_approval")
    assignment = round_.assignments.get()
    claim_assignment(assignment, by=crew.wim)
    complete_assignment(assignment, Work(branch="nets"), by=crew.wim)
    (shown,) = as_bob.get(f"{ROUNDS}{round_.pk}/").json()["assignments"]
    assert (shown["agent"], shown["state"], shown["handoff"]["branch"]) == ("wim", "completed", "nets")


def test_a_round_is_rejected_and_a_task_closed(crew: Crew, as_bob: Api) -> None:
    round_ = crew.plan()
    assert as_bob.post(f"{ROUNDS}{round_.pk}/reject/", {"note": "No."}, format="json").json()["state"] == "rejected"
    closed = as_bob.post(f"{TASKS}{round_.task_id}/close/", format="json")
    assert (closed.status_code, closed.json()["state"]) == (200, "closed")


def test_a_round_says_that_it_opened_by_itself(crew: Crew, as_bob: Api) -> None:
    crew.limit(auto_create_next_round=True)
    as_bob.post(f"{ROUNDS}{crew.plan().pk}/reject/", {}, format="json")
    listed = as_bob.get(ROUNDS).json()["results"]
    assert {item["number"]: item["is_repeat"] for item in listed} == {1: False, 2: True}


def test_lists_take_a_fixed_number_of_queries(crew: Crew, as_bob: Api) -> None:
    def count(path: str) -> int:
        from django.db import connection

        with CaptureQueriesContext(connection) as queries:
            assert as_bob.get(path).status_code == 200
        return len(queries)

    for path in (TASKS, ROUNDS):
        crew.plan(task=crew.draft(f"{path}-0"))
        count(path)  # the first one notes that the token was used
        few = count(path)
        for number in range(1, 4):
            crew.plan(task=crew.draft(f"{path}-{number}"))
        assert count(path) == few


def test_limits_are_read_by_all_and_set_by_maintainers(crew: Crew, as_bob: Api, as_alice: Api) -> None:
    assert as_bob.get(LIMITS).json() == {
        "max_rounds": 3, "max_assignments_per_round": 6, "max_messages_per_task": 40, "max_hop_count": 3,
        "max_simultaneous_assignments": 4, "lease_minutes": 90.0, "auto_approve": False,
        "auto_create_next_round": False,
    }  # fmt: skip
    assert refusal(as_bob.patch(LIMITS, {"max_rounds": 5}, format="json")) == (403, "forbidden")
    assert as_alice.patch(LIMITS, {"max_rounds": 5, "auto_approve": True}, format="json").json()["max_rounds"] == 5
    assert crew.plan().state == "dispatched"


@pytest.mark.parametrize(
    "wrong", [{"max_rounds": 0}, {"lease_minutes": -1}, {"auto_approve": "perhaps"}, {"max_round": 3}]
)
def test_a_limit_that_does_not_fit_is_refused(crew: Crew, as_alice: Api, wrong: dict[str, Any]) -> None:
    assert refusal(as_alice.patch(LIMITS, wrong, format="json")) == (400, "invalid")
    assert not Limits.objects.exists()


def give(client: Api, **tokens: str) -> Any:
    agents = [{"name": name.replace("_", "-"), "token": token} for name, token in tokens.items()]
    return client.post(IMPORT, {"project": "harbour", "agents": agents}, format="json")


def test_imported_tokens_work_as_they_are(crew: Crew, as_alice: Api) -> None:
    (told,) = give(as_alice, claude_code="your-secret-token-here").json()
    assert (told["name"], told["is_new"], told["token"]) == ("claude-code", True, "new")
    actor = actor_of_token(find_token("your-secret-token-here"))
    agent = Agent.objects.get(name="claude-code")
    assert (actor.id, agent.runs_on) == (str(agent.pk), "elsewhere")
    token = Token.objects.get(agent_id=agent.pk)
    assert token.hint == "imported" and token.digest == Token.digest_of("your-secret-token-here")


@pytest.mark.parametrize(
    "tokens",
    [
        {"claude_code": "your-secret-token-here", "codex_desktop": "another-secret-token"},
        {
            "claude_code": "token-alpha-bravo-charlie",
            "codex_desktop": "token-delta-echo-foxtrot",
            "my_agent": "token-golf-hotel-india",
        },
        {
            "claude_code": "vd0Fe9dR8OqSKSamST4qYb3VlCxct4xI",
            "codex_desktop": "another-secret-token-here",
            "my_agent": "my-generated-token",
        },
    ],
)
def test_the_packages_own_samples_are_imported_as_they_are(crew: Crew, as_alice: Api, tokens: dict[str, str]) -> None:
    assert [item["token"] for item in give(as_alice, **tokens).json()] == ["new"] * len(tokens)
    assert all(find_token(token).project_id == crew.project.pk for token in tokens.values())


def test_importing_again_changes_what_the_file_changed(crew: Crew, as_alice: Api) -> None:
    give(as_alice, codex="first-token-of-codex", claude="other-token-of-claude")
    again = give(as_alice, codex="first-token-of-codex", claude="new-token-of-claude").json()
    assert [item["token"] for item in again] == ["unchanged", "replaced"]
    with pytest.raises(InvalidToken):
        find_token("other-token-of-claude")
    assert Agent.objects.filter(runtime="external", name__in=("codex", "claude")).count() == 2


def test_a_task_whose_dispatcher_was_put_away_goes_on_with_another(crew: Crew, as_bob: Api) -> None:
    task = crew.done().task
    archive_agent(crew.agent("ada"), by=SYSTEM)
    door = f"{TASKS}{task.pk}/hand/"
    for name in ("ada", "eve"):
        assert refusal(as_bob.post(door, {"dispatcher": name}, format="json")) == (400, "invalid")
    for _ in range(2):
        told = as_bob.post(door, {"dispatcher": "zoe"}, format="json").json()
        assert (told["dispatcher"], told["state"]) == ("zoe", "dispatched")
    (fact,) = AuditEvent.objects.filter(name="task.handed")
    assert (fact.data["former"], fact.data["dispatcher"]) == ("ada", "zoe")
    mails = inbox(Address("agent", crew.zoe.id)).results
    assert ["review_submit" in mail.payload["body"] for mail in mails if mail.kind == "dispatcher"] == [True]
    review_round(task.rounds.get(), by=crew.zoe, verdict=Review.Verdict.APPROVED)
    assert refusal(as_bob.post(door, {"dispatcher": "wim"}, format="json")) == (409, "task_ended")


def test_who_is_not_in_the_file_any_more_may_not_come_any_more(crew: Crew, as_alice: Api) -> None:
    give(as_alice, ada="first-token-of-ada", codex="first-token-of-codex", claude="other-token-of-claude")
    codex = Agent.objects.get(name="codex")
    _, by_hand = create_agent_token(codex.pk, "harbour/codex", crew.project.pk, name="mine", by=SYSTEM)

    def revoke(**tokens: str) -> Any:
        agents = [{"name": name, "token": token} for name, token in tokens.items()]
        return as_alice.post(REVOKE, {"project": "harbour", "agents": agents}, format="json").json()["revoked"]

    assert revoke(ada="first-token-of-ada", claude="changed-token-of-claude") == ["claude", "codex"]
    for gone in ("first-token-of-codex", "other-token-of-claude"):
        with pytest.raises(InvalidToken):
            find_token(gone)
    assert find_token("first-token-of-ada") and find_token(by_hand).agent_id == codex.pk
    assert AuditEvent.objects.filter(name="token.revoked").count() == 2
    assert (revoke(), revoke()) == (["ada"], [])


@pytest.mark.parametrize(
    ("tokens", "code"),
    [
        ({"codex": "short"}, "invalid"),
        ({"codex": "aaaaaaaabbbbbbbb"}, "invalid"),
        ({"codex": "with a space in it"}, "invalid"),
        ({"codex": "same-token-of-both", "claude": "same-token-of-both"}, "invalid"),
        ({"bad!name": "good-token-of-nobody"}, "invalid"),
        ({"codex": "a-token-of-somebody"}, "token_in_use"),
        ({}, "invalid"),
    ],
)
def test_a_bad_file_imports_nothing(crew: Crew, as_alice: Api, tokens: dict[str, str], code: str) -> None:
    Token.objects.create(
        user=User.objects.get(username="bob"), name="b", hint="x", digest=Token.digest_of("a-token-of-somebody")
    )
    before = Agent.objects.count()
    assert refusal(give(as_alice, first="a-good-token-for-one", **tokens))[1] == code if tokens else True
    assert Agent.objects.count() == before
    if not tokens:
        assert refusal(give(as_alice)) == (400, "invalid")


def test_guessing_others_tokens_tells_little_is_in_the_trail_and_ends(crew: Crew, as_alice: Api) -> None:
    secret = "a-token-of-somebody"
    bob = User.objects.get(username="bob")
    Token.objects.create(user=bob, name="b", hint="x", digest=Token.digest_of(secret))
    for _ in range(TRIES):
        refused = give(as_alice, codex="another-guess-that-is-wrong", claude=secret)
        assert refusal(refused) == (409, "token_in_use") and "claude" not in refused.content.decode()
    trail = AuditEvent.objects.filter(
        name="access.refused", data__code="token_in_use", project=Project.objects.get(slug="harbour").pk
    )
    assert trail.count() == 1
    assert refusal(give(as_alice, codex="a-token-that-is-fine")) == (429, "throttled")
    assert not Agent.objects.filter(name="codex").exists()


def test_an_imported_token_that_ran_out_is_renewed_and_a_revoked_one_is_not(crew: Crew, as_alice: Api) -> None:
    secret = "your-secret-token-here"
    give(as_alice, codex=secret)
    Token.objects.filter(name="agents.env").update(expires_at=timezone.now() - timedelta(hours=1))
    with pytest.raises(InvalidToken):
        find_token(secret)
    assert [item["token"] for item in give(as_alice, codex=secret).json()] == ["renewed"]
    assert find_token(secret).expires_at is None
    assert AuditEvent.objects.filter(name="token.renewed").count() == 1
    Token.objects.filter(name="agents.env").update(revoked_at=timezone.now())
    assert refusal(give(as_alice, codex=secret)) == (409, "token_revoked")


def test_an_external_agent_is_not_started(crew: Crew, as_alice: Api) -> None:
    started = as_alice.post("/api/v1/runs/", {"agent": "wim", "prompt": "Go."}, format="json")
    assert refusal(started) == (409, "wrong_state")
    agent = make_external("ian", crew.project)
    changed = as_alice.patch(f"/api/v1/agents/{agent.pk}/", {"runtime": "acp", "preset": "scripted"}, format="json")
    assert refusal(changed) == (400, "invalid")


def test_an_agent_approves_no_plan_and_sets_no_limits(crew: Crew) -> None:
    secret = "token-of-ada-0123456789"
    agent = crew.agent("ada")
    Token.objects.create(
        agent_id=agent.pk, agent_label="harbour/ada", project=crew.project, name="mcp", hint="x",
        digest=Token.digest_of(secret),
    )  # fmt: skip
    as_ada = Api()
    as_ada.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    round_ = crew.plan()
    for verb in ("approve", "reject"):
        assert refusal(as_ada.post(f"{ROUNDS}{round_.pk}/{verb}/", {}, format="json")) == (403, "forbidden")
    assert refusal(as_ada.post(f"{TASKS}{round_.task_id}/close/", format="json")) == (403, "forbidden")
    assert refusal(as_ada.patch(LIMITS, {"auto_approve": True}, format="json")) == (403, "forbidden")
    assert Round.objects.get().state == "awaiting_operator_approval"
