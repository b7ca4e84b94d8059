"""The policy in a supervisor: what it answers by itself, what it says of that, and what a change of it does."""

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from nodes.contract.actions import Request, actions_of, gravest
from nodes.contract.commands import DecideApproval, RuntimeSpec, SetPolicy, StartRun, Workspace
from nodes.contract.events import ApprovalOption, ApprovalRequested, ApprovalResolved, Payload, PolicyDecided
from nodes.contract.policy import Action, Grant, Level, Policy, Rule, Verdict
from nodes.contract.runtime import Answer, Question
from nodes.runtimes.acp_tools import Call, place_of, request_of
from nodes.server.asking import Questions
from nodes.server.standing import StandingPolicy
from tests.supervisor.conftest import Node, only

OPTIONS = [
    ApprovalOption(option_id="always", name="Always", kind="allow_always"),
    ApprovalOption(option_id="yes", name="Yes", kind="allow_once"),
    ApprovalOption(option_id="no", name="No", kind="reject_once"),
]


def of(*rules: dict[str, Any], grants: tuple[Grant, ...] = ()) -> Policy:
    return Policy.of([Level(name="project", rules=tuple(Rule.model_validate(rule) for rule in rules))], grants)


def question(workspace: Path, command: str, **more: Any) -> Question:
    actions = actions_of(Request("execute", "x", {"command": command}), place_of(workspace))
    return Question(gravest(actions), command, more.get("options", OPTIONS), command, "c1", command, actions=actions)


class Asked:
    """One run's questions, and what was said of them."""

    def __init__(self, policy: Policy) -> None:
        spec = StartRun(
            run="r", project="p", project_slug="p", agent="a", agent_name="a", runtime=RuntimeSpec(kind="acp"),
            workspace=Workspace(mode="use_existing"), prompt="x", input_id="i", policy=policy,
        )  # fmt: skip
        self.said: list[Payload] = []
        self.questions = Questions(spec, self.said.append, lambda: None)

    async def ask(self, asked: Question) -> "asyncio.Task[Answer]":
        task = asyncio.create_task(self.questions.ask(asked))
        await asyncio.sleep(0)
        return task


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    real = tmp_path.resolve() / "shop"
    real.mkdir()
    return real


async def test_a_denied_push_is_rejected_and_says_which_rule_did_it(workspace: Path) -> None:
    asked = Asked(of({"id": "no-push", "verdict": "deny", "kind": "publish"}))
    answer = await (await asked.ask(question(workspace, "cd src && /usr/bin/git -c a=b push origin main")))
    assert answer.option_id == "no"
    (said,) = asked.said
    assert isinstance(said, PolicyDecided)
    assert (said.verdict, said.kind, said.level, said.rule, said.option_id) == (
        "deny", "publish", "project", "no-push", "no",
    )  # fmt: skip
    assert said.actions[0].verdict == "deny"


async def test_what_is_allowed_is_said_and_allowed_once(workspace: Path) -> None:
    asked = Asked(Policy())
    assert (await (await asked.ask(question(workspace, "git status --short")))).option_id == "yes"
    assert [type(said) for said in asked.said] == [PolicyDecided]


async def test_a_denial_without_an_option_for_it_cancels(workspace: Path) -> None:
    asked = Asked(of({"verdict": "deny"}))
    answer = await (await asked.ask(question(workspace, "make", options=OPTIONS[:1])))
    assert answer.option_id is None


async def test_a_question_says_why_it_is_asked(workspace: Path) -> None:
    asked = Asked(of({"id": "each", "verdict": "ask", "kind": "shell", "is_strict": True}))
    task = await asked.ask(question(workspace, "make deploy"))
    (said,) = asked.said
    assert isinstance(said, ApprovalRequested)
    assert (said.kind, said.rule, said.is_strict) == ("shell", "each", True)
    assert [action.command for action in said.actions] == ["make deploy"]
    asked.questions.withdraw()
    await task


async def test_a_change_of_policy_answers_what_is_open(workspace: Path) -> None:
    asked = Asked(Policy())
    make, push = question(workspace, "make test"), question(workspace, "git push")
    tasks = [await asked.ask(make), await asked.ask(push), await asked.ask(question(workspace, "npm test"))]
    policy = of({"verdict": "deny", "kind": "publish"}, grants=(Grant(id="g1", command="make test"),))
    asked.questions.set_policy(policy)
    assert [(await task).option_id for task in tasks[:2]] == ["yes", "no"]
    assert not tasks[2].done()
    decided = [said for said in asked.said if isinstance(said, PolicyDecided)]
    assert [(said.verdict, said.grant) for said in decided] == [("allow", "g1"), ("deny", "")]
    resolved = [said for said in asked.said if isinstance(said, ApprovalResolved)]
    assert [(said.result, said.approval_id) for said in resolved] == [("superseded", d.approval_id) for d in decided]
    asked.questions.withdraw()
    await tasks[2]


