"""A person's messages in the browser: read, answered, dealt with, written; and what was given up, delivered again."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from agenthub_site.accounts.models import Project, User
from agents.models import Agent
from audit.models import AuditEvent
from mailboxes.addresses import Address
from mailboxes.limits import ATTEMPTS
from mailboxes.services import inbox, receive, send
from tests.factories import make_project
from tests.mailboxes.post import let_leases_end, mail

SignIn = Callable[[User], Client]


@pytest.fixture
def mender(agent: Agent) -> Address:
    return Address.of("agent", agent.pk)


@pytest.fixture
def me(alice: User) -> Address:
    return Address.of("user", alice.pk)


def texts(owner: Address) -> list[object]:
    return [each.payload for each in inbox(owner).results]


def test_an_empty_inbox_says_how_one_is_written_to(web: Client, project: Project) -> None:
    page = web.get("/messages/").content.decode()
    assert "No messages wait for you" in page and "agenthub actor send --to user" in page


def test_mail_is_listed_read_and_dealt_with(web: Client, project: Project, mender: Address, me: Address) -> None:
    sent = mail(project, me, sender=mender, subject="The net", payload={"text": "It is <torn>.", "metres": 3})
    page = web.get("/messages/").content.decode()
    assert "The net" in page and "harbour/" in page and ">1</span>" in web.get("/messages/badge/").content.decode()
    page = web.get(f"/messages/{sent.message_id}/").content.decode()
    assert "It is &lt;torn&gt;." in page and "&quot;metres&quot;: 3" in page
    assert web.post(f"/messages/{sent.message_id}/done/")["Location"] == "/messages/"
    assert "The net" not in web.get("/messages/").content.decode()
    assert "The net" in web.get("/messages/?tab=done").content.decode()


def test_an_answer_goes_to_who_wrote_once_and_settles_the_message(
    web: Client, project: Project, mender: Address, me: Address
) -> None:
    sent = mail(project, me, sender=mender, subject="The net", payload={"text": "Shall I?"})
    given = {"text": "Do.", "key": str(uuid4())}
    for _ in range(2):
        assert web.post(f"/messages/{sent.message_id}/answer/", given).status_code == 302
    (answer,) = inbox(mender).results
    assert (answer.payload, answer.subject, answer.reply_to) == ({"text": "Do."}, "Re: The net", sent.message_id)
    assert answer.hop_count == 1 and inbox(me, state="open").results == []


def test_a_message_is_written_to_agents_and_people(
    web: Client, project: Project, agent: Agent, mender: Address
) -> None:
    given = {"project": project.slug, "to": f"{agent.name}, agent:{agent.pk}", "text": "Good morning", "key": uuid4()}
    answer = web.post("/messages/new/", given)
    assert answer.status_code == 302 and texts(mender) == [{"text": "Good morning"}]
    assert "Recipients" in web.get(answer["Location"]).content.decode()
    answer = web.post("/messages/new/", {**given, "to": "nobody-there", "key": uuid4()})
    assert answer.status_code == 400 and "nobody-there" in answer.content.decode()
    assert len(texts(mender)) == 1


def test_mail_of_others_is_not_found(sign_in: SignIn, project: Project, bob: User, charlie: User, me: Address) -> None:
    sent = mail(project, me)
    for other in (bob, charlie):
        web = sign_in(other)
        assert web.get(f"/messages/{sent.message_id}/").status_code == 404
        for verb in ("done", "answer", "requeue"):
            given = {"text": "x", "key": uuid4()}
            assert web.post(f"/messages/{sent.message_id}/{verb}/", given).status_code == 404
    assert inbox(me, state="open").results


def test_who_may_not_write_is_told_so(sign_in: SignIn, project: Project, charlie: User) -> None:
    assert "no project in which you may write" in sign_in(charlie).get("/messages/new/").content.decode()


def test_what_was_given_up_is_delivered_again(web: Client, project: Project, mender: Address, me: Address) -> None:
    sent = mail(project, mender, sender=Address.of("system", "hub"), subject="Mend it")
    assert "Nothing was given up" in web.get("/messages/?tab=dead").content.decode()
    for _ in range(ATTEMPTS):
        assert receive(mender)
        let_leases_end(mender)
    page = web.get("/messages/?tab=dead").content.decode()
    assert "Mend it" in page and "Its lease ran out." in page
    assert "Deliver again" in web.get(f"/messages/{sent.message_id}/").content.decode()
    web.post(f"/messages/{sent.message_id}/requeue/")
    assert receive(mender) and AuditEvent.objects.filter(name="mail.requeued").exists()
    page = web.post(f"/messages/{sent.message_id}/requeue/", follow=True).content.decode()
    assert "No delivery of this message is dead." in page


def test_what_a_message_says_is_read_once_however_many_have_a_copy(
    web: Client, project: Project, mender: Address, me: Address
) -> None:
    to = [me, *(Address.of("agent", uuid4()) for _ in range(20))]
    sent = send(project.pk, mender, to, {"text": "To all"}, subject="The net")
    for address in (f"/messages/{sent.message_id}/", f"/api/v1/messages/{sent.message_id}/"):
        with CaptureQueriesContext(connection) as asked:
            page = web.get(address).content.decode()
        assert "To all" in page
        assert len([query for query in asked.captured_queries if '"payload"' in query["sql"]]) == 1


@pytest.mark.parametrize("before", ["x", "-", "1.5"])
def test_a_place_that_cannot_be_is_not_found(web: Client, project: Project, before: str) -> None:
    assert web.get(f"/messages/?before={before}").status_code == 404


def test_pages_follow_each_other(web: Client, project: Project, mender: Address, me: Address) -> None:
    for number in range(52):
        mail(project, me, sender=mender, subject=f"No. {number:02}")
    first = web.get("/messages/").content.decode()
    assert "No. 51" in first and "No. 01" not in first and "?before=3" in first
    second = web.get("/messages/?before=3").content.decode()
    assert "No. 01" in second and "No. 00" in second and "No. 02" not in second


@pytest.mark.parametrize("to", [",", " , ", ",".join(["a"] * 101)])
def test_who_names_nobody_or_too_many_is_told_so(web: Client, project: Project, to: str) -> None:
    answer = web.post("/messages/new/", {"project": project.slug, "to": to, "text": "x", "key": uuid4()})
    assert answer.status_code == 400 and "Name 1 to 100 of them" in answer.content.decode()


def test_recipients_are_offered_by_as_many_queries_for_many_projects(
    web: Client, project: Project, agent: Agent, alice: User, django_assert_num_queries: Any
) -> None:
    web.get("/messages/new/")
    with CaptureQueriesContext(connection) as of_one:
        web.get("/messages/new/")
    for number in range(10):
        make_project(f"pier-{number}", owner=alice)
    with django_assert_num_queries(len(of_one)):
        page = web.get("/messages/new/").content.decode()
    assert f'<option value="{agent.name}">' in page and '<option value="bob">' in page


def test_what_an_agent_wrote_by_mcp_is_read_as_text(
    web: Client, project: Project, mender: Address, me: Address
) -> None:
    wrote = {"body": "Shall I <go> on?", "round_id": "r-7"}
    sent = mail(project, me, sender=mender, subject="Done?", payload=wrote)
    page = web.get(f"/messages/{sent.message_id}/").content.decode()
    assert "Shall I &lt;go&gt; on?</div>" in page and "&quot;round_id&quot;: &quot;r-7&quot;" in page
    assert "&quot;body&quot;" not in page
    assert "Shall I &lt;go&gt; on?" in web.get("/messages/").content.decode()  # beneath the subject
