"""What a project used and cost, and its budgets, on its page; and the banner where one nears its end."""

from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import Client

from agenthub_site.accounts.actors import SYSTEM
from agenthub_site.accounts.authentication import actor_of
from agenthub_site.accounts.models import Project, User
from agenthub_site.pages.budget_forms import BudgetForm
from agents.models import Agent, Run
from agents.usage.budgets import add_budget, judge
from agents.usage.models import Budget, Price
from tests.usage.test_count_usage import tell

from .test_see_pages import SignIn


@pytest.fixture
def address(project: Project) -> str:
    return f"/projects/{project.slug}/usage/"


def test_without_any_usage_the_page_says_what_will_show(web: Client, address: str) -> None:
    page = web.get(address).content.decode()
    assert "Nothing was used in 30 days" in page and "Say how much may be used" in page


def test_it_is_told_by_day_agent_person_and_run_and_what_is_unpriced_is_said(
    web: Client, address: str, run: Run
) -> None:
    tell(run, input_tokens=1_200, output_tokens=300, total_tokens=1_500)
    page = web.get(f"{address}?days=7").content.decode()
    assert page.count("1,500") >= 3 and "By agent" in page and "By person" in page and f"/runs/{run.pk}/" in page
    assert "1,500 tokens unpriced" in page and "A root operator can set one." in page
    assert page.count('class="day"') == 7
    Price.objects.create(pattern="*", input_micros=1_000_000, output_micros=10_000_000)
    assert "0.00 USD (estimated)" in web.get(address).content.decode()


def test_a_budget_is_added_changed_and_removed(web: Client, address: str, project: Project, agent: Agent) -> None:
    given = {"amount": "12.5", "currency": "USD", "period": "day", "warn_percent": "70", "on_exceeded": "stop"}
    assert web.post(f"{address}budgets/", {**given, "agent": str(agent.pk)})["Location"] == address
    budget = Budget.objects.get()
    assert (budget.limit, budget.agent, budget.period, budget.on_exceeded) == ("12.50 USD", agent, "day", "stop")
    assert "12.50 USD" in web.get(address).content.decode()
    web.post(f"{address}budgets/{budget.pk}/", {"amount": "20", "warn_percent": "90", "on_exceeded": "refuse"})
    budget.refresh_from_db()
    assert (budget.limit, budget.warn_percent, budget.currency) == ("20.00 USD", 90, "USD")
    web.post(f"{address}budgets/{budget.pk}/remove/")
    assert not Budget.objects.exists()


@pytest.mark.parametrize(
    ("currency", "amount"), [("USD", 1_234_567_891_234), ("EUR", 1), ("USD", 20_000_000), ("", 10**15)]
)
def test_saving_a_budget_as_it_is_shown_changes_nothing(
    web: Client, address: str, project: Project, currency: str, amount: int
) -> None:
    unit = "cost" if currency else "tokens"
    budget = add_budget(by=SYSTEM, project=project, unit=unit, currency=currency, amount=amount)
    shown = BudgetForm(project=project, budget=budget)
    given = {name: shown[name].value() for name in shown.fields}
    assert web.post(f"{address}budgets/{budget.pk}/", given)["Location"] == address
    budget.refresh_from_db()
    assert budget.amount == amount


def test_a_budget_of_nothing_is_refused_beside_its_amount(web: Client, address: str) -> None:
    given = {"amount": "0", "currency": "", "period": "day", "warn_percent": "80", "on_exceeded": "refuse"}
    answer = web.post(f"{address}budgets/", given)
    assert answer.status_code == 400 and "is-invalid" in answer.content.decode() and not Budget.objects.exists()


def test_only_owners_set_budgets_and_members_see_them(
    sign_in: SignIn, address: str, project: Project, alice: User, bob: User
) -> None:
    add_budget(by=actor_of(alice), project=project, unit="tokens", amount=1_000)
    page = sign_in(bob).get(address).content.decode()
    assert "1,000 tokens" in page and "Add a budget" not in page and "/remove/" not in page


