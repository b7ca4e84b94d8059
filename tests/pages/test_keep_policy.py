"""The policy pages: rules by level, a dry run in place, standing answers, who answers, and "always allow this"."""

from typing import Any

import pytest
from django.test import Client

from agenthub_site.accounts.actors import SYSTEM
from agenthub_site.accounts.authentication import actor_of
from agenthub_site.accounts.models import Project, User
from agents.models import Agent, Approval, Run
from agents.rules import PolicyGrant, PolicyReview, PolicyRule
from agents.services.policies import add_grant, add_rule
from tests.factories import make_agent, make_approval, make_root

HTMX = {"HX-Request": "true"}
TEST = {"kind": "shell", "command": "npm test", "verdict": "ask"}


@pytest.fixture
def address(project: Project) -> str:
    return f"/projects/{project.slug}/policy/"


def asked(run: Run, *actions: dict[str, Any]) -> Approval:
    approval = make_approval(run)
    approval.request = {**approval.request, "actions": list(actions)}
    approval.save(update_fields=["request"])
    return approval


def test_the_levels_stand_below_one_another_and_only_ones_own_has_buttons(
    web: Client, address: str, project: Project, agent: Agent, alice: User
) -> None:
    add_rule(None, by=actor_of(make_root()), verdict="deny", kind="publish")
    add_rule(project, by=actor_of(alice), verdict="allow", command="npm test", note="Quick and harmless.")
    add_rule(project, agent, by=actor_of(alice), verdict="ask", host="*.example.com", is_strict=True)
    page = web.get(address).content.decode()
    marks = ["The whole hub", "publish", project.name, "command npm test", "The agent demo", "host *.example.com"]
    places = [page.index(mark, page.index("level-instance")) for mark in marks]
    assert places == sorted(places)
    assert "Quick and harmless." in page and "each time" in page and "by alice" in page
    assert page.count("/remove/") == 2, "the hub's rule is not hers to remove"


def test_a_rule_is_added_changed_moved_and_removed(web: Client, address: str, project: Project, alice: User) -> None:
    first = add_rule(project, by=actor_of(alice), verdict="deny", kind="publish")
    assert web.post(f"{address}rules/", {"verdict": "allow", "command": "make"}).status_code == 302
    made = PolicyRule.objects.get(command="make")
    web.post(f"/policy/rules/{made.pk}/move/", {"position": "0"})
    assert [rule.pk for rule in PolicyRule.objects.filter(project=project)] == [made.pk, first.pk]
    web.post(f"/policy/rules/{made.pk}/", {"verdict": "ask", "command": "make all", "is_enabled": "on"})
    made.refresh_from_db()
    assert (made.verdict, made.command, made.is_enabled, made.position) == ("ask", "make all", True, 0)
    web.post(f"/policy/rules/{made.pk}/remove/")
    assert not PolicyRule.objects.filter(pk=made.pk).exists()


def test_a_rule_of_one_agent_is_put_on_its_level(web: Client, address: str, agent: Agent) -> None:
    web.post(f"{address}rules/", {"verdict": "deny", "path": ".env", "agent": str(agent.pk)})
    assert PolicyRule.objects.get().agent == agent


def test_what_does_not_fit_is_said_beside_its_field(web: Client, address: str) -> None:
    answer = web.post(f"{address}rules/", {"verdict": "deny", "command": "make", "is_strict": "on"})
    assert answer.status_code == 400 and not PolicyRule.objects.exists()
    assert "Only what is asked can be asked each time" in answer.content.decode()


def test_a_dry_run_names_the_rule_that_decides_and_does_nothing(
    web: Client, address: str, project: Project, alice: User
) -> None:
    rule = add_rule(project, by=actor_of(alice), verdict="deny", kind="publish", note="People release.")
    told = web.post(f"{address}test/", {"command": "make && git push"}, headers=HTMX).content.decode()
    assert "It would be told no." in told and f"#rule-{rule.pk}" in told
    assert "git push" in told and "No rule says anything: by default." in told
    assert "<html" in web.post(f"{address}test/", {"command": "ls"}).content.decode(), "without scripts a page"
    assert "Say what is asked" in web.post(f"{address}test/", {}, headers=HTMX).content.decode()


