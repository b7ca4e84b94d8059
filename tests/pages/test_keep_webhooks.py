"""A project's webhooks in the browser: made, tried out, led elsewhere, switched off, and what was posted of late."""

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django.fixtures import Settings

from agenthub_site.accounts.actors import SYSTEM
from agenthub_site.accounts.authentication import actor_of
from agenthub_site.accounts.hub_secrets import read_secret
from agenthub_site.accounts.models import Project, User
from agents.webhooks.delivering import deliver
from agents.webhooks.models import Webhook
from agents.webhooks.services import add_webhook
from audit.models import AuditEvent
from mailboxes.models import Delivery
from mailboxes.services import Address, send
from nodes.contract.config import WebhooksConfig
from tests.factories import make_project
from tests.webhooks.ears import Ears, listening

SignIn = Callable[[User], Client]
URL = "https://hooks.example.com/x?key=1"


@pytest.fixture(autouse=True)
def own_home(home: Path, settings: Settings) -> None:
    config = {"home": home, "webhooks": WebhooksConfig(allow=["127.0.0.1"])}
    settings.CONFIG = settings.CONFIG.model_copy(update=config)


@pytest.fixture
def address(project: Project) -> str:
    return f"/projects/{project.slug}/webhooks/"


@pytest.fixture
def hook(project: Project, alice: User) -> Webhook:
    return add_webhook(project, name="quay", url=URL, by=actor_of(alice))[0]


@pytest.fixture
def one(hook: Webhook, address: str) -> str:
    return f"{address}{hook.pk}/"


def write(hook: Webhook, **more: Any) -> Any:
    return send(hook.project_id, Address("system", "system"), [hook.address], {"n": 1}, **more)


def give_up(sent: Any, reason: str = "It answered 404.") -> None:
    Delivery.objects.filter(message=sent.message_id).update(
        state="dead", settled_at=timezone.now(), reason=reason, attempts=1
    )


def secret_in(page: bytes) -> str:
    found = re.search(r'class="secret">(whsec_[\w+/=]+)<', page.decode())
    assert found, "no secret is shown"
    return found[1]


def test_without_any_the_page_says_what_one_is_for(web: Client, address: str, project: Project) -> None:
    page = web.get(address).content.decode()
    assert "No webhooks yet" in page and "agenthub actor send --to webhook:NAME" in page
    assert address in web.get(f"/projects/{project.slug}/").content.decode()


def test_its_secret_is_shown_once(web: Client, address: str) -> None:
    answer = web.post(address, {"name": "quay", "url": URL})
    secret = secret_in(answer.content)
    made = Webhook.objects.get()
    assert (read_secret(made.secret_name), made.url) == (secret, URL)
    assert "no-store" in answer["Cache-Control"]
    for at in (address, f"{address}{made.pk}/"):
        page = web.get(at).content.decode()
        assert "quay" in page and secret not in page
    other = secret_in(web.post(f"{address}{made.pk}/rotate/").content)
    assert other == read_secret(made.secret_name) != secret
    page = web.get(f"{address}{made.pk}/").content.decode()
    assert other not in page and "It does until" in page


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"url": "http://example.com/"}, "posted to by https"),
        ({"url": "ftp://example.com/"}, "is https://host/path"),
        ({"name": "A B"}, "name has a-z, 0-9, _ . and -, up to 64"),
        ({}, "has a webhook &#x27;quay&#x27; already"),
    ],
)
def test_what_does_not_fit_is_said_beside_it(web: Client, address: str, hook: Webhook, given: Any, said: str) -> None:
    answer = web.post(address, {"name": "quay", "url": URL, **given})
    assert answer.status_code == 400 and said in answer.content.decode()
    assert Webhook.objects.count() == 1


def test_it_is_led_elsewhere_and_switched_off_and_on(web: Client, one: str, hook: Webhook) -> None:
    assert web.post(one, {"url": "http://example.com/"}).status_code == 400
    assert web.post(one, {"url": "https://other.example.com/"})["Location"] == one
    web.post(f"{one}switch/", {"is_enabled": "off"})
    hook.refresh_from_db()
    assert (hook.url, hook.is_enabled) == ("https://other.example.com/", False)
    page = web.get(one).content.decode()
    assert "While it is off nobody can" in page and "Send a test" not in page
    web.post(f"{one}switch/", {"is_enabled": "on"})
    hook.refresh_from_db()
    assert hook.is_enabled and "Send a test" in web.get(one).content.decode()


