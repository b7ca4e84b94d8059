"""What runs tell of their usage: counted once, summed by day, priced or said to be unpriced."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agenthub_site.accounts.authentication import actor_of
from agenthub_site.accounts.models import Project, User
from agents.models import Agent, Run
from agents.services.runs import send_input, start_run
from agents.states import State
from agents.usage.budgets import BudgetExceeded, add_budget, edit_budget
from agents.usage.models import Budget, DayUsage, Price, RunUsage
from agents.usage.queries import Spent, sum_up
from agents.usage.services import note_usage
from agents.usage.stopping import tick
from agents.usage.telling import Told, read_usage
from audit.models import AuditEvent
from nodes.contract.errors import Forbidden, Invalid, NotFound
from nodes.contract.events import Usage
from nodes.contract.reasons import Reason
from nodes.models import Node
from tests.api.clients import Api, refusal
from tests.factories import make_project, make_run


def tell(run: Run, **figures: Any) -> None:
    told = read_usage(Usage(**figures).model_dump_json().encode())
    assert told is not None
    with transaction.atomic():
        note_usage({run.pk: told}, timezone.now())


def all_of_it() -> Spent:
    (spent,) = sum_up(DayUsage.objects.all())
    return spent


def test_figures_grow_and_a_repeat_adds_nothing(run: Run) -> None:
    for tokens in (100, 300, 300, 200):
        tell(run, input_tokens=tokens, output_tokens=10, total_tokens=tokens + 10, cost=tokens / 1000, currency="USD")
    row = RunUsage.objects.get()
    assert (row.input_tokens, row.total_tokens, row.cost_micros, row.currency) == (300, 310, 300_000, "USD")
    assert (all_of_it().total_tokens, all_of_it().cost, all_of_it().unpriced_tokens) == (310, {"USD": 300_000}, 0)


def test_what_nobody_prices_is_said_and_a_price_estimates_it(run: Run) -> None:
    Agent.objects.update(model="large-2")
    tell(run, input_tokens=1_000_000, output_tokens=500_000, total_tokens=1_500_000)
    assert (all_of_it().cost, all_of_it().unpriced_tokens) == ({}, 1_500_000)
    Price.objects.create(pattern="*", input_micros=9, output_micros=9)
    Price.objects.create(pattern="large-*", input_micros=3_000_000, output_micros=10_000_000)
    assert (all_of_it().estimated, all_of_it().unpriced_tokens) == ({"USD": 8_000_000}, 0)
    tell(run, cost=2.5, currency="EUR")  # the runtime's word takes the estimate's place
    assert (all_of_it().cost, all_of_it().estimated) == ({"EUR": 2_500_000}, {})


@pytest.mark.parametrize(
    "payload",
    [
        b"[]", b"{}", b'{"input_tokens": -1}', b'{"input_tokens": true}', b'{"cost": 1e300}', b'{"total_tokens": "9"}',
        b'{"input_tokens": 99999999999999999999}', b"\xff", b'{"context_used": 5}',
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_not_counted(payload: bytes) -> None:
    assert read_usage(payload) is None


def test_a_cost_in_several_currencies_is_not_known(run: Run) -> None:
    """Whichever came first, the tokens count, and a price estimates them."""
    tell(run, input_tokens=1_000_000, cost=0.01, currency="ZZZ")
    assert all_of_it().cost == {"ZZZ": 10_000}
    for cost in (3, 4):
        tell(run, input_tokens=2_000_000, cost=cost, currency="USD")
        assert (all_of_it().cost, all_of_it().unpriced_tokens) == ({}, 2_000_000)
    tell(run, input_tokens=2_000_000, cost=5, currency="ZZZ")
    assert RunUsage.objects.get().cost_micros is None and all_of_it().cost == {}


def test_a_currency_without_a_cost_is_none() -> None:
    assert read_usage(b'{"total_tokens": 5, "currency": "ZZZ"}') == Told(total_tokens=5)


# Budgets.


def test_a_spent_budget_refuses_new_runs_until_it_is_raised(agent: Agent, run: Run, alice: User, bob: User) -> None:
    budget = add_budget(by=actor_of(alice), project=agent.project, unit="tokens", amount=100, period="day")
    assert start_run(agent, by=actor_of(bob), prompt="Go.").pk
    tell(run, total_tokens=100)
    with pytest.raises(BudgetExceeded) as refused:
        start_run(agent, by=actor_of(bob), prompt="Go.")
    assert (refused.value.code, refused.value.data["spent"]) == ("budget_exceeded", 100)
    edit_budget(budget, by=actor_of(alice), amount=1_000)
    assert start_run(agent, by=actor_of(bob), prompt="Go.").pk


def test_a_spent_budget_refuses_further_input_to_a_live_run(run: Run, alice: User, bob: User) -> None:
    budget = add_budget(by=actor_of(alice), project=run.project, unit="tokens", amount=100, period="day")
    assert send_input(run, by=actor_of(bob), text="On.", input_id="i-1") == "i-1"
    tell(run, total_tokens=100)
    with pytest.raises(BudgetExceeded):
        send_input(run, by=actor_of(bob), text="And on.")
    assert send_input(run, by=actor_of(bob), text="On.", input_id="i-1") == "i-1"  # it was sent before
    edit_budget(budget, by=actor_of(alice), amount=1_000)
    send_input(run, by=actor_of(bob), text="And on.")


@pytest.mark.parametrize("how", ["agent", "user", "everybody", "cost"])
def test_each_kind_of_budget_counts_what_is_its_own(agent: Agent, run: Run, alice: User, root: User, how: str) -> None:
    what: dict[str, Any] = {
        "agent": {"project": agent.project, "agent": agent, "unit": "tokens", "amount": 100},
        "user": {"user": alice, "unit": "tokens", "amount": 100},
        "everybody": {"unit": "tokens", "amount": 100},
        "cost": {"project": agent.project, "unit": "cost", "amount": 2_000_000, "currency": "USD"},
    }[how]
    add_budget(by=actor_of(root), **what)
    tell(run, total_tokens=100, cost=2, currency="USD")
    with pytest.raises(BudgetExceeded):
        start_run(agent, by=actor_of(alice), prompt="Go.")


def test_the_past_period_is_not_this_ones(agent: Agent, run: Run, alice: User) -> None:
    add_budget(by=actor_of(alice), project=agent.project, unit="tokens", amount=100, period="day")
    tell(run, total_tokens=100)
    DayUsage.objects.update(day=(timezone.now() - timedelta(days=1)).date())
    assert start_run(agent, by=actor_of(alice), prompt="Go.").pk


def test_a_hard_stop_ends_what_runs_with_that_reason_and_says_so_once(agent: Agent, run: Run, alice: User) -> None:
    queued = make_run(agent=agent, state=State.QUEUED)
    add_budget(
        by=actor_of(alice), project=agent.project, unit="tokens", amount=100, warn_percent=50, on_exceeded="stop"
    )
    tell(run, total_tokens=60)
    assert tick(timezone.now()) == 0
    tell(run, total_tokens=100)
    assert [tick(timezone.now()) for _ in range(2)] == [2, 0]
    states = [(each.state, each.reason) for each in Run.objects.order_by("pk")]
    assert sorted(states) == [(State.CANCELLED, Reason.BUDGET_EXCEEDED), (State.STOPPING, Reason.BUDGET_EXCEEDED)]
    assert Run.objects.get(pk=queued.pk).ended_at is not None
    for name in ("budget.warned", "budget.exceeded"):
        assert AuditEvent.objects.filter(name=name).count() == 1


def test_without_a_hard_stop_what_runs_goes_on(agent: Agent, run: Run, alice: User) -> None:
    add_budget(by=actor_of(alice), project=agent.project, unit="tokens", amount=100)
    tell(run, total_tokens=100)
    assert tick(timezone.now()) == 0 and Run.objects.get(pk=run.pk).state == State.RUNNING


def test_budgets_are_the_owners_and_roots(project: Project, bob: User, alice: User, charlie: User) -> None:
    with pytest.raises(Forbidden):
        add_budget(by=actor_of(bob), project=project, unit="tokens", amount=1)
    with pytest.raises(NotFound):
        add_budget(by=actor_of(charlie), project=project, unit="tokens", amount=1)
    with pytest.raises(Forbidden):
        add_budget(by=actor_of(alice), unit="tokens", amount=1)
    with pytest.raises(Invalid):
        add_budget(by=actor_of(alice), project=project, unit="cost", amount=1, currency="gold")
    assert not Budget.objects.exists()


# By REST.


@pytest.mark.parametrize("by", ["day", "agent", "project", "user", "run"])
def test_usage_is_told_by_day_agent_project_user_and_run_to_those_who_see_it(
    run: Run, oslo: Node, alice: User, charlie: User, by: str
) -> None:
    tell(run, input_tokens=5, output_tokens=2, total_tokens=7, cost=0.5, currency="USD")
    (told,) = Api(alice).get("/api/v1/usage/", {"by": by}).json()["results"]
    assert (told["total_tokens"], told["cost"]) == (7, [{"currency": "USD", "amount": 0.5, "estimated": 0.0}])
    make_project("quarry", owner=charlie)
    assert Api(charlie).get("/api/v1/usage/", {"by": by}).json()["results"] == []
    assert Api(charlie).get("/api/v1/usage/", {"by": by, "project": "harbour"}).status_code == 404


def test_budgets_are_made_read_changed_and_removed(project: Project, alice: User, bob: User, charlie: User) -> None:
    body = {"project": "harbour", "unit": "cost", "amount": 5_000_000, "currency": "USD"}
    made = Api(alice).post("/api/v1/budgets/", body, format="json").json()
    one = f"/api/v1/budgets/{made['id']}/"
    assert (made["limit"], made["spent"]) == ("5.00 USD", 0)
    assert Api(bob).get(one).status_code == 200 and Api(charlie).get(one).status_code == 404
    assert refusal(Api(bob).patch(one, {"amount": 1}, format="json")) == (403, "forbidden")
    assert Api(alice).patch(one, {"amount": 1}, format="json").json()["amount"] == 1
    assert Api(alice).delete(one).status_code == 204


def test_root_sets_prices_by_pattern_and_nobody_else_does(project: Project, bob: User, root: User) -> None:
    prices = "/api/v1/usage/prices/"
    body = {"pattern": "gpt-5*", "input_micros": 1_250_000, "output_micros": 10_000_000}
    assert Api(bob).put(prices, body, format="json").status_code == 403
    by_root = Api(root)
    assert by_root.put(prices, body, format="json").status_code == 200
    assert by_root.put(prices, {**body, "currency": "euro"}, format="json").status_code == 400
    again = by_root.put(prices, {**body, "input_micros": 2_000_000}, format="json").json()
    [held] = Api(bob).get(prices).json()["results"]
    assert held["id"] == again["id"] and held["input_micros"] == 2_000_000
    assert by_root.delete(f"{prices}{held['id']}/").status_code == 204
    assert not Price.objects.exists()
    assert list(AuditEvent.objects.filter(name__startswith="price.").values_list("name", flat=True)) == [
        "price.set", "price.set", "price.removed",
    ]  # fmt: skip


def test_runs_of_some_days_are_asked_for_by_times(run: Run, alice: User) -> None:
    """Not by days that are computed from them, of which no database knows how many there are."""
    tell(run, total_tokens=5)
    owner = Api(alice)
    for at, expected in (("2026-03-01T00:00:00Z", 1), ("2026-03-02T23:59:59.999999Z", 1), ("2026-03-03T00:00:00Z", 0)):
        RunUsage.objects.update(updated_at=datetime.fromisoformat(at))
        with CaptureQueriesContext(connection) as queries:
            found = owner.get("/api/v1/usage/", {"by": "run", "since": "2026-03-01", "until": "2026-03-02"}).json()
        assert len(found["results"]) == expected
        assert not [query for query in queries if "TIME ZONE" in query["sql"] or "cast_date" in query["sql"]]
    everything = {"by": "run", "since": "0001-01-01", "until": "9999-12-31"}
    assert len(owner.get("/api/v1/usage/", everything).json()["results"]) == 1