def test_who_answers_is_said_and_taken_back(web: Client, address: str, project: Project, agent: Agent) -> None:
    critic = make_agent("critic", project=project)
    body = {"roles": ["owner", "maintainer"], "reviewer": str(critic.pk), "people_after_minutes": "0.5"}
    assert web.post(f"{address}review/", body).status_code == 302
    review = PolicyReview.objects.get()
    assert (sorted(review.roles), review.reviewer, review.people_after_seconds) == (["maintainer", "owner"], critic, 30)
    assert "<strong>critic</strong> first, people after 30 s" in web.get(address).content.decode()
    web.post(f"{address}review/", {})
    assert not PolicyReview.objects.exists()


def test_only_root_changes_the_hubs_own(web: Client, sign_in: Any) -> None:
    assert "Add a rule" not in web.get("/policy/").content.decode()
    assert web.post("/policy/rules/", {"verdict": "deny", "kind": "publish"}).status_code == 403
    root = sign_in(make_root())
    root.post("/policy/rules/", {"verdict": "deny", "kind": "publish"})
    root.post("/policy/review/", {"roles": ["owner"]})
    assert PolicyRule.objects.get().level == PolicyReview.objects.get().level == "instance"


def test_a_standing_answer_is_listed_with_its_author_and_withdrawn(
    web: Client, address: str, project: Project, agent: Agent, alice: User
) -> None:
    grant = add_grant(project, agent, by=actor_of(alice), command="npm test", kind="shell")
    page = web.get(address).content.decode()
    assert "shell · command npm test" in page and "for demo" in page and "by alice" in page
    web.post(f"/policy/grants/{grant.pk}/withdraw/")
    assert not PolicyGrant.objects.exists()


def test_many_rules_take_no_more_queries(
    web: Client, address: str, project: Project, agent: Agent, django_assert_max_num_queries: Any
) -> None:
    written = {"author_kind": SYSTEM.kind, "author_id": "", "verdict": "deny", "project": project}
    for each in range(20):
        PolicyRule.objects.create(position=each, command=f"a{each}", **written)
        PolicyRule.objects.create(position=each, command=f"b{each}", agent=agent, **written)
    with django_assert_max_num_queries(14):
        assert web.get(address).status_code == 200


def test_one_agents_reviewers_are_set_on_its_page(web: Client, agent: Agent, bob: User, sign_in: Any) -> None:
    critic = make_agent(project=agent.project, name="critic")
    shown = web.get(f"/agents/{agent.pk}/").content.decode()
    assert (
        "Who answers what it asks" in shown and f'value="{critic.pk}"' in shown and f'value="{agent.pk}"' not in shown
    )
    body = {"roles": "owner", "reviewer": str(critic.pk), "people_after_minutes": "1"}
    assert web.post(f"/agents/{agent.pk}/review/", body)["Location"] == f"/agents/{agent.pk}/"
    review = PolicyReview.objects.get()
    assert (review.agent, review.reviewer, review.roles, review.people_after_seconds) == (agent, critic, ["owner"], 60)
    of_bob = sign_in(bob).get(f"/agents/{agent.pk}/").content.decode()
    assert "<strong>critic</strong> first, people after 1 min" in of_bob and "Change for this agent" not in of_bob
    wrong = web.post(f"/agents/{agent.pk}/review/", {"people_after_minutes": "-1"})
    assert wrong.status_code == 400 and PolicyReview.objects.count() == 1
    web.post(f"/agents/{agent.pk}/review/", {})
    assert not PolicyReview.objects.exists()


# Always allow this.


