"""Teams: who may be in one, who gets what is written to it, and who no longer does."""

import json
import threading
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agenthub_site.accounts.actors import Actor
from agenthub_site.accounts.authentication import actor_of
from agenthub_site.accounts.models import Membership, Project, User
from agenthub_site.accounts.services import add_member, create_service_account, remove_member
from agents.coordination.services.messages import send_message
from agents.mail.acting import acting_as, actor_of_agent
from agents.mail.actor_calls import call
from agents.mail.addressing import UnknownRecipient, WebhookOff, resolve
from agents.mail.desk import prepare
from agents.mail.shapes import SendIn
from agents.models import Agent
from agents.services.agents import archive_agent
from agents.teams import services
from agents.teams.models import Team, TeamMember
from agents.teams.services import (
    MOST,
    TeamExists,
    TeamFull,
    TooManyTeams,
    UnknownMember,
    add_to_team,
    create_team,
    delete_team,
    remove_from_team,
)
from agents.triggers.services import set_trigger
from agents.triggers.ticking import tick
from agents.webhooks.models import Webhook
from mailboxes.addresses import Address
from mailboxes.errors import DedupeConflict
from mailboxes.models import Delivery, Message
from mailboxes.services import inbox, post
from nodes.contract.errors import Invalid, NotFound
from tests.factories import make_agent, make_project

ANN = Address("system", "system")


@pytest.fixture
def by(alice: User, project: Project) -> Actor:
    return actor_of(alice)


@pytest.fixture
def mender(project: Project) -> Agent:
    return make_agent("mender", project=project)


@pytest.fixture
def docs(project: Project, by: Actor, mender: Agent) -> Team:
    """Mender, Alice and Bob."""
    return create_team(project, slug="docs", members=["mender", "user:alice", "user:bob"], by=by)


def address(who: User | Agent) -> Address:
    return Address.of("user" if isinstance(who, User) else "agent", who.pk)


def write(by: Actor, to: str = "team:docs", payload: Any = 1, **more: Any) -> Any:
    return post(prepare(by, SendIn(to=[to], payload=payload, project="harbour", **more)))


def got(who: User | Agent) -> list[Any]:
    return [each.payload for each in inbox(address(who)).results]


def test_each_member_gets_a_copy_of_their_own_and_the_sender_none(
    docs: Team, by: Actor, alice: User, bob: User, mender: Agent
) -> None:
    sent = write(by)
    assert {to for to, _ in sent.deliveries} == {address(bob), address(mender)}
    assert (got(alice), got(bob), got(mender)) == ([], [1], [1])
    assert Message.objects.get().audience == "team:docs"
    write(actor_of_agent(mender), payload=2)
    assert (got(alice), got(bob), got(mender)) == ([2], [1, 2], [1])


def test_a_broadcast_is_left_to_the_inbox_as_that_to_all_is(docs: Team, by: Actor) -> None:
    write(by)
    assert not Delivery.objects.filter(told_at=None).exists()


def test_who_is_not_in_a_team_may_write_to_it(docs: Team, project: Project, alice: User) -> None:
    write(actor_of_agent(make_agent("tester", project=project)))
    assert got(alice) == [1]


def test_the_same_key_is_the_same_message_though_members_came_and_went(
    docs: Team, by: Actor, bob: User, project: Project
) -> None:
    first = write(by, dedupe_key="k")
    tester = make_agent("tester", project=project)
    add_to_team(docs, ["tester"], by=by)
    remove_from_team(docs, ["user:bob"], by=by)
    again = write(by, dedupe_key="k")
    assert (again.message_id, again.created) == (first.message_id, False)
    assert (got(bob), got(tester)) == ([1], [])


