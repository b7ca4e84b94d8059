"""Webhooks over real TLS: the certificate is the name's, whatever address the name led to."""

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.utils import timezone
from pytest_django.fixtures import Settings

from agenthub_site.accounts.authentication import actor_of
from agenthub_site.accounts.models import Project, User
from agents.webhooks import posting
from agents.webhooks.delivering import deliver
from agents.webhooks.lookups import Lookups
from agents.webhooks.models import Webhook
from agents.webhooks.posting import post
from agents.webhooks.services import add_webhook
from mailboxes.limits import ATTEMPTS
from mailboxes.models import Delivery
from mailboxes.services import Address, send
from nodes.contract.config import WebhooksConfig

from .authority import Authority
from .ears import Ears, listening

HOST = "hooks.example.com"


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """Trusted as an operator has it trusted."""
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    return authority


@pytest.fixture
def told() -> list[str | None]:
    """The names that callers said in their first words (SNI)."""
    return []


@pytest.fixture
def tls(authority: Authority, told: list[str | None]) -> ssl.SSLContext:
    context = authority.serves(HOST)
    context.sni_callback = lambda _socket, name, _context: told.append(name)
    return context


class Flipping:
    """A name that leads to loopback the first time, and from then on elsewhere."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, host: str) -> list[str]:
        self.asked += 1
        assert host == HOST
        return ["127.0.0.1"] if self.asked == 1 else ["192.0.2.1"]


def test_the_judged_address_is_connected_to_and_the_name_is_verified(
    tls: ssl.SSLContext, told: list[str | None]
) -> None:
    name = Flipping()
    with listening(tls, HOST) as ears:
        answer = post(ears.address, {"content-type": "text/plain"}, b"{}", [HOST], Lookups(name))
    assert (answer.status, answer.error) == (200, "")
    assert (told, name.asked) == ([HOST], 1)
    assert ears.got[0].headers["host"].startswith(f"{HOST}:")


def test_an_address_is_no_name_of_the_certificates(tls: ssl.SSLContext) -> None:
    """What verifies the name is not content with the address that it led to."""
    with listening(tls) as ears:
        answer = post(ears.address, {}, b"{}", ["127.0.0.1"])
    assert answer.status == 0 and "certificate of 127.0.0.1 is not accepted" in answer.error
    assert ears.got == []


def test_an_authority_that_nobody_trusts_vouches_for_nobody(authority: Authority, tmp_path: Path) -> None:
    with listening(Authority(tmp_path, "pirates").serves(HOST), HOST) as ears:
        answer = post(ears.address, {}, b"{}", [HOST], Lookups(Flipping()))
    assert answer.status == 0 and "unable to get local issuer certificate" in answer.error
    assert ears.got == []


def test_who_never_shakes_hands_is_cut_off(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posting, "SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"https://{HOST}:{silent.getsockname()[1]}/"
        answer = post(address, {}, b"{}", [HOST], Lookups(Flipping()))
    assert answer.status == 0 and answer.error


@pytest.fixture
def allowed(home: Path, settings: Settings) -> None:
    config = {"home": home, "webhooks": WebhooksConfig(allow=["localhost"])}
    settings.CONFIG = settings.CONFIG.model_copy(update=config)


@pytest.fixture
def ears(request: pytest.FixtureRequest, authority: Authority) -> Iterator[Ears]:
    """At ``https://localhost``, with a certificate for the host that the test says."""
    with listening(authority.serves(request.param), "localhost") as ears:
        yield ears


@pytest.fixture
def hook(project: Project, alice: User, allowed: None, ears: Ears) -> Webhook:
    return add_webhook(project, name="quay", url=ears.address, by=actor_of(alice))[0]


def state() -> tuple[str, int, str]:
    return Delivery.objects.values_list("state", "attempts", "reason").get()


@pytest.mark.parametrize("ears", ["localhost"], indirect=True)
def test_a_message_is_delivered_over_tls(hook: Webhook, ears: Ears) -> None:
    send(hook.project_id, Address("system", "system"), [hook.address], {"n": 1})
    assert deliver(str(hook.pk)) == 1
    assert ears.got[0].said["data"]["payload"] == {"n": 1}
    assert state() == ("acked", 1, "")


@pytest.mark.parametrize("ears", [HOST], indirect=True)
def test_with_another_hosts_certificate_nothing_is_told_and_it_is_tried_again_until_it_is_dead(
    hook: Webhook, ears: Ears
) -> None:
    """A certificate may be replaced: it is as with any other connection that failed."""
    send(hook.project_id, Address("system", "system"), [hook.address], {"n": 1})
    why = "The certificate of localhost is not accepted: Hostname mismatch, certificate is not valid for 'localhost'."
    for attempt in range(1, ATTEMPTS + 1):
        Webhook.objects.update(not_before=None)
        Delivery.objects.update(due_at=timezone.now())
        deliver(str(hook.pk))
        assert state() == ("dead" if attempt == ATTEMPTS else "queued", attempt, why)
    hook.refresh_from_db()
    assert (hook.last_result, hook.is_enabled, ears.got) == (why, True, [])
