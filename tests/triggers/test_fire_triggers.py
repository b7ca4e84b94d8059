"""A message or a run later: once, by cron, after an outage, beside a live run, by who is gone."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone

from agenthub_site.accounts.actors import Actor
from agenthub_site.accounts.authentication import actor_of, actor_of_token
from agenthub_site.accounts.models import Project, Token, User
from agenthub_site.accounts.tokens import revoke_token
from agents.mail.acting import Acting, actor_of_agent
from agents.mail.addressing import UnknownRecipient
from agents.models import Agent, Run
from agents.services.agents import archive_agent
from agents.states import State
from agents.triggers import calls, services, ticking
from agents.triggers.models import Firing, Trigger
from agents.triggers.schedule import check_cron, missed_until, next_after
from agents.triggers.services import (
    MOST,
    KeyReused,
    TooManyTriggers,
    cancel_trigger,
    pause_trigger,
    resume_trigger,
    set_trigger,
)
from agents.triggers.ticking import ATTEMPTS, tick
from audit.models import AuditEvent
from mailboxes.services import Address, inbox
from nodes.contract.errors import Forbidden, HubError, Invalid, WrongState
from tests.api.clients import Api, refusal
from tests.factories import make_run, make_token

NOW = timezone.now()


@pytest.fixture
def by(alice: User, project: Project) -> Actor:
    return actor_of(alice)


@pytest.fixture
def remind(project: Project, by: Actor) -> Callable[..., Trigger]:
    def make(**fields: Any) -> Trigger:
        if "cron" not in fields:
            fields.setdefault("delay_seconds", 60)
        return set_trigger(project, by=fields.pop("by", by), payload={"text": "Look"}, **fields)

    return make


def outcomes(trigger: Trigger) -> list[str]:
    return list(trigger.firings.order_by("id").values_list("outcome", flat=True))


def mail_of(actor: Actor) -> list[Any]:
    return [(mail.payload, mail.kind) for mail in inbox(Address(actor.kind, actor.id)).results]


def test_a_reminder_comes_once_at_its_time(remind: Callable[..., Trigger], by: Actor) -> None:
    trigger = remind()
    assert tick(timezone.now()) == 0
    assert tick(timezone.now() + timedelta(seconds=61)) == 1
    assert tick(timezone.now() + timedelta(seconds=62)) == 0
    trigger.refresh_from_db()
    assert (trigger.state, trigger.next_at, outcomes(trigger)) == ("done", None, ["fired"])
    assert mail_of(by) == [({"text": "Look"}, "trigger")]


def test_an_agent_reminds_itself(remind: Callable[..., Trigger], agent: Agent) -> None:
    me = actor_of_agent(agent)
    remind(by=me)
    tick(timezone.now() + timedelta(seconds=61))
    assert mail_of(me) == [({"text": "Look"}, "trigger")]


def test_by_cron_it_goes_on_in_its_time_zone(remind: Callable[..., Trigger], by: Actor) -> None:
    trigger = remind(cron="30 2 * * *", zone="Europe/Oslo")
    Trigger.objects.update(next_at=datetime(2026, 3, 28, 1, 30, tzinfo=UTC))
    for _ in range(2):
        trigger.refresh_from_db()
        assert trigger.next_at
        tick(trigger.next_at)
    trigger.refresh_from_db()
    # The night of the 29th has no half past two, and the one after it is an hour earlier by UTC.
    assert trigger.next_at == datetime(2026, 3, 30, 0, 30, tzinfo=UTC)
    assert (len(mail_of(by)), outcomes(trigger)) == (2, ["fired", "fired"])


@pytest.mark.parametrize(
    ("catch_up", "outcome", "mails"), [("one", ["fired"], 1), ("skip", ["missed"], 0), ("all", ["fired"] * 4, 4)]
)
def test_after_an_outage_of_three_hours_what_was_declared_happens(
    remind: Callable[..., Trigger], by: Actor, catch_up: str, outcome: list[str], mails: int
) -> None:
    trigger = remind(cron="0 * * * *", catch_up=catch_up)
    began = datetime(2026, 6, 1, 9, tzinfo=UTC)
    Trigger.objects.update(next_at=began)
    for _ in range(6):
        tick(began + timedelta(hours=3, minutes=10))
    trigger.refresh_from_db()
    assert (outcomes(trigger), len(mail_of(by))) == (outcome, mails)
    assert trigger.next_at == began + timedelta(hours=4)


def test_a_run_is_started_by_trigger_and_not_beside_its_last_one(project: Project, by: Actor, agent: Agent) -> None:
    trigger = set_trigger(project, by=by, cron="* * * * *", agent=agent, prompt="Tidy up")
    for minute in (1, 2):
        Trigger.objects.update(next_at=NOW)
        tick(NOW + timedelta(seconds=minute))
    run = Run.objects.get()
    assert (run.entry, run.prompt, str(run.user_id), outcomes(trigger)) == (
        "trigger", "Tidy up", by.id, ["fired", "skipped"],
    )  # fmt: skip
    Run.objects.update(state=State.SUCCEEDED, ended_at=NOW)
    Trigger.objects.update(next_at=NOW)
    tick(NOW + timedelta(seconds=3))
    assert Run.objects.count() == 2


def test_what_fails_is_tried_a_few_times_and_then_given_up(
    remind: Callable[..., Trigger], alice: User, bob: User, project: Project
) -> None:
    trigger = remind(by=actor_of(bob))
    bob.memberships.all().delete()
    now = timezone.now() + timedelta(seconds=61)
    for attempt in range(ATTEMPTS):
        assert tick(now) == 1
        assert tick(now) == 0  # not before its pause is over
        now += timedelta(seconds=5 * 2**attempt + 1)
    trigger.refresh_from_db()
    assert (trigger.state, outcomes(trigger)) == ("failed", ["failed"])
    assert trigger.last_error
    assert AuditEvent.objects.filter(name="trigger.failed").count() == 1


def test_one_whose_time_zone_is_gone_fails_and_stops_no_other(remind: Callable[..., Trigger], by: Actor) -> None:
    lost, sound = remind(cron="* * * * *", name="lost"), remind(cron="* * * * *")
    Trigger.objects.filter(pk=lost.pk).update(timezone="Mars/Olympus")
    now = timezone.now() + timedelta(minutes=1)
    for _ in range(ATTEMPTS):
        Trigger.objects.update(next_at=now, retry_at=None)
        assert tick(now) == 2
    lost.refresh_from_db()
    assert (lost.state, lost.next_at, outcomes(lost)) == ("failed", None, ["failed"])
    assert "time zone" in lost.last_error
    assert outcomes(sound) == ["fired"] * ATTEMPTS
    assert AuditEvent.objects.get(name="trigger.failed").data["trigger"] == "lost"


def test_one_at_which_the_hub_breaks_stops_no_other(
    remind: Callable[..., Trigger], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, sound = remind(), remind()
    plan = ticking._plan

    def break_down(trigger: Trigger, now: datetime) -> Any:
        if trigger.pk == broken.pk:
            raise RuntimeError("nobody thought of this")
        return plan(trigger, now)

    monkeypatch.setattr(ticking, "_plan", break_down)
    now = timezone.now() + timedelta(seconds=61)
    assert tick(now) == 2
    assert tick(now) == 0  # not before its pause is over
    broken.refresh_from_db()
    assert (broken.attempts, "log" in broken.last_error, outcomes(sound)) == (1, True, ["fired"])


@pytest.mark.parametrize(
    ("catch_up", "then"),
    [("all", ["failed", "fired", "fired"]), ("one", ["failed", "missed"]), ("skip", ["failed", "missed"])],
)
def test_times_that_pass_while_one_is_tried_are_fired_or_in_the_history(
    remind: Callable[..., Trigger], bob: User, catch_up: str, then: list[str]
) -> None:
    trigger = remind(by=actor_of(bob), cron="* * * * *", catch_up=catch_up)
    began = datetime(2026, 6, 1, 9, tzinfo=UTC)
    over = began + timedelta(minutes=2, seconds=5)
    Trigger.objects.update(next_at=began, attempts=ATTEMPTS - 1, retry_at=over)
    membership = bob.memberships.get()
    bob.memberships.all().delete()
    tick(over)
    membership.save(force_insert=True)
    for _ in range(3):
        tick(over)
    trigger.refresh_from_db()
    assert (outcomes(trigger), trigger.next_at) == (then, began + timedelta(minutes=3))
    passed = trigger.firings.filter(outcome="missed").values_list("due_at", "detail")
    assert list(passed) in (
        [], [(began + timedelta(minutes=2), "2 of its times passed while the one before was tried.")],
    )  # fmt: skip


@pytest.mark.parametrize("when", [{"cron": "0 9 * * *"}, {"delay_seconds": 60}], ids=str)
def test_what_was_tried_before_an_outage_is_missed_by_it_all_the_same(
    remind: Callable[..., Trigger], by: Actor, when: dict[str, Any]
) -> None:
    trigger = remind(catch_up="skip", **when)
    began = datetime(2026, 6, 1, 9, tzinfo=UTC)
    Trigger.objects.update(next_at=began, attempts=1, retry_at=began + timedelta(seconds=5))
    tick(began + timedelta(hours=3))
    assert (outcomes(trigger), mail_of(by)) == (["missed"], [])


def test_paused_it_waits_and_resumed_it_goes_on(remind: Callable[..., Trigger], by: Actor) -> None:
    trigger = pause_trigger(remind(cron="* * * * *"), by=by)
    assert tick(timezone.now() + timedelta(hours=1)) == 0
    before = timezone.now()
    assert resume_trigger(trigger, by=by).next_at > before  # type: ignore[operator]
    assert cancel_trigger(trigger, by=by).state == "cancelled"
    assert cancel_trigger(trigger, by=by).state == "cancelled"
    with pytest.raises(WrongState):
        resume_trigger(trigger, by=by)
    late = pause_trigger(remind(), by=by)
    Trigger.objects.filter(pk=late.pk).update(next_at=NOW - timedelta(hours=1))
    late.refresh_from_db()
    with pytest.raises(WrongState):
        resume_trigger(late, by=by)
    names = AuditEvent.objects.filter(name__startswith="trigger.").values_list("name", flat=True)
    assert sorted(names) == [
        "trigger.cancelled", "trigger.created", "trigger.created", "trigger.paused", "trigger.paused",
        "trigger.resumed",
    ]  # fmt: skip


def test_others_of_the_project_do_not_steer_it(remind: Callable[..., Trigger], bob: User, by: Actor) -> None:
    trigger = remind()
    with pytest.raises(Forbidden):
        cancel_trigger(trigger, by=actor_of(bob))
    mine = remind(by=actor_of(bob))
    assert cancel_trigger(mine, by=by).state == "cancelled"  # an owner of the project


@pytest.mark.parametrize(
    "wrong",
    [
        {"delay_seconds": 31 * 86_400},
        {"delay_seconds": 0},
        {"delay_seconds": 1e300},
        {"at": datetime(2020, 1, 1, tzinfo=UTC)},
        {"at": datetime(2020, 1, 1, tzinfo=UTC), "delay_seconds": 5},
        {"at": datetime(1, 1, 1, tzinfo=ZoneInfo("Asia/Tokyo"))},
        {"at": datetime(9999, 12, 31, 23, tzinfo=ZoneInfo("America/New_York"))},
        {"cron": "61 * * * *"},
        {"cron": "* * * * * *"},
        {"cron": "0 0 30 2 *"},
        {"cron": "* * * * *", "zone": "Mars/Olympus"},
        {"cron": "* * * * *", "zone": "../etc/passwd"},
        {"cron": "* * * * *", "to": ["nobody"]},
        {"cron": "* * * * *", "subject": "x" * 201},
        {"cron": "* * * * *", "payload": "x" * 70_000},
        {"cron": "* * * * *", "name": "x" * 65},
        {},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(project: Project, by: Actor, wrong: dict[str, Any]) -> None:
    with pytest.raises(HubError) as refused:
        set_trigger(project, by=by, **{"payload": 1, **wrong})
    assert refused.value.http in (400, 404, 413)
    assert Trigger.objects.count() == 0


def test_one_actor_has_a_bounded_number_of_them(remind: Callable[..., Trigger]) -> None:
    first = remind()
    first.pk = None
    Trigger.objects.bulk_create(
        Trigger(project=first.project, owner_kind=first.owner_kind, owner_id=first.owner_id, next_at=NOW)
        for _ in range(MOST - 1)
    )
    with pytest.raises(TooManyTriggers):
        remind()


def test_missed_times_are_counted_up_to_a_bound() -> None:
    due = datetime(2020, 1, 1, tzinfo=UTC)
    count, last, following = missed_until("* * * * *", "UTC", due, NOW)
    assert count == 1_000
    assert last < NOW < following
    assert next_after(*check_cron(" 0  9 * * 1 ", ""), due) == datetime(2020, 1, 6, 9, tzinfo=UTC)
    with pytest.raises(Invalid):
        check_cron("@daily", "UTC")


def test_by_rest_it_is_made_paused_listed_and_cancelled(alice: User, bob: User, project: Project, agent: Agent) -> None:
    api, bobs = Api(alice), Api(bob)
    body = {"cron": "0 9 * * mon-fri", "timezone": "Europe/Oslo", "agent": "demo", "prompt": "Tidy up", "name": "daily"}
    made = api.post("/api/v1/triggers/", body)
    assert made.status_code == 201, made.content
    address = f"/api/v1/triggers/{made.json()['id']}/"
    assert (made.json()["schedule"], made.json()["agent_name"]) == ("0 9 * * mon-fri Europe/Oslo", "demo")
    assert bobs.get("/api/v1/triggers/").json()["results"][0]["name"] == "daily"
    assert refusal(bobs.post(f"{address}pause/")) == (403, "forbidden")
    assert api.post(f"{address}pause/").json()["state"] == "paused"
    assert api.post(f"{address}resume/").json()["state"] == "active"
    Trigger.objects.update(next_at=NOW)
    tick(NOW + timedelta(seconds=1))
    assert api.get(f"{address}history/").json()[0]["run_id"] == str(Run.objects.get().pk)
    assert api.delete(address).status_code == 204
    assert api.get(address).json()["state"] == "cancelled"
    assert refusal(api.post("/api/v1/triggers/", {**body, "to": ["bob"]})) == (400, "invalid")
    assert refusal(api.post("/api/v1/triggers/", {**body, "colour": 1})) == (400, "invalid")


def test_a_run_that_is_there_without_a_trigger_is_no_hindrance(project: Project, by: Actor, agent: Agent) -> None:
    make_run(agent=agent)
    trigger = set_trigger(project, by=by, delay_seconds=1, agent=agent, prompt="Go")
    tick(timezone.now() + timedelta(seconds=2))
    assert outcomes(trigger) == ["fired"]
    assert Firing.objects.get().run_id


def test_what_it_says_is_shown_to_its_owner_and_to_who_manages_messages(
    remind: Callable[..., Trigger], alice: User, bob: User, agent: Agent, by: Actor
) -> None:
    mine = remind(subject="Secret", to=["demo"])
    agents = remind(by=actor_of_agent(agent))

    def shown(user: User, trigger: Trigger) -> Any:
        told = Api(user).get(f"/api/v1/triggers/{trigger.pk}/").json()
        assert told in Api(user).get("/api/v1/triggers/").json()["results"]
        return told["payload"], told["subject"], told["to"]

    assert shown(alice, mine) == ({"text": "Look"}, "Secret", ["demo"])
    assert shown(alice, agents)[0] == {"text": "Look"}
    assert shown(bob, mine) == shown(bob, agents) == (None, "", [])


def test_asked_for_twice_with_one_key_it_is_one_trigger(agent: Agent, project: Project, by: Actor) -> None:
    me = Acting(actor_of_agent(agent), project.pk)

    def ask(message: str = "Look", key: str = "k") -> Any:
        body = {"message": message, "delay_seconds": 60, "key": key}
        return calls._set(me, calls.SetIn.model_validate(body))

    first = ask()
    Trigger.objects.update(state=Trigger.State.CANCELLED)
    assert (ask()["id"], ask()["state"]) == (first["id"], "cancelled")
    with pytest.raises(KeyReused):
        ask("Something else")
    assert ask(key="another")["id"] != first["id"]
    assert set_trigger(project, by=by, delay_seconds=60, payload={"text": "Look"}, key="k").owner_id == by.id
    assert AuditEvent.objects.filter(name="trigger.created").count() == Trigger.objects.count() == 3


@pytest.mark.parametrize(
    ("first", "other"),
    [
        ({"delay_seconds": 60}, {"delay_seconds": 90}),
        ({"delay_seconds": 60}, {"at": NOW + timedelta(days=1)}),
        ({"at": NOW + timedelta(days=1)}, {"at": NOW + timedelta(days=2)}),
        ({"delay_seconds": 60}, {"cron": "* * * * *"}),
        ({"cron": "* * * * *"}, {"cron": "* * * * *", "overlap": "allow"}),
        ({"cron": "* * * * *"}, {"cron": "* * * * *", "catch_up": "all"}),
    ],
    ids=["delay", "delay to time", "time", "delay to cron", "overlap", "catch_up"],
)
def test_a_key_is_for_one_time_and_one_way(
    project: Project, by: Actor, first: dict[str, Any], other: dict[str, Any]
) -> None:
    made = set_trigger(project, by=by, key="k", **first)
    assert set_trigger(project, by=by, key="k", **first).pk == made.pk
    with pytest.raises(KeyReused):
        set_trigger(project, by=by, key="k", **other)


def test_a_key_of_a_hub_that_kept_no_time_is_good_all_the_same(remind: Callable[..., Trigger]) -> None:
    first = remind(key="k")
    Trigger.objects.update(delay_seconds=None)
    assert remind(key="k").pk == first.pk
    with pytest.raises(KeyReused):
        remind(key="k", cron="* * * * *")


def test_asked_again_after_its_time_it_is_the_same_trigger(
    remind: Callable[..., Trigger], monkeypatch: pytest.MonkeyPatch
) -> None:
    at = timezone.now() + timedelta(hours=1)
    first = remind(at=at, delay_seconds=None, key="k")
    monkeypatch.setattr("agents.triggers.services.timezone.now", lambda: at + timedelta(seconds=1))
    assert remind(at=at, delay_seconds=None, key="k").pk == first.pk
    with pytest.raises(Invalid):
        remind(at=at, delay_seconds=None, key="another")


def test_within_a_run_a_trigger_is_the_runs(agent: Agent, project: Project) -> None:
    run, other = make_run(agent=agent), make_run(agent=agent)
    actor = actor_of_agent(agent)
    inside, outside = Acting(actor, project.pk, run.pk), Acting(actor, project.pk)

    def ask(by: Acting, **more: Any) -> Any:
        return calls._set(by, calls.SetIn.model_validate({"message": "Look", "delay_seconds": 1, **more}))

    def listed(**more: Any) -> list[str]:
        return [each["id"] for each in calls._list(outside, calls.ListIn.model_validate(more))["triggers"]]

    mine, theirs, free = ask(inside), ask(outside, run_id=other.pk), ask(outside)
    assert [each["run_id"] for each in (mine, theirs, free)] == [str(run.pk), str(other.pk), None]
    assert listed(run_id=run.pk) == [mine["id"]]
    assert len(listed()) == 3
    assert calls._cancel(outside, mine["id"], other.pk)["error"]["code"] == "not_found"
    tick(timezone.now() + timedelta(seconds=2))
    found = {mail.run_id for mail in inbox(Address("agent", str(agent.pk))).results}
    assert found == {run.pk, other.pk, None}


def test_a_run_leaves_the_triggers_of_the_agents_other_live_runs_alone(agent: Agent, project: Project) -> None:
    run, other = make_run(agent=agent), make_run(agent=agent)
    actor = actor_of_agent(agent)
    inside = Acting(actor, project.pk, run.pk, frozenset({other.pk}))
    owners = (inside, Acting(actor, project.pk, other.pk), Acting(actor, project.pk))
    given = calls.SetIn.model_validate({"message": "Look", "delay_seconds": 60})
    mine, theirs, free = (calls._set(by, given)["id"] for by in owners)
    assert {each["id"] for each in calls._list(inside, calls.ListIn())["triggers"]} == {mine, free}
    assert calls._cancel(inside, theirs, None)["error"]["code"] == "not_found"
    assert {calls._cancel(inside, each, None)["state"] for each in (mine, free)} == {"cancelled"}


def test_asked_for_again_when_its_recipient_is_gone_it_is_the_same(
    remind: Callable[..., Trigger], by: Actor, agent: Agent
) -> None:
    first = remind(key="k", to=[agent.name])
    archive_agent(agent, by=by)
    assert remind(key="k", to=[agent.name]).pk == first.pk
    with pytest.raises(KeyReused):
        remind(key="k", to=["nobody"])
    with pytest.raises(UnknownRecipient):
        remind(key="another", to=[agent.name])


def test_a_time_without_a_zone_is_one_of_the_zone_beside_it(alice: User, remind: Callable[..., Trigger]) -> None:
    at = (datetime.now(UTC) + timedelta(days=2)).replace(hour=9, minute=0, second=0, microsecond=0)
    naive, meant = at.replace(tzinfo=None), at.replace(tzinfo=ZoneInfo("Asia/Tokyo"))
    assert remind(at=naive, delay_seconds=None, zone="Asia/Tokyo").next_at == meant
    assert remind(at=naive, delay_seconds=None).next_at == at
    assert remind(at=at, delay_seconds=None, zone="Asia/Tokyo").next_at == at
    with pytest.raises(Invalid, match="no time zone"):
        remind(at=naive, delay_seconds=None, zone="Asia/Nowhere")
    body = {"at": naive.isoformat(), "timezone": "Asia/Tokyo", "to": ["user:alice"], "payload": "Look"}
    told = Api(alice).post("/api/v1/triggers/", body, format="json").json()
    assert told["next_at"] == meant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def test_a_time_is_told_in_utc(remind: Callable[..., Trigger]) -> None:
    at = (datetime.now(UTC) + timedelta(hours=2)).astimezone(ZoneInfo("Asia/Tokyo"))
    shown = remind(at=at, delay_seconds=None).next_at
    assert shown is not None and shown.tzinfo is UTC


@pytest.mark.parametrize("key", ["", "k\0", "k" * 129])
def test_a_key_is_a_printable_one(remind: Callable[..., Trigger], key: str) -> None:
    with pytest.raises(Invalid, match="printable"):
        remind(key=key)


def test_of_two_that_ask_at_once_with_one_key_both_get_the_same(
    remind: Callable[..., Trigger], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = remind(key="k")
    find, blind = services._find_kept, [False, True]
    monkeypatch.setattr(services, "_find_kept", lambda trigger: None if blind.pop() else find(trigger))
    assert remind(key="k").pk == first.pk


def test_what_was_set_with_a_token_may_no_more_than_it_and_ends_with_it(
    alice: User, project: Project, agent: Agent
) -> None:
    token = Token.objects.get(digest=Token.digest_of(make_token(alice, scope="run", project=project)))
    trigger = set_trigger(project, by=actor_of_token(token), cron="* * * * *", agent=agent, prompt="Look")
    tick(later := timezone.now() + timedelta(minutes=2))
    assert Run.objects.filter(agent=agent).count() == 1
    Run.objects.update(state=State.SUCCEEDED)
    revoke_token(token, actor_of(alice))
    tick(later + timedelta(minutes=2))
    trigger.refresh_from_db()
    assert "no longer valid" in trigger.last_error and Run.objects.filter(agent=agent).count() == 1
