"""Every refusal has the one shape, below ``/api/`` as JSON and elsewhere as a page."""

from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client
from pytest import MonkeyPatch

from agenthub_site.accounts.models import User
from agenthub_site.accounts.serializers import MeOut
from agents.models import Agent, Run
from tests.api.clients import Api, refusal
from tests.factories import make_root, make_token

RUNS = "/api/v1/runs/"


@pytest.fixture
def browser(bob: User) -> Client:
    """Bob's signed-in browser, with CSRF checks as in earnest."""
    client = Client(enforce_csrf_checks=True, SERVER_NAME="localhost")
    client.force_login(bob)
    return client


def test_broken_json_is_malformed(as_bob: Api, agent: Agent) -> None:
    response = as_bob.post(RUNS, b'{"agent": ', content_type="application/json")
    assert refusal(response) == (400, "malformed_body")


def test_bytes_that_are_no_text_are_malformed(as_bob: Api, agent: Agent) -> None:
    response = as_bob.post(RUNS, b'{"agent": "\xff"}', content_type="application/json")
    assert refusal(response) == (400, "malformed_body")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_another_media_type_is_refused(as_bob: Api, agent: Agent, kind: str) -> None:
    assert refusal(as_bob.post(RUNS, b"agent=demo", content_type=kind)) == (415, "unsupported_media_type")


def test_another_answer_than_json_is_not_given(as_bob: Api) -> None:
    assert refusal(as_bob.get(RUNS, headers={"Accept": "text/html"})) == (406, "not_acceptable")


def test_a_method_that_is_not_there_is_refused(as_bob: Api, run: Run) -> None:
    response = as_bob.delete(f"{RUNS}{run.pk}/")
    assert refusal(response) == (405, "method_not_allowed")


def test_a_body_over_the_limit_is_too_large(as_bob: Api, agent: Agent) -> None:
    response = as_bob.post(RUNS, b'{"agent":"' + b"x" * 1_100_000 + b'"}', content_type="application/json")
    assert refusal(response) == (413, "too_large")
    assert response.json()["error"]["data"] == {"limit_bytes": 1_048_576}


def test_deep_nesting_is_refused_and_no_fault(as_bob: Api, agent: Agent) -> None:
    response = as_bob.post(RUNS, b"[" * 200_000 + b"]" * 200_000, content_type="application/json")
    assert refusal(response) == (400, "malformed_body")


def test_an_address_that_is_none_is_json_below_the_api(as_bob: Api) -> None:
    assert refusal(as_bob.get("/api/v1/ships/")) == (404, "not_found")


def test_an_address_that_is_none_is_a_page_elsewhere(client: Client, db: None) -> None:
    response = client.get("/ships/", headers={"host": "localhost"})
    assert response.status_code == 404 and response["Content-Type"].startswith("text/html")


def test_a_session_reads_without_and_writes_with_the_csrf_token(browser: Client, agent: Agent) -> None:
    assert browser.get("/api/v1/me/").status_code == 200
    body = {"agent": "demo", "prompt": "Go."}
    assert refusal(browser.post(RUNS, body, content_type="application/json")) == (403, "csrf_failed")
    assert not Run.objects.exists()
    token = "t" * 32
    browser.cookies["agenthub_csrf"] = token
    answer = browser.post(RUNS, body, content_type="application/json", headers={"X-CSRFToken": token})
    assert answer.status_code == 201


def test_a_bearer_needs_no_csrf_token_and_wins_over_a_session(browser: Client, agent: Agent) -> None:
    headers = {"Authorization": f"Bearer {make_token(make_root())}"}
    assert browser.get("/api/v1/me/", headers=headers).json()["username"] == "root"
    assert browser.get("/api/v1/me/", headers={"Authorization": "Bearer aht_no"}).status_code == 401


def test_a_wrong_host_is_refused(client: Client) -> None:
    assert refusal(client.get("/api/v1/me/", headers={"host": "evil.example"})) == (400, "wrong_host")


def test_a_database_that_is_away_is_unavailable_and_can_be_asked_again(as_bob: Api, monkeypatch: MonkeyPatch) -> None:
    def away(*_: Any) -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr(MeOut, "to_representation", away)
    response = as_bob.get("/api/v1/me/")
    assert refusal(response) == (503, "unavailable")
    assert response["Retry-After"] and "connection" not in response.content.decode()


def test_a_fault_is_told_without_its_details(as_bob: Api, monkeypatch: MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise KeyError("the secret inside")

    monkeypatch.setattr(MeOut, "to_representation", fail)
    as_bob.raise_request_exception = False
    response = as_bob.get("/api/v1/me/")
    assert refusal(response) == (500, "internal")
    assert "secret" not in response.content.decode()


def test_every_answer_has_a_request_id_and_a_given_one_is_kept(as_bob: Api) -> None:
    assert len(as_bob.get("/healthz")["X-Request-ID"]) == 32
    assert as_bob.get("/healthz", headers={"X-Request-ID": "from-the-proxy.1"})["X-Request-ID"] == "from-the-proxy.1"
    assert as_bob.get("/healthz", headers={"X-Request-ID": "no\tgood id"})["X-Request-ID"] != "no\tgood id"


def test_what_ones_role_does_not_allow_is_refused_with_the_role_that_does(as_bob: Api, agent: Agent) -> None:
    response = as_bob.patch(f"/api/v1/agents/{agent.pk}/", {"description": "Mends."})
    assert refusal(response) == (403, "forbidden")
    assert "it takes the role maintainer or above" in response.json()["error"]["message"]