def test_a_grant_ends_by_whichever_clock_comes_first() -> None:
    now = 100.0
    make = [Action(Policy().decide([]).rulings[0].action.kind, command="make", essence="make")]
    late, early = datetime.now(UTC) + timedelta(hours=1), datetime.now(UTC) - timedelta(seconds=1)
    for expires_at, seconds_left, after, expected in (
        (None, None, 1e9, Verdict.ALLOW),
        (late, 60.0, 59.0, Verdict.ALLOW),
        (late, 60.0, 60.0, Verdict.ASK),
        (early, 60.0, 0.0, Verdict.ASK),
        (late, -1.0, 0.0, Verdict.ASK),
    ):
        grant = Grant(id="g", command="make", expires_at=expires_at, seconds_left=seconds_left)
        clock = [now]
        standing = StandingPolicy(of({"verdict": "ask"}, grants=(grant,)), partial(min, clock))
        clock[0] += after
        assert standing.decide(make).verdict is expected


@pytest.mark.parametrize(
    "command", ["cat notes/x.txt", "cat not*/x.txt", "cat ./../shop/notes/x.txt", "cd notes && cat x.txt"]
)
def test_links_are_followed_before_paths_are_compared(workspace: Path, command: str) -> None:
    outside = workspace.parent / "keys"
    outside.mkdir()
    (outside / "x.txt").write_text("secret")
    (workspace / "notes").symlink_to(outside)
    policy = of({"verdict": "deny", "path": f"{outside}/**"}, {"verdict": "allow"})
    assert policy.decide(question(workspace, command).actions).verdict is Verdict.DENY
    inner = of({"verdict": "allow", "path": "notes/**"}, {"verdict": "ask"})
    assert inner.decide(question(workspace, command).actions).verdict is Verdict.ASK


def test_a_hidden_file_is_found_behind_a_pattern(workspace: Path) -> None:
    (workspace / ".env").write_text("KEY=1")
    policy = of({"verdict": "deny", "path": ".env"}, {"verdict": "allow", "kind": "read"})
    for command in ("cat .e*", "cat .en?", "cat < .env", "head -1 ./.[e]nv", "cat .{env,x}"):
        assert policy.decide(question(workspace, command).actions).verdict is Verdict.DENY, command


def test_a_pattern_that_would_take_long_to_expand_is_asked(workspace: Path) -> None:
    assert Policy().decide(question(workspace, "cat */*/*/*/*").actions).verdict is Verdict.ASK


def test_an_edit_through_a_link_is_where_it_leads(workspace: Path) -> None:
    (workspace / "conf").symlink_to("/etc")
    call = Call("c", kind="edit", locations=[str(workspace / "conf" / "hosts")], changed=["conf/hosts"])
    actions = actions_of(request_of(call), place_of(workspace))
    assert {(action.path, action.inside) for action in actions} == {("/etc/hosts", "")}


async def test_a_policy_reaches_a_live_supervisor(node: Node) -> None:
    run = await node.start(runtime={"kind": "acp", "preset": "scripted"}, prompt="@write notes.txt no")
    await node.event(run, "run.approval.requested")
    denial = Policy.of([Level(name="project", rules=(Rule(verdict=Verdict.DENY, id="stop"),))])
    await node.tell(run, SetPolicy(run=run.run_id, policy=denial))
    await node.ended(run)
    events = node.events(run)
    decided = only(events, "run.policy.decided")
    assert (decided["verdict"], decided["rule"]) == ("deny", "stop")
    assert only(events, "run.approval.resolved")["result"] == "superseded"
    assert not (node.code / "notes.txt").exists()


async def test_the_policy_never_tells_a_runtime_to_allow_always(workspace: Path) -> None:
    """It would ask no more, and no later denial would reach it: where it offers nothing else, people are asked."""
    asked = Asked(of({"verdict": "allow"}))
    only_always = [option for option in OPTIONS if option.kind != "allow_once"]
    task = await asked.ask(question(workspace, "npm test", options=only_always))
    assert not task.done() and [type(each) for each in asked.said] == [ApprovalRequested]
    asked.questions.set_policy(of({"verdict": "allow"}))
    assert not task.done()
    asked.questions.set_policy(of({"verdict": "deny"}))
    assert (await task).option_id == "no"


@pytest.mark.parametrize(("is_strict", "result", "option"), [(True, "hash_mismatch", "no"), (False, "", "always")])
async def test_a_runtimes_own_always_is_not_applied_to_what_is_asked_each_time(
    workspace: Path, is_strict: bool, result: str, option: str
) -> None:
    asked = Asked(of({"verdict": "ask", "is_strict": is_strict}))
    task = await asked.ask(question(workspace, "npm test"))
    said = asked.said[0]
    assert isinstance(said, ApprovalRequested) and said.is_strict is is_strict
    answer = DecideApproval(
        run="r", approval_id=said.approval_id, action_hash=said.action_hash, outcome="selected", option_id="always"
    )
    assert asked.questions.decide(answer) == result
    assert (await task).option_id == option
