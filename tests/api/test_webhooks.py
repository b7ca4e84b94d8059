"""``/api/v1/webhooks/``: who may, what is told once, and how others write to them."""

from pathlib import Path
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from agenthub_site.accounts.models import HubSecret, Project, User
from agents.mail.addressing import UnknownRecipient, WebhookOff, resolve
from agents.webhooks.models import Webhook
from audit.models import AuditEvent
from mailboxes.services import Address
from tests.api.clients import Api, refusal

WEBHOOKS = "/api/v1/webhooks/"
URL = "https://hooks.example.com/x?key=1"
ANN = Address("system", "system")


@pytest.fixture(autouse=True)
def own_home(home: Path, settings: Settings) -> None:
    settings.CONFIG = settings.CONFIG.model_copy(update={"home": home})


@pytest.fixture
def made(as_alice: Api, project: Project) -> Any:
    answer = as_alice.post(WEBHOOKS, {"project": project.slug, "name": "quay", "url": URL})
    assert answer.status_code == 201, answer.content
    return answer.json()


def test_its_secret_is_told_once_and_kept_encrypted(as_alice: Api, made: Any) -> None:
    secret = made["secret"]
    assert secret.startswith("whsec_") and len(secret) == 50
    one = as_alice.get(f"{WEBHOOKS}{made['id']}/")
    assert one.json()["url"] == URL
    assert secret not in one.content.decode() + as_alice.get(WEBHOOKS).content.decode()
    assert secret.encode() not in bytes(HubSecret.objects.get().ciphertext)
    assert secret not in str(list(AuditEvent.objects.values_list("data")))


def test_a_repeat_with_its_key_tells_no_secret_again(as_alice: Api, project: Project) -> None:
    body = {"project": project.slug, "name": "quay", "url": URL}
    first, again = (as_alice.post(WEBHOOKS, body, headers={"idempotency-key": "k"}).json() for _ in range(2))
    assert (again["id"], again["secret"]) == (first["id"], None)
    assert first["secret"]


def test_every_change_is_in_the_trail(as_alice: Api, made: Any) -> None:
    one = f"{WEBHOOKS}{made['id']}/"
    assert as_alice.patch(one, {"url": "https://other.example.com/"}).json()["url"] == "https://other.example.com/"
    assert as_alice.post(f"{one}rotate-secret/").json()["secret"] != made["secret"]
    assert HubSecret.objects.count() == 2
    assert as_alice.delete(one).status_code == 204
    assert HubSecret.objects.count() == 0
    names = list(
        AuditEvent.objects.filter(name__startswith="webhook.").order_by("number").values_list("name", flat=True)
    )
    assert names == ["webhook.created", "webhook.changed", "webhook.secret_rotated", "webhook.removed"]
    assert "key=1" not in str(list(AuditEvent.objects.values_list("data")))


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"url": "http://example.com/"}, "invalid"),
        ({"name": "A B"}, "invalid"),
        ({"name": "../x"}, "invalid"),
        ({"more": 1}, "invalid"),
        ({}, "webhook_exists"),
    ],
)
def test_what_does_not_fit_is_refused(as_alice: Api, project: Project, made: Any, body: Any, code: str) -> None:
    answer = as_alice.post(WEBHOOKS, {"project": project.slug, "name": "quay", "url": URL, **body})
    assert refusal(answer)[1] == code
    assert (Webhook.objects.count(), HubSecret.objects.count()) == (1, 1)


def test_members_and_strangers_see_none(as_bob: Api, as_charlie: Api, made: Any, project: Project) -> None:
    for api in (as_bob, as_charlie):
        assert api.get(WEBHOOKS).json()["results"] == []
        assert refusal(api.get(f"{WEBHOOKS}{made['id']}/"))[0] == 404
    body = {"project": project.slug, "name": "mine", "url": URL}
    assert refusal(as_bob.post(WEBHOOKS, body))[0] == 403
    assert refusal(as_charlie.post(WEBHOOKS, body))[0] == 404


def test_it_is_written_to_by_its_name_within_its_project(made: Any, project: Project, bob: User) -> None:
    (address,) = resolve(project.pk, ["webhook:quay"], sender=ANN).addresses
    assert address == Address("webhook", made["id"])
    assert resolve(project.pk, [f"webhook:{made['id'].upper()}"], sender=ANN).addresses == (address,)
    elsewhere = Project.objects.create(slug="pier", name="Pier")
    for project_id, word in ((project.pk, "quay"), (project.pk, "webhook:none"), (elsewhere.pk, "webhook:quay")):
        with pytest.raises(UnknownRecipient):
            resolve(project_id, [word], sender=ANN)
    Webhook.objects.update(is_enabled=False)
    with pytest.raises(WebhookOff):
        resolve(project.pk, ["webhook:quay"], sender=ANN)
