"""A message to a webhook leaves a real hub by its worker, signed with what `agenthub webhook add` told."""

import json

import pytest

from tests.support import eventually
from tests.webhooks.ears import listening

from .hub import running_hub
from .machine import client_of

pytestmark = [pytest.mark.journey, pytest.mark.timeout(240)]


def test_a_message_is_posted_by_the_worker_and_tried_again_until_it_is_taken() -> None:
    with running_hub(AGENTHUB_WEBHOOKS__ALLOW="127.0.0.1") as hub, listening() as ears:
        ears.answers = [(503, {"retry-after": "1"}), 200]
        said = ("--project", "demo", "--name", "builds", "--url", ears.address)
        made = hub.cli("webhook", "add", *said, AGENTHUB_WEBHOOKS__ALLOW="127.0.0.1")
        assert made.returncode == 0, made.stderr
        secret = made.stdout.strip()
        message = {"to": ["webhook:builds"], "project": "demo", "payload": {"build": "main"}}
        client_of(hub).post("/api/v1/messages", message)
        eventually(lambda: len(ears.got) == 2, 90)
        first, again = ears.got
        assert first.is_signed_with(secret) and again.is_signed_with(secret)
        assert first.headers["webhook-id"] == again.headers["webhook-id"]
        assert again.said["data"]["payload"] == {"build": "main"}
        eventually(lambda: hub.ask("webhook", "list")[0]["last_result"] == "200", 30)
        assert secret not in hub.cli("webhook", "list", "--json").stdout


def test_a_test_tells_what_the_other_end_answered() -> None:
    with running_hub(AGENTHUB_WEBHOOKS__ALLOW="127.0.0.1") as hub, listening() as ears:
        said = ("--project", "demo", "--name", "builds", "--url", ears.address, "--json")
        made = json.loads(hub.cli("webhook", "add", *said, AGENTHUB_WEBHOOKS__ALLOW="127.0.0.1").stdout)
        for answer, code, state, words in (
            (204, 0, "acked", "204"),
            (404, 1, "dead", "It answered 404."),
            ((503, {"retry-after": "1"}), 1, "queued", "It answered 503."),
        ):
            ears.answers = [answer]
            ended = hub.cli("webhook", "test", "builds", "--json", timeout=60)
            told = json.loads(ended.stdout)
            assert (ended.returncode, told["state"], told["answer"]) == (code, state, words), ended.stderr + hub.logs()
            assert ears.got[-1].is_signed_with(made["secret"])
            assert ears.got[-1].headers["webhook-id"] == told["message_id"]
            assert (ears.got[-1].said["data"]["kind"], told["seconds"] > 0) == ("test", True)