def test_a_test_is_posted_and_what_came_of_it_is_shown(web: Client, one: str, hook: Webhook) -> None:
    with listening() as ears:
        web.post(one, {"url": ears.address})
        web.post(f"{one}test/")
        assert "1 waiting" in web.get(one).content.decode()
        ears.answers = [503]
        deliver(str(hook.pk))
        page = web.get(one, headers={"hx-request": "true"}).content.decode()
        assert "It answered 503." in page and "tried again" in page and "resting" in page and "<html" not in page
        Delivery.objects.update(due_at=timezone.now())
        Webhook.objects.update(not_before=None)
        ears.answers = [200]
        deliver(str(hook.pk))
        assert "taken" in web.get(one).content.decode()
        told = said(ears)
    assert (told["kind"], told["subject"], told["from"]["name"]) == ("test", "Test", "alice")


def said(ears: Ears) -> Any:
    return ears.got[-1].said["data"]


def test_a_test_of_one_that_is_off_is_refused_in_words(web: Client, one: str, hook: Webhook) -> None:
    Webhook.objects.update(is_enabled=False)
    assert "is switched off" in web.post(f"{one}test/", follow=True).content.decode()
    assert not Delivery.objects.exists()


def test_what_was_given_up_is_posted_again_to_it_alone(
    web: Client, one: str, address: str, hook: Webhook, project: Project
) -> None:
    other, _ = add_webhook(project, name="pier", url=URL, by=SYSTEM)
    sent = send(project.pk, Address("system", "system"), [hook.address, other.address], {"n": 1}, subject="Net")
    give_up(sent)
    page = web.get(one).content.decode()
    assert "Net" in page and "It answered 404." in page and "1 given up" in page
    assert "1 given up" in web.get(address).content.decode()
    web.post(f"{one}deliveries/{sent.message_id}/requeue/")
    assert dict(Delivery.objects.values_list("inbox__owner", "state")) == {
        str(hook.pk): "queued", str(other.pk): "dead",
    }  # fmt: skip
    assert AuditEvent.objects.get(name="mail.requeued").data["recipients"] == [str(hook.address)]
    page = web.post(f"{one}deliveries/{sent.message_id}/requeue/", follow=True).content.decode()
    assert "No delivery of this message is dead." in page


def test_a_message_to_others_is_not_posted_from_here(web: Client, one: str, project: Project) -> None:
    other, _ = add_webhook(project, name="pier", url=URL, by=SYSTEM)
    sent = write(other)
    give_up(sent)
    assert web.post(f"{one}deliveries/{sent.message_id}/requeue/").status_code == 404
    assert Delivery.objects.get().state == "dead"


def test_it_is_removed_with_what_waits(web: Client, one: str, address: str, hook: Webhook) -> None:
    write(hook)
    assert web.post(f"{one}remove/")["Location"] == address
    assert not Webhook.objects.exists() and Delivery.objects.get().state == "dead"


def test_one_of_another_project_is_not_found(web: Client, hook: Webhook, alice: User) -> None:
    elsewhere = make_project("pier", owner=alice)
    at = f"/projects/{elsewhere.slug}/webhooks/{hook.pk}/"
    assert web.get(at).status_code == 404
    for verb in ("switch", "rotate", "test", "remove"):
        assert web.post(f"{at}{verb}/").status_code == 404
    assert Webhook.objects.get().is_enabled


def test_who_does_not_manage_them_sees_neither_them_nor_the_way_there(
    sign_in: SignIn, one: str, project: Project, bob: User, charlie: User
) -> None:
    address = f"/projects/{project.slug}/webhooks/"
    assert sign_in(bob).get(address).status_code == sign_in(bob).get(one).status_code == 403
    assert address not in sign_in(bob).get(f"/projects/{project.slug}/").content.decode()
    assert sign_in(charlie).get(address).status_code == 404


def test_the_list_asks_as_often_for_many_as_for_one(
    web: Client, address: str, one: str, hook: Webhook, django_assert_num_queries: Any
) -> None:
    write(hook)
    web.get(address)
    with CaptureQueriesContext(connection) as of_one:
        web.get(address)
    more = [add_webhook(hook.project, name=f"quay-{n}", url=URL, by=SYSTEM)[0] for n in range(5)]
    for each in more:
        give_up(write(each))
    Webhook.objects.filter(pk=more[0].pk).update(not_before=timezone.now() + timedelta(hours=1), failures=2)
    with django_assert_num_queries(len(of_one)):
        page = web.get(address).content.decode()
    assert page.count("1 given up") == 5 and page.count("resting") == 1
    with CaptureQueriesContext(connection) as asked:
        web.get(one)
    assert not [query for query in asked.captured_queries if '"payload"' in query["sql"]]
