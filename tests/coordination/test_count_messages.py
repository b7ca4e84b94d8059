"""Messages about a task's rounds count against its limit, whichever door they come by."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from asgiref.sync import async_to_sync
from django.test import Client
from django.utils import timezone

from agenthub_site.accounts.models import User
from agents.coordination.errors import MessageLimitReached
from agents.coordination.models import Round, Task
from agents.coordination.services.messages import send_message
from agents.mail.acting import Acting
from agents.mail.actor_calls import call
from agents.mail.doors import send_for
from agents.mail.shapes import SendIn
from agents.triggers import ticking
from agents.triggers.models import Firing
from agents.triggers.services import set_trigger
from mailboxes.models import Message
from nodes.contract.errors import HubError

from .conftest import Crew

Say = Callable[[dict[str, Any]], None]


@pytest.fixture(autouse=True)
def _really_committed(transactional_db: None) -> None:
    """Doors write on threads of their own."""


def by_rest(crew: Crew, bob: User) -> Say:
    """``POST /api/v1/messages``."""

    def say(payload: dict[str, Any]) -> None:
        async_to_sync(send_for)(crew.operator, SendIn(to=["wim"], payload=payload))

    return say


def by_actor(crew: Crew, bob: User) -> Say:
    """``agenthub actor send``."""

    def say(payload: dict[str, Any]) -> None:
        said = json.dumps({"to": ["wim"], "payload": payload}).encode()
        async_to_sync(call)(Acting(crew.zoe, crew.project.pk), "send", said)

    return say


def by_trigger(crew: Crew, bob: User) -> Say:
    """A message at a time."""

    def say(payload: dict[str, Any]) -> None:
        trigger = set_trigger(crew.project, by=crew.zoe, payload=payload, delay_seconds=60)
        ticking.tick(timezone.now() + timedelta(seconds=61))
        if not trigger.firings.filter(outcome=Firing.Outcome.FIRED).exists():
            raise MessageLimitReached

    return say


@pytest.mark.parametrize("door", [by_rest, by_actor, by_trigger])
def test_a_message_about_a_round_counts_by_every_door(crew: Crew, bob: User, door: Callable[[Crew, User], Say]) -> None:
    crew.limit(max_messages_per_task=2)
    say, round_ = door(crew, bob), crew.plan()
    send_message(by=crew.ada, to_agent="wim", subject="x", body="y", round_id=str(round_.pk))
    say({"text": "one more", "round_id": str(round_.pk)})
    assert Task.objects.get().message_count == 2
    with pytest.raises(MessageLimitReached):
        say({"text": "too many", "round_id": str(round_.pk)})
    assert Message.objects.filter(payload__contains="too many").count() == 0
    say({"text": "of no task"})
    say({"text": "of no task either", "round_id": str(crew.project.pk)})
    assert Task.objects.get().message_count == 2


def test_an_answer_in_the_browser_counts_as_well(crew: Crew, bob: User, client: Client) -> None:
    crew.limit(max_messages_per_task=2)
    round_ = crew.plan()
    asked = send_message(by=crew.ada, to_agent="user:bob", subject="x", body="y", round_id=str(round_.pk)).message_id
    client.force_login(bob)
    for text in ("Yes.", "No."):
        client.post(f"/messages/{asked}/answer/", {"text": text, "key": uuid4()})
    assert list(Message.objects.filter(payload__contains="text").values_list("payload", flat=True)) == [
        '{"text":"Yes."}'
    ]
    assert Task.objects.get().message_count == 2


def test_an_answer_to_an_answer_by_another_door_is_about_the_same_round(crew: Crew) -> None:
    crew.limit(max_messages_per_task=3)
    round_ = crew.plan()
    first = send_message(by=crew.ada, to_agent="wim", subject="x", body="?", round_id=str(round_.pk)).message_id
    said = SendIn(to=["ada"], payload={"text": "!"}, reply_to=first)
    second = async_to_sync(send_for)(crew.wim, said).message_id
    third = send_message(by=crew.ada, to_agent="wim", subject="x", body="?!", reply_to=second).message_id
    assert told_round(third) == round_.pk
    with pytest.raises(MessageLimitReached):
        async_to_sync(send_for)(crew.wim, said.model_copy(update={"reply_to": third}))


def test_the_same_message_again_counts_once(crew: Crew) -> None:
    payload = {"round_id": str(crew.plan().pk)}
    for _ in range(2):
        async_to_sync(send_for)(crew.zoe, SendIn(to=["wim"], payload=payload, dedupe_key="k"))
    assert Task.objects.get().message_count == 1


def test_what_was_refused_counts_nothing(crew: Crew) -> None:
    payload = {"round_id": str(crew.plan().pk)}
    with pytest.raises(HubError):
        async_to_sync(send_for)(crew.zoe, SendIn(to=["wim"], payload=payload, reply_to=Round.objects.get().pk))
    assert (Message.objects.count(), Task.objects.get().message_count) == (0, 0)


def told_round(message_id: UUID) -> UUID:
    return UUID(json.loads(Message.objects.get(pk=message_id).payload)["round_id"])
