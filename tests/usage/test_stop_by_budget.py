"""A budget from the node's records to the run's end: warned, spent, stopped, with that reason to the last."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agenthub_site.accounts.authentication import actor_of
from agenthub_site.accounts.models import User
from agents.models import Run
from agents.usage.budgets import add_budget, judge, spent_of_each
from agents.usage.models import Budget, RunUsage
from agents.usage.stopping import tick
from audit.models import AuditEvent
from nodes.contract.commands import CancelRun
from nodes.contract.events import MessageDelta, RunCancelled, Usage
from nodes.models import Command
from tests.agents.records import commit, lease_of
from tests.api.clients import Api


def budget_events() -> list[str]:
    found = AuditEvent.objects.filter(name__startswith="budget.").order_by("id")
    return list(found.values_list("name", flat=True))[1:]  # without that it was made


@pytest.mark.parametrize("unit", ["tokens", "cost"])
def test_records_of_a_run_spend_its_budget_and_the_run_is_told_to_stop(run: Run, alice: User, unit: str) -> None:
    amount, currency = (1_000, "") if unit == "tokens" else (2_000_000, "USD")
    add_budget(
        by=actor_of(alice), project=run.project, unit=unit, amount=amount, currency=currency, warn_percent=50,
        on_exceeded="stop",
    )  # fmt: skip
    lease = lease_of(run)
    said = MessageDelta(message_id="m1", text="at work")
    commit(run, said, Usage(total_tokens=400, cost=0.8, currency="USD"), lease=lease)
    assert tick(timezone.now()) == 0 and budget_events() == []
    commit(run, said, Usage(total_tokens=600, cost=1.2, currency="USD"), first=3, lease=lease)
    assert tick(timezone.now()) == 0 and budget_events() == ["budget.warned"]
    commit(run, said, Usage(total_tokens=1_000, cost=2.0, currency="USD"), first=5, lease=lease)
    commit(run, Usage(total_tokens=1_000, cost=2.0, currency="USD"), first=6, lease=lease)  # sent again, counted once
    assert tick(timezone.now()) == 1 and budget_events() == ["budget.warned", "budget.exceeded"]
    run.refresh_from_db()
    assert (run.state, run.reason, RunUsage.objects.get().total_tokens) == ("stopping", "budget_exceeded", 1_000)
    assert Command.objects.filter(run=run.pk, kind=CancelRun.KIND).count() == 1
    commit(run, RunCancelled(reason="cancelled"), first=7, lease=lease)
    assert (run.state, run.reason) == ("cancelled", "budget_exceeded")


def test_many_budgets_are_judged_by_few_queries(run: Run, alice: User, bob: User, root: User) -> None:
    commit(run, Usage(total_tokens=400, cost=0.8, currency="USD"), lease=lease_of(run))
    hub = actor_of(root)
    mine = {"project": run.project}
    for of in ({}, mine, {**mine, "agent": run.agent}, {"user": alice}, {"user": bob}):
        for period in ("day", "month"):
            add_budget(by=hub, unit="tokens", amount=1_000, period=period, **of)
            add_budget(by=hub, unit="cost", amount=1_000_000, currency="USD", period=period, **of)
    budgets, now = list(Budget.objects.all()), timezone.now()
    with CaptureQueriesContext(connection) as few:
        sums = spent_of_each(budgets, now)
    assert len(few) <= 16 < len(budgets)
    used = {(each.unit, sums[each.pk]) for each in budgets if each.user != bob}
    assert used == {("tokens", 400), ("cost", 800_000)}
    assert {sums[each.pk] for each in budgets if each.user == bob} == {0}
    for budget in budgets:
        add_budget(by=hub, unit="tokens", amount=1_000, project=budget.project, agent=budget.agent, user=budget.user)
    with CaptureQueriesContext(connection) as queries:
        judge(now)
    assert len([query for query in queries if "usage_dayusage" in query["sql"]]) <= 8


def test_a_list_of_budgets_takes_the_same_queries_however_long(run: Run, alice: User) -> None:
    owner, queries = Api(alice), []
    for amount in (1_000, 2_000, 3_000):
        add_budget(by=actor_of(alice), project=run.project, unit="tokens", amount=amount)
        with CaptureQueriesContext(connection) as asked:
            told = owner.get("/api/v1/budgets/").json()["results"]
        queries.append(len(asked))
        assert {budget["spent"] for budget in told} == {0}
    assert queries[1] == queries[2]  # the first one notes as well that the token was used
