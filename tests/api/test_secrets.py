"""``/api/v1/secrets/``: they go in, and never come out."""

from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from agenthub_site.accounts.hub_secrets import read_secret
from tests.api.clients import Api, refusal

SECRETS = "/api/v1/secrets/"
ONE = f"{SECRETS}oidc.client_secret/"
VALUE = " s3cr3t-of-the-provider "


@pytest.fixture(autouse=True)
def own_home(home: Path, settings: Settings) -> None:
    settings.CONFIG = settings.CONFIG.model_copy(update={"home": home})


def test_root_sets_one_and_no_answer_repeats_it(as_root: Api) -> None:
    answers = [as_root.put(ONE, {"value": VALUE}), as_root.get(SECRETS), as_root.get(ONE)]
    assert [answer.status_code for answer in answers] == [200, 200, 405]
    assert not any(VALUE.strip() in answer.content.decode() for answer in answers)
    assert [item["name"] for item in answers[1].json()["results"]] == ["oidc.client_secret"]
    assert read_secret("oidc.client_secret") == VALUE


def test_root_forgets_one(as_root: Api) -> None:
    as_root.put(ONE, {"value": VALUE})
    assert as_root.delete(ONE).status_code == 204
    assert refusal(as_root.delete(ONE)) == (404, "not_found")


def test_others_may_do_nothing_with_them(as_alice: Api, as_nobody: Api) -> None:
    for api, refused in ((as_alice, (403, "forbidden")), (as_nobody, (401, "unauthenticated"))):
        assert refusal(api.get(SECRETS)) == refused
        assert refusal(api.put(ONE, {"value": VALUE})) == refused
        assert refusal(api.delete(ONE)) == refused
        assert refusal(api.post(f"{SECRETS}rotate-key/")) == refused


def test_what_is_refused_is_not_repeated(as_root: Api) -> None:
    for body in ({"value": VALUE, "more": VALUE}, {"value": [VALUE]}, {"value": "x" * 20_000}, {}, {"value": ""}):
        answer = as_root.put(ONE, body)
        assert refusal(answer) == (400, "invalid")
        assert VALUE.strip() not in answer.content.decode() and "xxx" not in answer.content.decode()
    assert refusal(as_root.put(f"{SECRETS}oidc.secret/", {"value": VALUE})) == (400, "invalid")


def test_the_key_is_replaced(as_root: Api) -> None:
    before = as_root.put(ONE, {"value": VALUE}).json()["key_id"]
    told = as_root.post(f"{SECRETS}rotate-key/").json()
    assert told["re_encrypted"] == 1 and told["unreadable"] == [] and told["key_id"] != before
    assert read_secret("oidc.client_secret") == VALUE
