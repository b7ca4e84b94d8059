"""Rules and grants: who may change them, what is refused, in which order they stand, and what live runs hear."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from agenthub_site.accounts.actors import Actor
from agenthub_site.accounts.authentication import actor_of
from agenthub_site.accounts.models import Membership, Project, Role, User
from agents.models import Agent, Run
from agents.rules import PolicyGrant, PolicyRule
from agents.services.compiling import compile_policy
from agents.services.policies import (
    PolicyFull,
    add_grant,
    add_rule,
    edit_rule,
    end_grants,
    move_rule,
    note_use,
    remove_grant,
    remove_rule,
    set_review,
)
from agents.services.runs import start_run
from agents.states import State
from audit.models import AuditEvent
from nodes.contract.commands import SetPolicy, StartRun
from nodes.contract.errors import Forbidden, Invalid, NotFound
from nodes.contract.policy import Action, ActionKind, Policy, Verdict
from nodes.models import Command
from tests.factories import make_agent, make_project, make_run, make_user

PUSH = Action(ActionKind.PUBLISH, command="git push origin", essence="git push origin")
TEST = Action(ActionKind.SHELL, command="npm test", essence="npm test")


@pytest.fixture
def owner(alice: User, project: Project) -> Actor:
    return actor_of(alice)


def sent_to(run: Run) -> list[Policy]:
    """What was sent to a live run, and not replaced before it left."""
    kept = Command.objects.filter(run=run.pk, kind=SetPolicy.KIND, state="pending").order_by("number")
    return [SetPolicy.model_validate_json(command.body).policy for command in kept]


def verdict(policy: Policy, action: Action) -> Verdict:
    return policy.decide([action]).verdict


def test_without_rules_reading_is_allowed_and_the_rest_asked(agent: Agent) -> None:
    assert verdict(compile_policy(agent), Action(ActionKind.READ)) is Verdict.ALLOW
    assert verdict(compile_policy(agent), TEST) is Verdict.ASK


def test_the_levels_apply_together_and_the_strictest_counts(agent: Agent, root: User, owner: Actor) -> None:
    add_rule(None, by=actor_of(root), verdict="deny", command="git push*")
    add_rule(agent.project, by=owner, verdict="allow", kind="publish")
    add_rule(agent.project, agent, by=owner, verdict="allow", kind="shell", command="npm test")
    policy = compile_policy(agent)
    assert [level.name for level in policy.levels] == ["instance", "project", "agent"]
    assert (verdict(policy, PUSH), verdict(policy, TEST)) == (Verdict.DENY, Verdict.ALLOW)
    assert compile_policy(make_agent("other", project=make_project("dock"))).decide([TEST]).verdict is not Verdict.ALLOW


def test_compiling_for_many_agents_costs_two_queries(project: Project, django_assert_num_queries: object) -> None:
    from agents.services.compiling import compile_policies, terms_of

    agents = [make_agent(f"a{number}", project=project) for number in range(5)]
    with django_assert_num_queries(2):  # type: ignore[operator]
        compile_policies(agents)
    with django_assert_num_queries(3):  # type: ignore[operator]
        terms_of(agents)


@pytest.mark.parametrize("role", [Role.VIEWER, Role.REVIEWER, Role.DEVELOPER])
def test_maintainers_change_a_projects_policy_and_root_the_instances(project: Project, role: str) -> None:
    make_project(lena=role, max=Role.MAINTAINER)
    maintainer = actor_of(make_user("max"))
    add_rule(project, by=maintainer, verdict="deny", kind="network")
    with pytest.raises(Forbidden):
        add_rule(project, by=actor_of(make_user("lena")), verdict="allow", kind="network")
    with pytest.raises(Forbidden):
        add_rule(None, by=maintainer, verdict="deny", kind="network")


def test_an_outsider_is_told_that_there_is_no_such_project(project: Project, charlie: User) -> None:
    with pytest.raises(NotFound):
        add_rule(project, by=actor_of(charlie), verdict="allow")


def test_another_projects_agent_takes_no_rule_of_this_one(project: Project, owner: Actor) -> None:
    foreign = make_agent("stranger", project=make_project("dock"))
    with pytest.raises(Invalid) as refused:
        add_rule(project, foreign, by=owner, verdict="allow")
    assert "agent" in refused.value.data["fields"]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"verdict": "maybe"}, "verdict"),
        ({"verdict": "ask", "path": "**/**/**/**/x"}, "path"),
        ({"verdict": "ask", "command": "rm\x01"}, "command"),
        ({"verdict": "ask", "host": "h" * 1_001}, "host"),
        ({"verdict": "ask", "kind": "sorcery"}, "kind"),
        ({"verdict": "deny", "is_strict": True}, "is_strict"),
        ({"verdict": "ask", "colour": "red"}, "colour"),
    ],
)
def test_a_rule_that_does_not_fit_is_refused_by_field(
    project: Project, owner: Actor, fields: dict[str, Any], named: str
) -> None:
    with pytest.raises(Invalid) as refused:
        add_rule(project, by=owner, **fields)
    assert list(refused.value.data["fields"]) == [named]
    assert not PolicyRule.objects.exists()


def test_a_level_holds_no_more_than_a_frame_takes(
    project: Project, owner: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        add_rule(project, by=owner, verdict="deny", command="x" * 900)
    monkeypatch.setattr("agents.services.policies.LEVEL_BYTES", 4 * 1_000)
    with pytest.raises(PolicyFull):
        add_rule(project, by=owner, verdict="deny", command="x" * 900)
    assert PolicyRule.objects.count() == 3


def test_rules_stand_where_they_are_put(project: Project, owner: Actor) -> None:
    first, second = (add_rule(project, by=owner, verdict="ask", command=name) for name in ("a", "b"))
    third = add_rule(project, by=owner, verdict="ask", command="c", position=0)
    assert _order(project) == "cab"
    move_rule(third, by=owner, position=9)
    assert _order(project) == "abc"
    remove_rule(first, by=owner)
    remove_rule(first, by=owner)
    move_rule(third, by=owner, position=0)
    assert _order(project) == "cb"
    assert list(PolicyRule.objects.values_list("position", flat=True)) == [0, 1]
    assert second in PolicyRule.objects.all()


def _order(project: Project) -> str:
    return "".join(PolicyRule.objects.filter(project=project).values_list("command", flat=True))


def test_the_first_rule_of_a_level_counts_and_a_disabled_one_does_not(agent: Agent, owner: Actor) -> None:
    rule = add_rule(agent.project, by=owner, verdict="deny", command="npm*")
    add_rule(agent.project, by=owner, verdict="allow", command="npm test")
    assert verdict(compile_policy(agent), TEST) is Verdict.DENY
    edit_rule(rule, by=owner, is_enabled=False)
    assert verdict(compile_policy(agent), TEST) is Verdict.ALLOW


def test_every_change_is_in_the_trail(project: Project, owner: Actor) -> None:
    rule = add_rule(project, by=owner, verdict="deny", kind="publish")
    edit_rule(rule, by=owner, verdict="ask")
    move_rule(rule, by=owner, position=0)
    remove_rule(rule, by=owner)
    grant = add_grant(project, by=owner, kind="shell", command="make")
    remove_grant(grant, by=owner)
    set_review(project, by=owner, roles=["owner"])
    told = AuditEvent.objects.filter(project=project.pk).order_by("number")
    assert [event.name for event in told] == [
        "policy.rule_added", "policy.rule_edited", "policy.rule_moved", "policy.rule_removed",
        "policy.grant_added", "policy.grant_removed", "policy.review_set",
    ]  # fmt: skip
    assert told[1].data["before"]["verdict"] == "deny"
    assert told[0].data == {
        "level": "project", "kind": "publish", "verdict": "deny", "position": 0, "is_strict": False, "is_enabled": True,
    }  # fmt: skip


# Grants.


def test_a_grant_answers_what_is_asked_and_nothing_that_is_denied_or_strict(agent: Agent, owner: Actor) -> None:
    add_rule(agent.project, by=owner, verdict="deny", command="git push*")
    add_rule(agent.project, by=owner, verdict="ask", command="make*", is_strict=True)
    for command in ("npm test", "git push origin", "make all"):
        add_grant(agent.project, agent, by=owner, command=command)
    policy = compile_policy(agent)
    make = Action(ActionKind.SHELL, command="make all", essence="make all")
    assert [verdict(policy, action) for action in (TEST, PUSH, make)] == [Verdict.ALLOW, Verdict.DENY, Verdict.ASK]


@pytest.mark.parametrize("days", [0, 366])
def test_a_grant_ends_within_a_year(project: Project, owner: Actor, days: int) -> None:
    with pytest.raises(Invalid):
        add_grant(project, by=owner, command="make", days=days)


def test_a_grant_says_more_than_a_kind(project: Project, owner: Actor) -> None:
    with pytest.raises(Invalid):
        add_grant(project, by=owner, kind="shell")


def test_an_expired_grant_is_taken_away_and_its_runs_hear_of_it(run: Run, owner: Actor) -> None:
    grant = add_grant(run.project, by=owner, command="npm test")
    kept = add_grant(run.project, by=owner, command="make", days=60)
    assert verdict(sent_to(run)[-1], TEST) is Verdict.ALLOW
    assert end_grants(timezone.now()) == 0
    assert end_grants(timezone.now() + timedelta(days=31)) == 1
    assert [held.id for held in sent_to(run)[-1].grants] == [str(kept.pk)]
    assert AuditEvent.objects.get(name="policy.grant_expired").object_id == str(grant.pk)


@pytest.mark.parametrize("change", ["removed", "demoted", "deactivated"])
def test_a_standing_answer_does_not_outlive_what_its_author_may(run: Run, owner: Actor, bob: User, change: str) -> None:
    Membership.objects.filter(user=bob).update(role=Role.MAINTAINER)
    add_grant(run.project, by=actor_of(bob), command="npm test")
    kept = add_grant(run.project, by=owner, command="make")
    assert end_grants(timezone.now()) == 0
    match change:
        case "removed":
            Membership.objects.filter(user=bob).delete()
        case "demoted":
            Membership.objects.filter(user=bob).update(role=Role.DEVELOPER)
        case _:
            User.objects.filter(pk=bob.pk).update(is_active=False)
    assert end_grants(timezone.now()) == 1
    assert [held.id for held in sent_to(run)[-1].grants] == [str(kept.pk)]
    assert AuditEvent.objects.get(name="policy.grant_removed").data["reason"] == "author_may_not"


def test_a_root_operators_standing_answer_needs_no_membership(run: Run, root: User) -> None:
    add_grant(run.project, by=actor_of(root), command="npm test")
    assert end_grants(timezone.now()) == 0


def test_use_is_noted_for_the_projects_own_grants_alone(project: Project, owner: Actor) -> None:
    grant = add_grant(project, by=owner, command="make")
    note_use([str(grant.pk), "nonsense"], make_project("dock").pk, timezone.now())
    assert PolicyGrant.objects.get().last_used_at is None
    note_use([str(grant.pk)], project.pk, timezone.now())
    assert PolicyGrant.objects.get().last_used_at


# Runs.


def test_a_run_starts_with_the_policy_and_the_shortest_expiry(agent: Agent, owner: Actor) -> None:
    add_rule(agent.project, by=owner, verdict="deny", kind="publish")
    set_review(agent.project, by=owner, expires_seconds=60)
    run = start_run(agent, by=owner, prompt="Go")
    start = StartRun.model_validate_json(Command.objects.get(run=run.pk).body)
    assert verdict(start.policy, PUSH) is Verdict.DENY
    assert start.approval_seconds == 60


def test_live_runs_that_a_change_concerns_hear_of_it_and_no_others(run: Run, agent: Agent, owner: Actor) -> None:
    ended = make_run(agent=agent, state=State.SUCCEEDED)
    beside = make_run(agent=make_agent("beside", project=agent.project))
    add_rule(agent.project, agent, by=owner, verdict="deny", kind="publish")
    assert [verdict(policy, PUSH) for policy in sent_to(run)] == [Verdict.DENY]
    assert not sent_to(ended)
    assert not sent_to(beside)
    add_rule(agent.project, by=owner, verdict="deny", kind="network")
    assert len(sent_to(beside)) == 1


def test_a_newer_policy_replaces_one_that_was_not_sent_yet(run: Run, owner: Actor) -> None:
    rule = add_rule(run.project, by=owner, verdict="deny", kind="publish")
    Command.objects.update(first_sent_at=timezone.now())
    edit_rule(rule, by=owner, verdict="ask")
    edit_rule(rule, by=owner, verdict="deny")
    assert [verdict(policy, PUSH) for policy in sent_to(run)] == [Verdict.DENY, Verdict.DENY]
    assert list(Command.objects.order_by("number").values_list("state", flat=True)) == [
        "pending", "withdrawn", "pending"
    ]  # fmt: skip


def test_a_note_alone_is_sent_to_nobody(run: Run, owner: Actor) -> None:
    rule = add_rule(run.project, by=owner, verdict="deny", kind="publish")
    edit_rule(rule, by=owner, note="Releases are made by people.")
    assert len(sent_to(run)) == 1


def test_many_live_runs_are_told_in_a_fixed_number_of_queries(
    agent: Agent, owner: Actor, django_assert_max_num_queries: object
) -> None:
    for _ in range(10):
        make_run(agent=agent)
    with django_assert_max_num_queries(22):  # type: ignore[operator]
        add_rule(agent.project, by=owner, verdict="deny", kind="publish")
    assert Command.objects.count() == 10


@pytest.mark.django_db(transaction=True)
def test_no_run_starts_past_a_change_without_hearing_of_it(agent: Agent, owner: Actor) -> None:
    """However starts and changes fall together, each run ends up with the last word."""

    def act(number: int) -> None:
        try:
            if number % 2:
                start_run(agent, by=owner, prompt="Go")
            else:
                add_rule(agent.project, by=owner, verdict="deny", command=f"command-{number}")
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(act, range(16)))
    for run in Run.objects.filter(state=State.STARTING):
        bodies = Command.objects.filter(run=run.pk, state="pending").order_by("number")
        last = [SetPolicy if c.kind == SetPolicy.KIND else StartRun for c in bodies][-1]
        policy = last.model_validate_json(bodies.last().body).policy  # type: ignore[union-attr]
        assert len(policy.levels[0].rules) == 8


# Reviewers.


def test_who_reviews_is_refused_where_it_makes_no_sense(agent: Agent, owner: Actor) -> None:
    foreign = make_agent("stranger", project=make_project("dock"))
    for fields, named in (
        ({"roles": ["viewer"]}, "roles"),
        ({"reviewer": foreign}, "reviewer"),
        ({"people_after_seconds": 0, "roles": ["owner"]}, "people_after_seconds"),
    ):
        with pytest.raises(Invalid) as refused:
            set_review(agent.project, by=owner, **fields)
        assert list(refused.value.data["fields"]) == [named]
    with pytest.raises(Invalid):
        set_review(agent.project, agent, by=owner, reviewer=agent)
    with pytest.raises(Invalid):
        set_review(agent.project, agent, by=owner, expires_seconds=5)