@pytest.mark.parametrize("how", ["emptied", "deleted"])
def test_the_same_key_is_the_same_message_though_the_team_is_gone(docs: Team, by: Actor, how: str) -> None:
    first = write(by, dedupe_key="k")
    if how == "deleted":
        delete_team(docs, by=by)
    else:
        TeamMember.objects.filter(team=docs).delete()
    again = write(by, dedupe_key="k")
    assert (again.message_id, again.created, again.deliveries) == (first.message_id, False, first.deliveries)
    for other in ({"payload": 2}, {"to": "team:none"}, {"to": "ghost"}):
        with pytest.raises(DedupeConflict):
            write(by, dedupe_key="k", **other)
    with pytest.raises(UnknownRecipient):
        write(by, dedupe_key="another")
    assert Message.objects.count() == 1


@pytest.mark.parametrize("word", ["mender", "agent:mender", "harbour/mender", "ID"])
def test_the_same_key_is_the_same_message_though_its_recipient_was_archived(
    mender: Agent, by: Actor, bob: User, word: str
) -> None:
    given = SendIn(to=["user:bob", word.replace("ID", str(mender.pk))], payload=1, project="harbour", dedupe_key="k")
    first = post(prepare(by, given))
    with CaptureQueriesContext(connection) as before:
        prepare(by, given)
    assert not any("mailbox_message" in query["sql"] for query in before.captured_queries)
    archive_agent(mender, by=by)
    again = post(prepare(by, given))
    assert (again.message_id, again.created) == (first.message_id, False)
    for other in ({"payload": 2}, {"to": [word]}, {"to": ["user:alice", "mender"]}, {"to": ["user:bob", "ghost"]}):
        with pytest.raises((DedupeConflict, UnknownRecipient)):
            post(prepare(by, given.model_copy(update=other)))
    assert (got(mender), got(bob)) == ([1], [1])


@pytest.mark.parametrize("is_deleted", [True, False])
def test_the_same_key_is_the_same_message_though_the_webhook_is_off_or_gone(
    project: Project, by: Actor, is_deleted: bool
) -> None:
    hook = Webhook.objects.create(project=project, name="builds", url="https://example.org/")
    first = write(by, to="webhook:builds", dedupe_key="k")
    if is_deleted:
        hook.delete()
    else:
        Webhook.objects.update(is_enabled=False)
    assert write(by, to="webhook:builds", dedupe_key="k").message_id == first.message_id
    with pytest.raises((WebhookOff, UnknownRecipient)):
        write(by, to="webhook:builds", dedupe_key="another")
    with pytest.raises((WebhookOff, UnknownRecipient)):
        write(by, to="webhook:builds")


def test_who_was_taken_out_keeps_what_came_and_gets_no_more(docs: Team, by: Actor, bob: User, mender: Agent) -> None:
    write(by, payload="before")
    remove_from_team(docs, ["bob"], by=by)
    write(by, payload="after")
    assert (got(bob), got(mender)) == (["before"], ["before", "after"])


def test_who_leaves_the_project_leaves_its_teams_and_does_not_come_back_with_it(
    docs: Team, by: Actor, bob: User, project: Project, mender: Agent
) -> None:
    remove_member(project, bob, by=actor_of(bob))
    archive_agent(mender, by=by)
    assert [member.name for member in docs.members.select_related("membership__user")] == ["alice"]
    add_member(project, bob, "developer", by=by)
    assert docs.members.count() == 1


def test_who_may_not_sign_in_gets_nothing(docs: Team, by: Actor, bob: User) -> None:
    User.objects.filter(pk=bob.pk).update(is_active=False)
    assert [to for to, _ in write(by).deliveries if to.kind == "user"] == []


@pytest.mark.parametrize("word", ["team:none", "team:", "team:Docs", "team:do\x00cs", "team:" + "x" * 500])
def test_a_team_that_is_not_there_is_an_unknown_recipient(docs: Team, by: Actor, word: str) -> None:
    with pytest.raises(UnknownRecipient, match="no team"):
        write(by, word)


def test_another_projects_team_is_not_found(docs: Team, by: Actor, alice: User) -> None:
    pier = make_project("pier", owner=alice)
    create_team(pier, slug="crew", members=["user:alice"], by=actor_of(alice))
    for project_id, word in ((pier.pk, "team:docs"), (docs.project_id, "team:crew")):
        with pytest.raises(UnknownRecipient):
            resolve(project_id, [word], sender=ANN)
    assert resolve(pier.pk, ["team:crew"], sender=ANN).addresses == (address(alice),)