@pytest.mark.parametrize(("used", "words"), [(850, "85 % of the budget of 1,000 tokens"), (1_000, "is spent")])
def test_a_budget_near_its_end_is_said_on_the_projects_and_the_runs_page(
    web: Client, run: Run, alice: User, used: int, words: str
) -> None:
    project = run.project
    add_budget(by=actor_of(alice), project=project, unit="tokens", amount=1_000)
    pages = [f"/projects/{project.slug}/", f"/runs/{run.pk}/", f"/projects/{project.slug}/usage/"]
    assert not any("of the budget of" in web.get(page).content.decode() for page in pages)
    tell(run, input_tokens=used, output_tokens=0, total_tokens=used)
    judge(datetime.now(UTC))
    assert [words in web.get(page).content.decode() for page in pages] == [True] * 3


def test_many_agents_take_no_more_queries(
    web: Client, address: str, run: Run, django_assert_max_num_queries: Any
) -> None:
    tell(run, input_tokens=5, output_tokens=5, total_tokens=10)
    with django_assert_max_num_queries(26):
        web.get(address)


@pytest.mark.parametrize(("person", "scope"), [("", "everybody"), ("bob", "user bob")])
def test_root_sets_budgets_of_everybody_and_of_people(
    sign_in: SignIn, root: User, bob: User, person: str, scope: str
) -> None:
    web = sign_in(root)
    given = {"amount": "5000", "currency": "", "period": "month", "person": person, "warn_percent": "80"}
    assert web.post("/usage/budgets/", {**given, "on_exceeded": "refuse"})["Location"] == "/usage/"
    budget = Budget.objects.get()
    assert (budget.scope, budget.limit, budget.project) == (scope, "5,000 tokens", None)
    assert f"a month for {person or 'everybody'}" in web.get("/usage/").content.decode()
    web.post(f"/usage/budgets/{budget.pk}/", {"amount": "9000", "warn_percent": "50", "on_exceeded": "stop"})
    budget.refresh_from_db()
    assert (budget.limit, budget.on_exceeded, budget.scope) == ("9,000 tokens", "stop", scope)
    web.post(f"/usage/budgets/{budget.pk}/remove/")
    assert not Budget.objects.exists()


def test_a_budget_of_nobody_there_is_refused_beside_the_name(sign_in: SignIn, root: User) -> None:
    given = {"amount": "5", "currency": "", "period": "day", "person": "nobody-here", "warn_percent": "80"}
    answer = sign_in(root).post("/usage/budgets/", {**given, "on_exceeded": "refuse"})
    assert answer.status_code == 400 and "no active user named" in answer.content.decode()
    assert not Budget.objects.exists()


def test_people_see_their_own_budget_and_the_usage_of_their_projects_alone(
    sign_in: SignIn, run: Run, alice: User, bob: User, charlie: User
) -> None:
    add_budget(by=SYSTEM, user=bob, unit="tokens", amount=1_000)
    add_budget(by=SYSTEM, unit="tokens", amount=123_456)
    tell(run, input_tokens=1_200, output_tokens=300, total_tokens=1_500)
    of_bob, of_charlie = (sign_in(who).get("/usage/").content.decode() for who in (bob, charlie))
    assert run.project.name in of_bob and "1,500" in of_bob and "1,000 tokens" in of_bob
    assert run.project.name not in of_charlie and "1,500" not in of_charlie and "No budget" in of_charlie
    for page in (of_bob, of_charlie):
        assert "123,456" not in page and "Add a budget" not in page


def test_root_sees_what_all_projects_used(sign_in: SignIn, root: User, run: Run) -> None:
    tell(run, input_tokens=1_200, output_tokens=300, total_tokens=1_500)
    page = sign_in(root).get("/usage/").content.decode()
    assert "By project" in page and run.project.name in page and f"{run.project.slug}/{run.agent.name}" in page
