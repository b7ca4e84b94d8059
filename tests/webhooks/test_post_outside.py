"""Messages to a webhook are posted, signed, to a real server: what each of its answers comes to."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from django_q.models import OrmQ
from pytest_django.fixtures import Settings

from agenthub_site.accounts.actors import SYSTEM
from agenthub_site.accounts.authentication import actor_of
from agenthub_site.accounts.hub_secrets import delete_secret
from agenthub_site.accounts.models import Project, User
from agents.webhooks import delivering, posting
from agents.webhooks.delivering import (
    ASKED_SECONDS,
    AT_ONCE,
    LEASE_SECONDS,
    SIDE_BY_SIDE,
    deliver,
    deliver_all,
    tick,
)
from agents.webhooks.lookups import Lookups
from agents.webhooks.models import Webhook
from agents.webhooks.services import add_webhook, change_webhook, remove_webhook, rotate_webhook_secret
from audit.models import AuditEvent
from mailboxes.limits import ATTEMPTS
from mailboxes.models import Delivery
from mailboxes.services import Address, inbox, requeue, send, sweep
from nodes.contract.config import WebhooksConfig
from tests.factories import make_root

from .ears import Ears, listening

ANN = Address("system", "system")


@pytest.fixture
def ears() -> Iterator[Ears]:
    with listening() as ears:
        yield ears


@pytest.fixture(autouse=True)
def allowed(home: Path, settings: Settings) -> None:
    config = {"home": home, "webhooks": WebhooksConfig(allow=["127.0.0.1"])}
    settings.CONFIG = settings.CONFIG.model_copy(update=config)


@pytest.fixture
def made(project: Project, alice: User, ears: Ears) -> tuple[Webhook, str]:
    return add_webhook(project, name="quay", url=ears.address, by=actor_of(alice))


@pytest.fixture
def hook(made: tuple[Webhook, str]) -> Webhook:
    return made[0]


def write(hook: Webhook, payload: Any = "Look", **more: Any) -> Any:
    return send(hook.project_id, ANN, [hook.address], payload, **more)


def states(hook: Webhook) -> list[tuple[str, int, str]]:
    rows = Delivery.objects.filter(inbox__owner=str(hook.pk)).order_by("number")
    return list(rows.values_list("state", "attempts", "reason"))


def rested(hook: Webhook) -> None:
    """All pauses are over."""
    Webhook.objects.update(not_before=None)
    Delivery.objects.filter(settled_at=None).update(due_at=timezone.now())


def test_what_is_posted_is_signed_and_acked(made: tuple[Webhook, str], ears: Ears) -> None:
    hook, secret = made
    sent = write(hook, {"n": 1}, subject="Net")
    write(hook, {"n": 2})
    assert deliver(str(hook.pk)) == 2
    first, second = ears.got
    assert first.is_signed_with(secret) and second.is_signed_with(secret)
    assert not first.is_signed_with("whsec_" + "A" * 44)
    assert first.headers["webhook-id"] == str(sent.message_id) == first.said["data"]["message_id"]
    assert (first.said["data"]["payload"], second.said["data"]["payload"]) == ({"n": 1}, {"n": 2})
    assert (first.path, first.said["type"], first.said["data"]["subject"]) == ("/hooks?key=1", "message", "Net")
    assert states(hook) == [("acked", 1, "")] * 2
    hook.refresh_from_db()
    assert (hook.last_result, hook.failures) == ("200", 0)


@pytest.mark.parametrize("answer", [408, 425, 429, 500, 503, 0])
def test_what_may_pass_is_tried_again(hook: Webhook, ears: Ears, answer: int) -> None:
    ears.answers = [answer, 204]
    write(hook)
    deliver(str(hook.pk))
    ((state, attempts, reason),) = states(hook)
    assert (state, attempts) == ("queued", 1) and reason
    assert deliver(str(hook.pk)) == 0  # both pauses are kept
    rested(hook)
    deliver(str(hook.pk))
    assert states(hook) == [("acked", 2, "")]
    assert ears.got[0].headers["webhook-id"] == ears.got[1].headers["webhook-id"]
    assert ears.got[1].said["data"]["redelivered"] == 1


@pytest.mark.parametrize("answer", [400, 401, 404, 422, (302, {"location": "http://127.0.0.1:1/"}), 304])
def test_what_will_not_pass_is_dead_at_once_and_can_be_posted_again(hook: Webhook, ears: Ears, answer: Any) -> None:
    ears.answers = [answer, 200]
    sent = write(hook)
    write(hook)
    deliver(str(hook.pk))
    assert [state for state, _, _ in states(hook)] == ["dead", "acked"]
    assert len(ears.got) == 2  # a redirect is not followed
    requeue(sent.message_id, by=actor_of(make_root()))
    deliver(str(hook.pk))
    assert sorted(state for state, _, _ in states(hook)) == ["acked", "acked"]


def test_who_is_gone_is_switched_off(hook: Webhook, ears: Ears, alice: User) -> None:
    ears.answers = [410, 200]
    write(hook)
    write(hook)
    deliver(str(hook.pk))
    assert [state for state, _, _ in states(hook)] == ["dead", "queued"]
    hook.refresh_from_db()
    assert not hook.is_enabled
    assert AuditEvent.objects.get(name="webhook.disabled").data["webhook"] == "quay"
    assert tick(timezone.now()) == deliver(str(hook.pk)) == 0
    change_webhook(hook, by=actor_of(alice), is_enabled=True)
    assert deliver(str(hook.pk)) == 1


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_the_other_end_is_left_alone_for_as_long_as_it_wants(hook: Webhook, ears: Ears, form: str) -> None:
    at = datetime.now(UTC) + timedelta(seconds=900)
    ears.answers = [(503, {"retry-after": "900" if form == "seconds" else format_datetime(at, usegmt=True)})]
    write(hook)
    deliver(str(hook.pk))
    hook.refresh_from_db()
    assert hook.not_before and hook.not_before > timezone.now() + timedelta(seconds=880)
    assert Delivery.objects.get().due_at > timezone.now() + timedelta(seconds=880)


FAR_ZONE = "Mon, 01 Jan 2030 00:00:00 +99999999999999"


@pytest.mark.parametrize("text", ["99999999999999", "-5", "soon", "Mon, 99 Foo 2020", "", FAR_ZONE])
def test_nonsense_for_a_pause_costs_at_most_an_hour(hook: Webhook, ears: Ears, text: str) -> None:
    ears.answers = [(503, {"retry-after": text})]
    write(hook)
    deliver(str(hook.pk))
    assert timezone.now() < Delivery.objects.get().due_at <= timezone.now() + timedelta(hours=1)


def test_nonsense_for_a_pause_does_not_undo_what_was_taken(hook: Webhook, ears: Ears) -> None:
    ears.answers = [(200, {"retry-after": FAR_ZONE})]
    write(hook)
    assert deliver(str(hook.pk)) == 1
    assert states(hook) == [("acked", 1, "")]


def test_after_the_last_attempt_it_is_dead(hook: Webhook, ears: Ears) -> None:
    ears.answers = [500]
    write(hook)
    for _ in range(ATTEMPTS + 2):
        rested(hook)
        deliver(str(hook.pk))
    assert states(hook) == [("dead", ATTEMPTS, "It answered 500.")]
    assert len(ears.got) == ATTEMPTS


def test_one_that_is_never_taken_holds_up_no_other(hook: Webhook, ears: Ears) -> None:
    ears.answers = [500, 200]
    write(hook, 1)
    write(hook, 2)
    deliver(str(hook.pk))
    Webhook.objects.update(not_before=None)
    deliver(str(hook.pk))
    assert [got.said["data"]["payload"] for got in ears.got] == [1, 2]
    assert [state for state, _, _ in states(hook)] == ["queued", "acked"]


def test_an_answer_byte_by_byte_is_cut_off(hook: Webhook, ears: Ears, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posting, "SECONDS", 0.5)
    ears.drip_seconds = 0.1
    write(hook)
    began = time.monotonic()
    deliver(str(hook.pk))
    assert time.monotonic() - began < 60  # the answer itself never ends
    assert states(hook)[0][:2] == ("queued", 1)


def test_for_a_day_the_former_secret_counts_as_well(made: tuple[Webhook, str], ears: Ears, alice: User) -> None:
    hook, former = made
    present = rotate_webhook_secret(hook, by=actor_of(alice))
    write(hook)
    deliver(str(hook.pk))
    assert ears.got[0].is_signed_with(former) and ears.got[0].is_signed_with(present) and former != present
    Webhook.objects.update(former_until=timezone.now())
    write(hook)
    deliver(str(hook.pk))
    assert ears.got[1].is_signed_with(present) and not ears.got[1].is_signed_with(former)


def test_without_its_secret_nothing_is_posted_and_nothing_is_lost(hook: Webhook, ears: Ears) -> None:
    delete_secret(hook.secret_name, actor_of(make_root()))
    write(hook)
    deliver(str(hook.pk))
    assert (ears.got, states(hook)[0][0]) == ([], "queued")
    hook.refresh_from_db()
    assert "rotating" in hook.last_result


def test_what_waits_for_a_webhook_that_is_removed_is_dead(hook: Webhook, alice: User) -> None:
    write(hook)
    pk, address = hook.pk, hook.address
    remove_webhook(hook, by=actor_of(alice))
    assert [mail.reason for mail in inbox(address).results] == ["Its webhook was removed."]
    assert deliver(str(pk)) == 0


def test_what_came_for_a_webhook_after_it_was_removed_is_dead_as_well(hook: Webhook) -> None:
    """A sender that found the webhook just before; a delivery again of former hubs."""
    Webhook.objects.all().delete()
    write(hook)
    assert tick(timezone.now()) == 0
    assert states(hook) == [("dead", 0, "Its webhook was removed.")]


def test_a_worker_is_asked_once_and_again_if_it_died(hook: Webhook) -> None:
    now = timezone.now()
    assert tick(now) == 0
    write(hook)
    now = timezone.now()
    assert (tick(now), tick(now), OrmQ.objects.count()) == (1, 0, 1)
    assert tick(now + timedelta(seconds=ASKED_SECONDS + 1)) == 1
    deliver(str(hook.pk))
    write(hook)
    assert tick(timezone.now()) == 1


def many(hook: Webhook, count: int, **fields: Any) -> list[Webhook]:
    """Webhooks for which something is due."""
    made = [Webhook(project_id=hook.project_id, name=f"dead-{n}", url=hook.url, **fields) for n in range(count)]
    for each in Webhook.objects.bulk_create(made):
        write(each)
    return made


@pytest.mark.parametrize(
    "fields",
    [
        {"is_enabled": False},
        {"not_before": timezone.now() + timedelta(hours=1)},
        {"asked_at": timezone.now() + timedelta(hours=1)},
    ],
    ids=["off", "resting", "asked"],
)
def test_webhooks_that_cannot_be_posted_to_keep_none_from_it(hook: Webhook, fields: dict[str, Any]) -> None:
    many(hook, AT_ONCE, **fields)
    write(hook)
    assert tick(timezone.now()) == 1
    hook.refresh_from_db()
    assert hook.asked_at


def test_of_those_that_fail_one_task_is_asked_for_and_those_that_work_come_before_them(hook: Webhook) -> None:
    many(hook, 2 * SIDE_BY_SIDE, failures=3, last_at=timezone.now() - timedelta(hours=1))
    write(hook)
    assert tick(timezone.now()) == 1 + SIDE_BY_SIDE
    first, second = (task.task["args"][0] for task in OrmQ.objects.order_by("pk"))
    assert (first, len(second)) == ([str(hook.pk)], SIDE_BY_SIDE)
    assert tick(timezone.now()) == 0


@pytest.mark.django_db(transaction=True)
def test_the_webhooks_of_a_task_are_posted_to_side_by_side(
    hook: Webhook, ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = threading.Barrier(4)

    def post_together(*given: Any) -> posting.Answer:
        together.wait(60)
        return posting.post(*given)

    monkeypatch.setattr(delivering, "post", post_together)
    hooks = [hook, *(add_webhook(hook.project, name=f"quay-{n}", url=ears.address, by=SYSTEM)[0] for n in range(3))]
    for each in hooks:
        write(each)
    assert deliver_all([str(each.pk) for each in hooks]) == len(ears.got) == 4
    assert set(Delivery.objects.values_list("state", flat=True)) == {"acked"}


@pytest.mark.django_db(transaction=True)
def test_one_webhook_that_breaks_the_hub_stops_no_other(
    hook: Webhook, ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(url: str, *given: Any) -> posting.Answer:
        if url.endswith("broken"):
            raise RuntimeError("nobody thought of this")
        return posting.post(url, *given)

    monkeypatch.setattr(delivering, "post", break_down)
    broken, _ = add_webhook(hook.project, name="broken", url=f"{ears.address}&broken", by=SYSTEM)
    write(broken)
    write(hook)
    assert deliver_all([str(broken.pk), str(hook.pk)]) == 1
    assert (states(hook)[0][0], states(broken)[0][0]) == ("acked", "leased")
    sweep(timezone.now() + timedelta(seconds=LEASE_SECONDS + 1))
    assert states(broken) == [("queued", 1, "Its lease ran out.")]


def test_a_name_whose_servers_never_answer_is_tried_again_like_others(
    hook: Webhook, ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go = threading.Event()

    def hang(_: str) -> list[str]:
        let_go.wait()
        return []

    monkeypatch.setattr(delivering, "post", partial(posting.post, lookups=Lookups(hang, seconds=0.01)))
    other, _ = add_webhook(hook.project, name="pier", url="https://slow.example.com/", by=SYSTEM)
    write(hook)
    write(other)
    assert deliver(str(other.pk)) == 0
    ((state, attempts, reason),) = states(other)
    assert (state, attempts) == ("queued", 1) and "no name server has told the address of slow.example.com" in reason
    assert deliver(str(hook.pk)) == len(ears.got) == 1
    let_go.set()


def test_an_address_that_turned_private_is_not_posted_to(hook: Webhook, ears: Ears, settings: Settings) -> None:
    """Judged at each delivery, and not only when it is set."""
    settings.CONFIG = settings.CONFIG.model_copy(update={"webhooks": WebhooksConfig()})
    Webhook.objects.update(url=ears.address.replace("http://", "https://"))
    write(hook)
    deliver(str(hook.pk))
    assert ears.got == []
    ((state, _, reason),) = states(hook)
    assert state == "dead" and "no address of the public web" in reason