def test_a_team_of_nobody_else_says_so(by: Actor, project: Project, alice: User) -> None:
    create_team(project, slug="me", members=["user:alice"], by=by)
    create_team(project, slug="none", by=by)
    for word in ("team:me", "team:none"):
        with pytest.raises(UnknownRecipient, match="nobody else in the team"):
            write(by, word)


def test_a_team_is_written_to_alone(docs: Team, by: Actor) -> None:
    for words in (["team:docs", "bob"], ["team:docs", "team:all"], ["all", "mender"]):
        with pytest.raises(Invalid):
            resolve(docs.project_id, words, sender=ANN)


def test_a_send_takes_as_many_queries_however_large_the_team_is(docs: Team, by: Actor, project: Project) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            write(by)
        return len(captured)

    queries()
    of_three = queries()
    for number in range(20):
        make_agent(f"agent-{number}", project=project)
    add_to_team(docs, [f"agent-{number}" for number in range(20)], by=by)
    assert queries() == of_three


def test_adding_and_removing_is_of_all_or_none(docs: Team, by: Actor, project: Project) -> None:
    make_agent("tester", project=project)
    with pytest.raises(UnknownMember, match="'ghost'"):
        add_to_team(docs, ["tester", "ghost"], by=by)
    with pytest.raises(UnknownMember, match="'tester'"):
        remove_from_team(docs, ["mender", "tester"], by=by)
    assert docs.members.count() == 3
    add_to_team(docs, ["tester", "mender", "agent:tester"], by=by)
    assert docs.members.count() == 4


@pytest.mark.parametrize("word", ["charlie", "user:charlie", "webhook:x", "team:all", "user", "pier/other", "a\x00b"])
def test_only_agents_and_members_of_the_project_are_added(
    docs: Team, by: Actor, charlie: User, alice: User, word: str
) -> None:
    make_agent("other", project=make_project("pier", owner=alice))
    with pytest.raises(UnknownMember):
        add_to_team(docs, [word], by=by)


def test_a_service_account_is_in_no_team(docs: Team, by: Actor, project: Project) -> None:
    create_service_account(project, "quay-ci", "developer", by)
    with pytest.raises(Invalid, match="quay-ci is a service account"):
        add_to_team(docs, ["user:quay-ci"], by=by)


def test_slugs_are_plain_and_a_projects_own(docs: Team, by: Actor, project: Project, alice: User) -> None:
    for slug in ("all", "", "A", "a b", "-a", "../x", "a" * 65, "team:x"):
        with pytest.raises(Invalid):
            create_team(project, slug=slug, by=by)
    with pytest.raises(TeamExists):
        create_team(project, slug="docs", by=by)
    pier = make_project("pier", owner=alice)
    assert create_team(pier, slug="docs", by=actor_of(alice)).name == "docs"


