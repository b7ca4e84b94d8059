"""``Idempotency-Key``: once done, twice answered."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from agenthub_site.accounts.models import IdempotentAnswer
from agents.models import Agent, Run
from tests.api.clients import Api, refusal
from tests.factories import make_agent, make_user

RUNS = "/api/v1/runs/"
BODY = {"agent": "demo", "prompt": "Go."}


def start(api: Api, key: str, body: Any = None) -> Any:
    return api.post(RUNS, body or BODY, headers={"Idempotency-Key": key})


def test_a_repeat_starts_nothing_and_gets_the_first_answer(as_bob: Api, agent: Agent) -> None:
    first, second = start(as_bob, "k"), start(as_bob, "k")
    assert (second.status_code, second.json()) == (201, first.json())
    assert "Idempotent-Replay" not in first and second["Idempotent-Replay"] == "true"
    assert Run.objects.count() == 1


def test_the_order_of_a_bodys_fields_does_not_matter(as_bob: Api, agent: Agent) -> None:
    start(as_bob, "k")
    assert start(as_bob, "k", dict(reversed(BODY.items())))["Idempotent-Replay"] == "true"


def test_the_same_key_with_another_body_is_a_conflict(as_bob: Api, agent: Agent) -> None:
    start(as_bob, "k")
    assert refusal(start(as_bob, "k", {**BODY, "prompt": "Stop."})) == (409, "idempotency_conflict")
    assert Run.objects.count() == 1


def test_a_key_belongs_to_one_person_and_one_route(as_bob: Api, as_alice: Api, agent: Agent) -> None:
    run = start(as_bob, "k").json()
    assert start(as_alice, "k").json()["id"] != run["id"]
    assert "Idempotent-Replay" not in as_bob.post(f"{RUNS}{run['id']}/cancel/", headers={"Idempotency-Key": "k"})


def test_a_refusal_is_not_kept(as_bob: Api, agent: Agent) -> None:
    Agent.objects.update(name="other")
    assert refusal(start(as_bob, "k")) == (404, "not_found")
    Agent.objects.update(name="demo")
    assert start(as_bob, "k").status_code == 201


def test_an_answer_is_kept_for_a_day(as_bob: Api, agent: Agent) -> None:
    start(as_bob, "k")
    IdempotentAnswer.objects.update(created_at=timezone.now() - timedelta(hours=25))
    assert "Idempotent-Replay" not in start(as_bob, "k")
    assert Run.objects.count() == 2 and IdempotentAnswer.objects.count() == 1


@pytest.mark.parametrize("key", ["", "with space", "k" * 201, "schlüssel"])
def test_a_key_that_is_none_is_refused(as_bob: Api, agent: Agent, key: str) -> None:
    assert refusal(start(as_bob, key)) == (400, "invalid")
    assert not Run.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_the_same_request_at_once_is_done_once() -> None:
    make_agent()
    api, answers = Api(make_user("alice")), []

    def send() -> None:
        try:
            answers.append(start(api, "k").json()["id"])
        finally:
            connection.close()

    senders = [threading.Thread(target=send) for _ in range(4)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(60)
    assert len(answers) == 4 and len(set(answers)) == 1
    assert Run.objects.count() == 1