def test_the_agents_own_always_stands_apart_and_says_that_it_is_no_rule(web: Client, run: Run) -> None:
    approval = asked(run, TEST)
    own = {"option_id": "ever", "name": "Always in this session", "kind": "allow_always"}
    approval.request["options"].append(own)
    approval.save(update_fields=["request"])
    card = web.get("/approvals/").content.decode()
    once, _, apart = card.partition("own: it remembers this itself")
    assert 'value="ever"' in apart and 'value="ever"' not in once and "Always allow this (a rule)…" in once


@pytest.mark.parametrize("is_strict", [True, False])
def test_the_agents_own_always_is_offered_only_where_it_would_be_taken(
    web: Client, run: Run, bob: User, sign_in: Any, is_strict: bool
) -> None:
    approval = asked(run, TEST)
    approval.request["options"].append({"option_id": "ever", "name": "Always", "kind": "allow_always"})
    approval.request["is_strict"] = is_strict
    approval.save(update_fields=["request"])
    assert ('value="ever"' in web.get("/approvals/").content.decode()) is not is_strict
    assert 'value="ever"' not in sign_in(bob).get("/approvals/").content.decode()


def test_the_card_offers_it_to_those_who_may_change_the_policy(web: Client, run: Run, bob: User, sign_in: Any) -> None:
    asked(run, TEST)
    assert "Always allow this (a rule)…" in web.get("/approvals/").content.decode()
    assert "Always allow this (a rule)…" not in sign_in(bob).get("/approvals/").content.decode()


def test_it_is_not_offered_for_what_is_asked_each_time(web: Client, run: Run) -> None:
    asked(run, {**TEST, "is_opaque": True})
    page = web.get("/approvals/").content.decode()
    assert "Always allow this (a rule)…" not in page and "cannot be wholly understood" in page


def test_it_shows_what_it_would_have_answered_and_then_stores_it_with_the_answer(web: Client, run: Run) -> None:
    asked(run, TEST)
    approval = asked(run, TEST)
    address = f"/approvals/{approval.pk}/always/"
    panel = web.get(address, headers=HTMX).content.decode()
    assert "shell npm test" in panel and "would have answered 2 of the 2 questions" in panel
    assert not PolicyGrant.objects.exists()
    card = web.post(f"{address}?in=run", {"level": "project", "days": "7", "choice-0": "0"}, headers=HTMX)
    grant = PolicyGrant.objects.get()
    assert (grant.command, grant.agent, grant.approval_id) == ("npm test", None, approval.pk)
    assert "chosen by alice" in card.content.decode() and "Kept for the project" in card.content.decode()
    assert "standing answer</a> until" in web.get("/approvals/?tab=history").content.decode()


def test_a_files_directory_is_chosen(web: Client, run: Run) -> None:
    approval = asked(run, {"kind": "write", "path": "src/quay/a.py", "verdict": "ask"})
    address = f"/approvals/{approval.pk}/always/"
    assert web.get(address).content.decode().count('type="radio"') == 2, "without scripts it is a page"
    web.post(address, {"level": "agent", "days": "30", "choice-0": "1"})
    assert PolicyGrant.objects.get().path == "src/quay/**"


def test_too_late_is_said_in_the_card(web: Client, run: Run) -> None:
    approval = asked(run, TEST)
    web.post(f"/approvals/{approval.pk}/decide/", {"option_id": "no"})
    card = web.post(f"/approvals/{approval.pk}/always/", {"level": "agent", "days": "30"}, headers=HTMX)
    assert "alice answered this already." in card.content.decode() and not PolicyGrant.objects.exists()


def test_the_runs_card_is_the_inboxs_without_what_the_run_says_anyway(web: Client, run: Run) -> None:
    approval = asked(run, TEST)
    inbox = web.get("/approvals/").content.decode()
    card = web.get(f"/approvals/{approval.pk}/?in=run", headers=HTMX).content.decode()
    assert "data-pick>" in inbox and "data-pick>" not in card
    assert approval.action_hash[:10] in card and "left" in card and "<html" not in card
    assert "<html" in web.get(f"/approvals/{approval.pk}/").content.decode()