def test_there_are_not_more_teams_and_members_than_is_sensible(
    docs: Team, by: Actor, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    Team.objects.bulk_create(Team(project=project, slug=f"t-{n}", name="t") for n in range(MOST - 1))
    with pytest.raises(TooManyTeams):
        create_team(project, slug="more", by=by)
    monkeypatch.setattr(services, "MOST_MEMBERS", 3)
    make_agent("tester", project=project)
    with pytest.raises(TeamFull):
        add_to_team(docs, ["tester"], by=by)
    add_to_team(docs, ["mender"], by=by)  # who is in it already


def test_a_trigger_writes_to_who_is_in_the_team_when_it_fires(
    docs: Team, by: Actor, project: Project, bob: User
) -> None:
    trigger = set_trigger(project, by=by, delay_seconds=1, to=["team:docs"], payload="Morning")
    remove_from_team(docs, ["bob", "mender"], by=by)
    tester = make_agent("tester", project=project)
    add_to_team(docs, ["tester"], by=by)
    assert trigger.next_at is not None and tick(trigger.next_at) == 1
    assert (got(tester), got(bob)) == (["Morning"], [])
    with pytest.raises(UnknownRecipient):
        set_trigger(project, by=by, delay_seconds=1, to=["team:none"], payload="x")


def ask(by: Agent, verb: str, **body: Any) -> dict[str, Any]:
    """As ``agenthub actor`` does, within a run or over gRPC."""
    return async_to_sync(call)(acting_as(str(by.pk)), verb, json.dumps(body).encode())


@pytest.mark.django_db(transaction=True)
def test_an_agent_asks_who_is_in_a_team_and_writes_to_it(docs: Team, mender: Agent, alice: User) -> None:
    everybody = ask(mender, "team-members")
    assert (everybody["team"], everybody["teams"]) == ("all", ["all", "docs"])
    make_agent("tester", project=docs.project)
    for word in ("docs", "team:docs"):
        told = ask(mender, "team-members", team=word)
        assert [each["name"] for each in told["members"]] == ["harbour/mender", "alice", "bob"]
        assert (told["team"], told["members"][0]["is_you"]) == ("docs", True)
    assert len(ask(mender, "send", to=["team:docs"], payload="Hi")["to"]) == 2
    assert got(alice) == ["Hi"]
    for verb, body in (("team-members", {"team": "none"}), ("send", {"to": ["team:none"], "payload": 1})):
        with pytest.raises(UnknownRecipient, match="'agenthub actor team-members' lists its teams"):
            ask(mender, verb, **body)


def test_an_agent_writes_to_a_team_by_mcp(docs: Team, mender: Agent, alice: User) -> None:
    sent = send_message(by=actor_of_agent(mender), to_agent="team:docs", subject="Nets", body="Torn")
    assert Message.objects.get(pk=sent.message_id).audience == "team:docs"
    assert got(alice) == [{"body": "Torn"}]
    with pytest.raises(NotFound):
        send_message(by=actor_of_agent(mender), to_agent="team:none", subject="Nets", body="Torn")


@pytest.mark.django_db(transaction=True)
def test_while_a_team_is_deleted_each_send_reaches_all_of_it_or_is_refused(docs: Team, by: Actor, bob: User) -> None:
    begun, is_over = threading.Event(), threading.Event()
    outcomes: list[int] = []

    def keep_writing() -> None:
        try:
            while not is_over.is_set():
                outcomes.append(len(write(by).deliveries))
                begun.set()
        except UnknownRecipient:
            outcomes.append(0)
        finally:
            begun.set()
            connections.close_all()

    writers = [threading.Thread(target=keep_writing) for _ in range(2)]
    for writer in writers:
        writer.start()
    try:
        assert begun.wait(30)
        delete_team(docs, by=by)
        for writer in writers:
            writer.join(30)
    finally:
        is_over.set()
    assert set(outcomes) == {0, 2} and outcomes.count(0) == 2
    assert inbox(address(bob)).last_number == outcomes.count(2)
    assert not TeamMember.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_who_is_added_while_the_team_is_deleted_or_they_leave_is_in_no_team(
    docs: Team, by: Actor, project: Project
) -> None:
    """Whichever comes first: no row is left behind, and what comes too late is refused."""
    tester = make_agent("tester", project=project)
    go = threading.Barrier(3)
    refused: list[str] = []

    def run(act: Any, *arguments: Any) -> None:
        go.wait(30)
        try:
            act(*arguments, by=by)
        except NotFound as error:
            refused.append(error.code)
        finally:
            connections.close_all()

    acts = [(add_to_team, docs, ["tester"]), (archive_agent, tester), (delete_team, docs)]
    threads = [threading.Thread(target=run, args=act) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(refused) <= 1 and not TeamMember.objects.exists() and not Team.objects.exists()


def test_an_agent_that_is_archived_while_it_is_added_is_in_no_team(docs: Team, by: Actor, project: Project) -> None:
    tester = make_agent("tester", project=project)
    Agent.objects.filter(pk=tester.pk).update(archived_at=timezone.now())
    with pytest.raises(UnknownMember):
        add_to_team(docs, [f"agent:{tester.pk}"], by=by)
    assert Membership.objects.filter(project=project).count() == 2
