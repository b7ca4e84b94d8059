"""Mail over HTTP: sent, told, received, acked, delivered again."""

import asyncio
import json
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.utils import timezone

from agenthub_site import asgi
from agenthub_site.accounts.authentication import actor_of
from agenthub_site.accounts.models import Project, User
from agenthub_site.accounts.tokens import create_agent_token
from agents.coordination.models import Limits
from agents.models import Agent
from agents.services.agents import archive_agent
from agents.webhooks.services import add_webhook, remove_webhook
from audit.bell import bell
from mailboxes.models import Delivery, Message
from mailboxes.services import Address, inbox, send
from nodes.contract.ids import new_id
from tests.api.clients import Api, refusal
from tests.factories import make_agent, make_project, make_root, make_token, make_user

pytestmark = pytest.mark.django_db(transaction=True)


class Caller:
    """Speaks to the hot doors with one token."""

    def __init__(self, secret: str) -> None:
        self.secret = secret

    def __call__(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        return async_to_sync(self.ask)(method, path, body)

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        path, _, query = path.partition("?")
        raw = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else b""
        scope = {
            "type": "http", "method": method, "path": path, "query_string": query.encode(), "scheme": "http",
            "headers": [(b"host", b"localhost"), (b"authorization", f"Bearer {self.secret}".encode())],
            "client": ("127.0.0.1", 1),
        }  # fmt: skip
        asked: Iterator[MutableMapping[str, Any]] = iter([{"type": "http.request", "body": raw}])
        sent: list[MutableMapping[str, Any]] = []

        async def receive() -> MutableMapping[str, Any]:
            for message in asked:
                return message
            await asyncio.Event().wait()
            raise AssertionError

        async def take(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        await asgi.dispatch(scope, receive, take)
        return sent[0]["status"], json.loads(b"".join(message.get("body", b"") for message in sent[1:]))


@pytest.fixture
def mender(project: Project) -> Agent:
    return make_agent("mender", project=project)


@pytest.fixture
def as_(project: Project, mender: Agent) -> Callable[[str], Caller]:
    def make(name: str) -> Caller:
        if name == "mender":
            label = f"{project.slug}/mender"
            made = create_agent_token(mender.pk, label, project.pk, name="t", by=_root(), expires_at=None, scope=None)
            return Caller(made[1])
        return Caller(make_token(make_user(name)))

    return make


def _root() -> Any:
    from agenthub_site.accounts.authentication import actor_of

    return actor_of(make_root())


def test_a_message_goes_from_a_person_to_an_agent_and_back(as_: Callable[[str], Caller], project: Project) -> None:
    alice, mender = as_("alice"), as_("mender")
    status, sent = alice("POST", "/api/v1/messages", {"to": ["mender"], "payload": {"text": "Hi"}, "subject": "Net"})
    assert (status, sent["created"], sent["to"][0]["number"]) == (200, True, 1)
    _, page = mender("GET", "/api/v1/inbox")
    assert (page["pending_count"], page["results"][0]["from"]["name"], page["results"][0]["state"]) == (
        1, "alice", "queued",
    )  # fmt: skip
    _, got = mender("POST", "/api/v1/inbox/receive", {})
    (copy,) = got["results"]
    assert (copy["payload"], copy["state"], copy["to"]["name"]) == ({"text": "Hi"}, "leased", "harbour/mender")
    reply = {"to": ["user:alice"], "payload": "Yes?", "reply_to": copy["message_id"]}
    assert mender("POST", "/api/v1/messages", reply)[1]["hop_count"] == 1
    _, acked = mender("POST", "/api/v1/inbox/ack", {"message_ids": [copy["message_id"], 1, 99]})
    assert [(each["status_changed"], each["code"]) for each in acked["results"]] == [
        (True, None), (False, None), (False, "not_found"),
    ]  # fmt: skip
    assert alice("GET", "/api/v1/inbox?state=open")[1]["results"][0]["payload"] == "Yes?"


def test_an_id_that_is_none_has_its_own_error_in_an_ack(as_: Callable[[str], Caller], project: Project) -> None:
    mender = as_("mender")
    as_("bob")("POST", "/api/v1/messages", {"to": ["mender"], "payload": 1})
    status, acked = mender("POST", "/api/v1/inbox/ack", {"message_ids": ["nonsense", 0, "", 1]})
    assert status == 200
    told = [(each["id"], each["code"]) for each in acked["results"]]
    assert told == [("nonsense", "not_found"), (0, "not_found"), ("", "not_found"), (1, None)]
    assert acked["results"][-1]["status_changed"]


def test_a_team_is_everybody_but_the_sender(as_: Callable[[str], Caller], project: Project) -> None:
    _, sent = as_("mender")("POST", "/api/v1/messages", {"to": ["team:all"], "payload": 1})
    people = {str(pk) for pk in User.objects.filter(username__in=("alice", "bob")).values_list("pk", flat=True)}
    assert {each["id"] for each in sent["to"]} == people
    assert Message.objects.get().audience == "team:all"


@pytest.mark.parametrize(("who", "status", "told"), [("mender", 409, "hop_limit"), ("bob", 200, None)])
def test_agents_answer_within_their_projects_limit_at_this_door_too(
    as_: Callable[[str], Caller], project: Project, who: str, status: int, told: str | None
) -> None:
    Limits.objects.create(project=project, max_hop_count=1)
    me, to = as_(who), ["mender"] if who == "bob" else ["user:alice"]
    sent: dict[str, Any] = {"message_id": None}
    answered = []
    for number in range(3):
        code, sent = me("POST", "/api/v1/messages", {"to": to, "payload": number, "reply_to": sent["message_id"]})
        answered.append(code)
    assert answered == [200, 200, status] and sent.get("error", {}).get("code") == told


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"to": ["nobody"], "payload": 1}, 404, "unknown_recipient"),
        ({"to": ["charlie"], "payload": 1}, 404, "unknown_recipient"),
        ({"to": ["pier/other"], "payload": 1}, 404, "unknown_recipient"),
        ({"to": ["agent:coordinator"], "payload": 1}, 404, "unknown_recipient"),
        ({"to": [], "payload": 1}, 400, "invalid"),
        ({"to": ["mender"]}, 400, "invalid"),
        ({"to": ["mender"], "payload": 1, "colour": 1}, 400, "invalid"),
        ({"to": ["mender"], "payload": 1, "run_id": str(new_id())}, 404, "not_found"),
        ({"to": ["mender"], "payload": 1, "reply_to": str(new_id())}, 404, "not_found"),
        ({"to": ["mender"], "payload": "x" * 70_000}, 413, "payload_too_large"),
        ({"to": ["mender"], "payload": "x" * 100_000}, 413, "too_large"),
        ({"to": ["mender"], "payload": 1, "hop_count": 17}, 409, "hop_limit"),
        (b"{", 400, "invalid"),
        (b"[" * 5_000, 400, "invalid"),
        (b'{"to": ["mender"], "payload": NaN}', 400, "invalid"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_does_not_fit_is_refused_with_a_code_and_changes_nothing(
    as_: Callable[[str], Caller], body: Any, status: int, code: str
) -> None:
    make_agent("other", project=make_project("pier"))
    if isinstance(body, dict):
        body = {"project": "harbour", **body}
    answered, told = as_("alice")("POST", "/api/v1/messages", body)
    assert (answered, told["error"]["code"]) == (status, code)
    assert Message.objects.count() == 0


def test_mail_of_a_project_that_one_has_left_is_no_longer_shown(
    as_: Callable[[str], Caller], project: Project, mender: Agent, bob: User
) -> None:
    send(project.pk, Address.of("agent", mender.pk), [Address.of("user", bob.pk)], 1)
    assert len(as_("bob")("GET", "/api/v1/inbox")[1]["results"]) == 1
    bob.memberships.all().delete()
    make_project("pier", bob="viewer")
    assert as_("bob")("GET", "/api/v1/inbox")[1]["results"] == []
    assert as_("bob")("POST", "/api/v1/inbox/receive")[1]["results"] == []
    assert as_("bob")("POST", "/api/v1/inbox/ack", {"message_ids": [1]})[1]["results"][0]["code"] == "not_found"


def test_receiving_waits_for_mail_and_is_woken(
    as_: Callable[[str], Caller], project: Project, mender: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bell, "is_closed", False)  # and not for the tests that come after, either

    async def wait_and_send() -> tuple[Any, float]:
        await bell.start(home=None, redis_url="", counters=lambda _: {}, poll_seconds=60)
        loop = asyncio.get_running_loop()
        try:
            waiting = asyncio.create_task(caller.ask("POST", "/api/v1/inbox/receive", {"wait": 20}))
            await asyncio.sleep(0.3)
            began = loop.time()
            await asyncio.to_thread(send, project.pk, Address("system", "system"), [me], "Wake up")
            (_, got) = await waiting
            return got, loop.time() - began
        finally:
            await bell.stop()

    caller, me = as_("mender"), Address.of("agent", mender.pk)
    got, took = async_to_sync(wait_and_send)()
    assert got["results"][0]["payload"] == "Wake up"
    assert took < 15  # of 20; the bell, and neither the wait's end nor the poll


def test_dead_letters_are_listed_and_delivered_again(
    as_: Callable[[str], Caller], project: Project, mender: Agent
) -> None:
    sent = send(project.pk, Address("system", "system"), [me := Address.of("agent", mender.pk)], 1)
    Delivery.objects.update(state="dead", settled_at=timezone.now(), reason="Nobody took it.")
    alice, bob = Api(make_user("alice")), Api(make_user("bob"))
    (letter,) = alice.get(f"/api/v1/messages/dead/?project={project.slug}").json()["results"]
    assert (letter["reason"], letter["state"]) == ("Nobody took it.", "dead")
    assert refusal(bob.get(f"/api/v1/messages/dead/?project={project.slug}")) == (403, "forbidden")
    address = f"/api/v1/messages/{sent.message_id}/requeue/"
    assert refusal(bob.post(address)) == (404, "not_found")
    assert refusal(alice.post(address, {"to": ["user:nobody"]})) == (409, "wrong_state")
    assert alice.post(address, {}).json()["to"][0]["name"] == "harbour/mender"
    assert refusal(alice.post(address)) == (409, "wrong_state")
    assert [(copy.number, copy.state) for copy in inbox(me).results] == [(2, "queued")]
    (copy,) = alice.get(f"/api/v1/messages/{sent.message_id}/").json()
    assert (copy["state"], copy["redelivered"]) == ("queued", 0)


def test_what_is_dead_is_delivered_again_to_those_who_are_still_there(
    project: Project, mender: Agent, alice: User
) -> None:
    hook, _ = add_webhook(project, name="quay", url="https://example.com/", by=actor_of(alice))
    cook = make_agent("cook", project=project)
    there, away = Address.of("agent", mender.pk), [hook.address, Address.of("agent", cook.pk)]
    sent = send(project.pk, Address("system", "system"), [there, *away], 1)
    remove_webhook(hook, by=actor_of(alice))
    archive_agent(cook, by=actor_of(alice))
    Delivery.objects.update(state="dead", settled_at=timezone.now())
    api, address = Api(alice), f"/api/v1/messages/{sent.message_id}/requeue/"
    for gone in away:
        assert refusal(api.post(address, {"to": [str(gone)]})) == (409, "recipient_gone")
    assert [each["id"] for each in api.post(address, {}).json()["to"]] == [there.id]
    assert refusal(api.post(address, {})) == (409, "recipient_gone")
    assert [inbox(each).results[0].state for each in away] == ["dead", "dead"]


@pytest.mark.parametrize("word", ["mender", "harbour/mender", "agent:mender"])
def test_those_to_whom_it_is_delivered_again_are_named_as_when_sending(
    project: Project, mender: Agent, alice: User, word: str
) -> None:
    cook = make_agent("cook", project=project)
    sent = send(project.pk, Address("system", "system"), [Address.of("agent", each.pk) for each in (mender, cook)], 1)
    Delivery.objects.update(state="dead", settled_at=timezone.now())
    api, address = Api(alice), f"/api/v1/messages/{sent.message_id}/requeue/"
    assert [to["name"] for to in api.post(address, {"to": [word]}).json()["to"]] == ["harbour/mender"]
    assert refusal(api.post(address, {"to": [word]})) == (409, "wrong_state")


def test_a_recipient_sees_its_own_copy_alone(project: Project, mender: Agent, alice: User, bob: User) -> None:
    to = [Address.of("user", bob.pk), Address.of("agent", mender.pk)]
    sent = send(project.pk, Address.of("user", alice.pk), to, 1)
    assert len(Api(alice).get(f"/api/v1/messages/{sent.message_id}/").json()) == 2
    assert len(Api(bob).get(f"/api/v1/messages/{sent.message_id}/").json()) == 1
    assert refusal(Api(make_user("charlie")).get(f"/api/v1/messages/{sent.message_id}/")) == (404, "not_found")


def test_dead_letters_come_newest_first_and_page_by_page(project: Project, mender: Agent) -> None:
    both = [Address.of("agent", mender.pk), Address.of("agent", make_agent("cook", project=project).pk)]
    for number in range(52):
        send(project.pk, Address("system", "system"), both, number)
    Delivery.objects.update(state="dead", settled_at=timezone.now())
    alice, address = Api(make_user("alice")), f"/api/v1/messages/dead/?project={project.slug}"
    seen, pages = [], 0
    while address:
        page = alice.get(address).json()
        seen += [(letter["payload"], letter["to"]["name"]) for letter in page["results"]]
        address, pages = page["next"], pages + 1
    assert [number for number, _ in seen] == sorted([*range(52), *range(52)], reverse=True)
    assert len(set(seen)) == 104 and pages == 3
    assert refusal(alice.get(f"/api/v1/messages/dead/?project={project.slug}&cursor=x")) == (400, "invalid")


def test_what_is_large_is_handed_out_in_parts(as_: Callable[[str], Caller], project: Project, mender: Agent) -> None:
    me, caller = Address.of("agent", mender.pk), as_("mender")
    for _ in range(20):
        send(project.pk, Address("system", "system"), [me], "x" * 60_000)
    _, page = caller("GET", "/api/v1/inbox?limit=500")
    assert len(page["results"]) == 18 and page["next"] == 18 and page["last_number"] == 20
    _, rest = caller("GET", f"/api/v1/inbox?limit=500&after={page['next']}")
    assert [mail["number"] for mail in rest["results"]] == [19, 20] and rest["next"] == 20
    numbers = [[mail["number"] for mail in caller("POST", "/api/v1/inbox/receive", {"limit": 500})[1]["results"]]]
    numbers += [[mail["number"] for mail in caller("POST", "/api/v1/inbox/receive", {"limit": 500})[1]["results"]]]
    assert numbers == [list(range(1, 19)), [19, 20]]


def test_a_token_reads_mail_only_if_it_says_so(project: Project, alice: User) -> None:
    run, mail = (Caller(make_token(alice, scope=scope)) for scope in ("run", "message:read"))
    for path in ("/api/v1/inbox", "/api/v1/inbox/stream"):
        status, answer = run("GET", path)
        assert (status, answer["error"]["code"]) == (403, "out_of_scope"), path
    assert mail("GET", "/api/v1/inbox")[0] == 200


def test_a_nul_is_no_failing_database(as_: Callable[[str], Caller], project: Project, mender: Agent) -> None:
    caller = as_("mender")
    for to in ("a\x00", "user:\x00", "agent:b\x00"):
        status, answer = caller("POST", "/api/v1/messages", {"to": [to], "payload": 1})
        assert status in (400, 404), answer
