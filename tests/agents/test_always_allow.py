""" "Always allow this": what is offered, what it would have matched, and that answer and grant are stored as one."""

from typing import Any

import pytest

from agenthub_site.accounts.actors import Actor
from agenthub_site.accounts.authentication import actor_of
from agenthub_site.accounts.models import User
from agents.models import Approval, Run
from agents.rules import PolicyGrant
from agents.services.always_allow import CannotAlwaysAllow, always_allow, propose_grants
from agents.services.approvals import AlreadyDecided, decide_approval
from nodes.contract.commands import SetPolicy
from nodes.contract.errors import Forbidden, Invalid, NotFound
from nodes.contract.policy import Action, ActionKind, Verdict
from nodes.models import Command
from tests.factories import make_approval, make_project, make_run

TEST = {"kind": "shell", "command": "npm test", "verdict": "ask"}
WRITE = {"kind": "write", "path": "src/quay/a.py", "verdict": "ask"}


@pytest.fixture
def owner(alice: User, run: Run) -> Actor:
    return actor_of(alice)


def asked(run: Run, *actions: dict[str, Any], **request: Any) -> Approval:
    """A question as a supervisor asks it that told what the request comes down to."""
    approval = make_approval(run)
    approval.request = {**approval.request, "actions": list(actions), **request}
    approval.save(update_fields=["request"])
    return approval


def test_the_narrowest_is_offered_with_what_it_would_have_matched(run: Run, owner: Actor) -> None:
    asked(run, TEST)
    asked(run, {**TEST, "command": "npm test --watch"})
    asked(make_run(agent=None), {**WRITE})
    proposals, looked_at = propose_grants(asked(run, TEST), by=owner)
    [proposal] = proposals
    assert [(m.kind, m.command) for m in proposal.offered] == [(ActionKind.SHELL, "npm test")]
    assert (proposal.matched, len(proposal.examples), looked_at) == ([2], 2, 4)
    assert not PolicyGrant.objects.exists()


def test_a_files_directory_is_offered_beside_the_file_unless_it_is_hidden(run: Run, owner: Actor) -> None:
    [proposal], _ = propose_grants(asked(run, WRITE), by=owner)
    assert [matcher.path for matcher in proposal.offered] == ["src/quay/a.py", "src/quay/**"]
    [proposal], _ = propose_grants(asked(run, {**WRITE, "path": ".github/workflows/ci.yml"}), by=owner)
    assert [matcher.path for matcher in proposal.offered] == [".github/workflows/ci.yml"]
    [proposal], _ = propose_grants(asked(run, {**WRITE, "path": "/home/u/notes.txt"}), by=owner)
    assert [matcher.path for matcher in proposal.offered] == ["/home/u/notes.txt"]  # /home/u/** has ~/.ssh in it


def test_of_several_actions_each_that_is_asked_needs_its_grant(run: Run, owner: Actor) -> None:
    approval = asked(run, TEST, {"kind": "read", "command": "cat a", "verdict": "allow"}, {**TEST, "command": "make"})
    _, grants = always_allow(approval, by=owner)
    assert sorted(grant.command for grant in grants) == ["make", "npm test"]


@pytest.mark.parametrize(
    "action",
    [
        {**TEST, "is_opaque": True},
        {**TEST, "is_strict": True},
        {"kind": "publish", "command": "git push", "verdict": "ask"},
        {**TEST, "command": "deploy --key [secret]"},
        {**WRITE, "path": "[path]/x"},
        {**TEST, "command": "x" * 1_000},
        {"kind": "other", "verdict": "ask"},
        {"kind": "write", "tool": "Edit", "verdict": "ask"},
        {"kind": "network", "tool": "WebFetch", "verdict": "ask"},
        {"kind": "sorcery", "verdict": "ask"},
    ],
)
def test_it_is_not_offered_for_what_must_be_asked_each_time(run: Run, owner: Actor, action: dict[str, Any]) -> None:
    approval = asked(run, TEST, action)
    for attempt in (propose_grants, always_allow):
        with pytest.raises(CannotAlwaysAllow):
            attempt(approval, by=owner)
    assert not PolicyGrant.objects.exists()
    assert not Command.objects.exists()


def test_a_question_of_an_older_node_has_none(run: Run, owner: Actor) -> None:
    with pytest.raises(CannotAlwaysAllow):
        propose_grants(make_approval(run), by=owner)


def test_the_answer_goes_before_the_policy_that_would_withdraw_the_question(run: Run, owner: Actor) -> None:
    approval, [grant] = always_allow(asked(run, TEST), by=owner)
    assert (approval.state, approval.option_id) == ("decided", "yes")
    assert (grant.agent_id, grant.author_label, grant.approval_id) == (run.agent_id, "alice", approval.pk)
    sent = list(Command.objects.filter(run=run.pk).order_by("number"))
    assert [command.kind for command in sent] == ["decide_approval", "set_policy"]
    policy = SetPolicy.model_validate_json(sent[1].body).policy
    assert policy.decide([Action(ActionKind.SHELL, command="npm test")]).verdict is Verdict.ALLOW


def test_the_grant_may_be_the_projects_and_the_wider_one_that_was_offered(run: Run, owner: Actor) -> None:
    _, [grant] = always_allow(asked(run, WRITE), by=owner, choices=[1], level="project", days=3)
    assert (grant.level, grant.path) == ("project", "src/quay/**")
    for given in ({"choices": [2]}, {"choices": [0, 0]}, {"level": "instance"}, {"days": 400}):
        with pytest.raises(Invalid):
            always_allow(asked(run, WRITE), by=owner, **given)
    assert PolicyGrant.objects.count() == 1


def test_who_comes_second_stores_nothing(run: Run, owner: Actor) -> None:
    approval = asked(run, TEST)
    decide_approval(approval, by=owner, option_id="no")
    with pytest.raises(AlreadyDecided):
        always_allow(approval, by=owner)
    assert not PolicyGrant.objects.exists()


def test_a_reviewer_answers_once_and_only_a_maintainer_for_good(run: Run, bob: User, charlie: User) -> None:
    make_project(bob="developer")
    with pytest.raises(Forbidden):
        always_allow(asked(run, TEST), by=actor_of(bob))
    with pytest.raises(NotFound):
        propose_grants(asked(run, TEST), by=actor_of(charlie))
