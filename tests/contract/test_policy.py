from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from nodes.contract import own_tools
from nodes.contract.actions import Place, Request, actions_of
from nodes.contract.patterns import host_matches, literal, path_matches, text_matches
from nodes.contract.policy import Action, ActionKind, Grant, Level, Policy, Rule, Ruling, Verdict

NOW = datetime(2026, 11, 21, tzinfo=UTC)
ORDER = [Verdict.ALLOW, Verdict.ASK, Verdict.DENY]


def rule(verdict: str, **matchers: Any) -> Rule:
    return Rule(verdict=Verdict(verdict), **matchers)


def ruling(policy: Policy, action: Action) -> Ruling:
    return policy.decide([action], now=NOW).rulings[0]


def verdict(action: Action, *rules: Rule, grants: tuple[Grant, ...] = ()) -> str:
    return ruling(Policy.of([Level(name="instance", rules=rules)], grants), action).verdict.value


def command(text: str, kind: str = "shell", **more: Any) -> Action:
    return Action(ActionKind(kind), command=text, essence=more.pop("essence", text), **more)


def file(inside: str, kind: str = "write", **more: Any) -> Action:
    return Action(ActionKind(kind), path=f"/w/{inside}", inside=inside, **more)


kinds = st.sampled_from(list(ActionKind))
words = st.sampled_from(["", "git push origin", "make test", "ls", "rm -rf /w/src"])
paths = st.sampled_from(["", "src/a.py", ".env", "docs/x/y.md"])
hosts = st.sampled_from(["", "example.com", "api.example.com"])
actions = st.builds(
    lambda kind, text, inside, host, tree, opaque, tool: Action(
        kind, tool, text, text, f"/w/{inside}" if inside else "", inside, host, tree, opaque
    ),
    kinds, words, paths, hosts, st.booleans(), st.booleans(), st.sampled_from(["", "Bash"]),
)  # fmt: skip
matchers = {
    "kind": st.none() | kinds,
    "tool": st.sampled_from(["", "", "bash", "*"]),
    "path": st.sampled_from(["", "", "src/**", ".env", "/w/**", "**/*.md"]),
    "command": st.sampled_from(["", "", "git push*", "*", "make test"]),
    "host": st.sampled_from(["", "", "*.example.com", "*"]),
}
rules = st.builds(Rule, verdict=st.sampled_from(ORDER), is_strict=st.booleans(), **matchers)
levels = st.builds(Level, name=st.just("some"), rules=st.lists(rules, max_size=6).map(tuple))
grants = st.lists(st.builds(Grant, id=st.just("g"), **matchers), max_size=3)


@settings(max_examples=100, deadline=None)
@given(st.lists(levels, max_size=3), levels, st.lists(actions, min_size=1, max_size=3))
def test_a_lower_level_never_widens_what_the_upper_ones_said(
    upper: list[Level], lower: Level, request: list[Action]
) -> None:
    before, after = Policy.of(upper), Policy.of([*upper, lower])
    for action in request:
        said, then = ruling(before, action), ruling(after, action)
        if any(level.rule_for(action) for level in upper):
            assert ORDER.index(then.verdict) >= ORDER.index(said.verdict)
            assert then.is_strict >= said.is_strict or then.verdict is Verdict.DENY


@settings(max_examples=60, deadline=None)
@given(levels, rules, levels, st.lists(actions, min_size=1, max_size=3), st.integers(0, 6))
def test_more_rules_on_a_lower_level_never_widen_either(
    upper: Level, more: Rule, lower: Level, request: list[Action], at: int
) -> None:
    longer = Level(name="lower", rules=(*lower.rules[:at], more, *lower.rules[at:]))
    for action in request:
        if said := upper.rule_for(action):
            then = ruling(Policy.of([upper, longer]), action)
            assert ORDER.index(then.verdict) >= ORDER.index(said.verdict)


@settings(max_examples=60, deadline=None)
@given(st.lists(levels, min_size=1, max_size=3), grants, st.lists(actions, min_size=1, max_size=3))
def test_deny_beats_everything(held: list[Level], given_: list[Grant], request: list[Action]) -> None:
    said = [found for level in held for action in request if (found := level.rule_for(action))]
    decision = Policy.of(held, given_).decide(request, now=NOW)
    if any(each.verdict is Verdict.DENY for each in said):
        assert decision.verdict is Verdict.DENY
    if any(action.is_opaque for action in request) or any(each.severity == (1, True) for each in said):
        assert decision.verdict is not Verdict.ALLOW


@settings(max_examples=60, deadline=None)
@given(st.lists(levels, min_size=1, max_size=3), actions)
def test_an_older_supervisor_is_no_more_lenient(held: list[Level], action: Action) -> None:
    policy = Policy.of(held)
    older = Policy(allow=policy.allow, deny=policy.deny)
    if ruling(older, action).verdict is Verdict.ALLOW:
        assert ruling(policy, action).verdict is Verdict.ALLOW


def test_without_rules_reading_is_allowed_and_all_else_is_asked() -> None:
    told = {kind: ruling(Policy(), Action(kind)).verdict.value for kind in ActionKind}
    assert told.pop(ActionKind.READ) == "allow"
    assert set(told.values()) == {"ask"}
    assert Policy().decide([]).verdict is Verdict.ASK


def test_on_a_level_the_first_rule_that_matches_counts() -> None:
    held = (rule("allow", command="make *"), rule("deny", kind="shell"))
    assert verdict(command("make test"), *held) == "allow"
    assert verdict(command("make test"), *reversed(held)) == "deny"


def test_a_request_is_judged_by_its_gravest_action_and_says_which_rule_decided() -> None:
    held = Level(name="project", rules=(rule("deny", kind="publish", id="no-push"), rule("allow", kind="shell")))
    decision = Policy.of([held]).decide([command("make"), command("git push", "publish"), file("a")], now=NOW)
    assert decision.verdict is Verdict.DENY
    decisive = decision.decisive
    assert (decisive.action.command, decisive.level, decisive.rule) == ("git push", "project", "no-push")


def test_restricting_takes_a_command_for_what_it_comes_down_to_and_allowing_as_it_stands() -> None:
    dressed = command("sudo /usr/bin/git -c x=y push", essence="git push")
    assert verdict(dressed, rule("deny", command="git push*")) == "deny"
    assert verdict(dressed, rule("allow", command="git push*")) == "ask"


def test_denying_the_shell_denies_every_command() -> None:
    assert verdict(command("cat a", "read"), rule("deny", kind="shell")) == "deny"
    assert verdict(command("cat a", "read"), rule("allow", kind="shell"), rule("ask")) == "ask"


def test_a_tools_name_alone_lets_no_command_through() -> None:
    named = rule("allow", tool="bash")
    assert verdict(Action(ActionKind.OTHER, tool="bash"), named) == "allow"
    assert verdict(Action(ActionKind.SHELL, tool="bash", command="rm a"), named) == "ask"


def test_what_was_not_understood_is_never_allowed() -> None:
    anything = Grant(id="g")
    opaque = command("make $X", is_opaque=True)
    assert verdict(opaque, rule("allow"), grants=(anything,)) == "ask"
    assert verdict(Action(ActionKind.READ, is_opaque=True)) == "ask"


def test_a_grant_answers_what_is_asked_until_it_expires() -> None:
    asked = rule("ask", kind="shell")
    late, early = NOW + timedelta(seconds=1), NOW - timedelta(seconds=1)
    for end, expected in ((None, "allow"), (late, "allow"), (early, "ask"), (NOW, "ask")):
        held = Grant(id="g", command="make test", expires_at=end)
        assert verdict(command("make test"), asked, grants=(held,)) == expected
    decided = ruling(Policy(grants=(Grant(id="g", command="make test"),)), command("make test"))
    assert (decided.verdict, decided.grant) == (Verdict.ALLOW, "g")


def test_a_grant_answers_neither_what_is_denied_nor_what_is_asked_each_time() -> None:
    held = (Grant(id="g"),)
    assert verdict(command("make"), rule("deny"), grants=held) == "deny"
    assert verdict(command("make"), rule("ask", is_strict=True), grants=held) == "ask"
    upper = Level(name="instance", rules=(rule("ask", is_strict=True),))
    lower = Level(name="project", rules=(rule("ask"),))
    assert ruling(Policy.of([upper, lower], held), command("make")).verdict is Verdict.ASK


def test_going_through_a_directory_with_denied_things_is_asked() -> None:
    held = (rule("deny", path="secrets/**"), rule("allow", kind="read"))
    tree: dict[str, Any] = {"kind": "read", "is_tree": True}
    assert verdict(file("secrets/a", "read"), *held) == "deny"
    assert verdict(file(".", **tree), *held) == "ask"
    assert verdict(file("src", **tree), *held) == "allow"
    assert verdict(file("secrets", "read"), *held) == "deny"
    assert verdict(file("anything", **tree), rule("deny", path=".env"), rule("allow")) == "ask"
    assert verdict(file(".", **tree), rule("deny", path="secrets/**"), rule("deny")) == "deny"


def test_a_condition_from_the_future_does_not_allow() -> None:
    held = Rule.model_validate({"verdict": "allow", "kind": "shell", "weekday": "friday"})
    assert held.verdict is Verdict.ASK


def test_kinds_of_an_older_hub_are_understood() -> None:
    policy = Policy.model_validate({"allow": ["shell"], "deny": ["publish"]})
    told = {kind.value: ruling(policy, Action(kind)).verdict.value for kind in ActionKind}
    assert told == {
        "read": "ask", "write": "ask", "shell": "allow", "network": "ask", "publish": "deny", "other": "ask",
    }  # fmt: skip


def test_a_policy_survives_its_travel() -> None:
    held = Policy.of([Level(name="agent", rules=(rule("ask", path="a"),))], [Grant(id="g", expires_at=NOW)])
    assert Policy.model_validate_json(held.model_dump_json()) == held


def test_a_home_is_filled_in_where_it_is_known() -> None:
    deny, allow = rule("deny", path="~/.ssh/**"), rule("allow", kind="write", path="~/.cache/**")
    policy = Policy.of([Level(name="instance", rules=(deny, allow))])
    key = Action(ActionKind.READ, path="/home/a/.ssh/id")
    cache = Action(ActionKind.WRITE, path="/home/a/.cache/x")
    assert ruling(policy, key).verdict is Verdict.DENY
    assert ruling(policy, cache).verdict is Verdict.ASK
    assert ruling(policy.at_home("/home/a"), key).verdict is Verdict.DENY
    assert ruling(policy.at_home("/home/a"), cache).verdict is Verdict.ALLOW
    assert ruling(policy.at_home("/home/b"), cache).verdict is Verdict.ASK


@pytest.mark.parametrize("bad", ["a\0b", "x" * 1_001, "**/**/**/**", "*a" * 13])
def test_a_bad_pattern_is_refused(bad: str) -> None:
    with pytest.raises(ValidationError):
        rule("deny", command=bad)


@pytest.mark.parametrize(
    ("pattern", "inside", "narrow", "broad"),
    [
        ("src/**", "src/a/b", True, True),
        ("src/**", "src", False, True),
        ("src/", "src/a", True, True),
        ("src/*", "src/a/b", False, True),
        ("src/*", "src/a", True, True),
        (".env", "a/b/.env", True, True),
        (".env", ".ENV", False, True),
        ("*.pem", "keys/a.pem", True, True),
        ("**/x/**", "a/x/b", True, True),
        ("./src/a", "src/a", True, True),
        ("src", "src2", False, False),
        ("[ab].txt", "a.txt", True, True),
        ("[!ab].txt", "a.txt", False, False),
        ("[z-a].txt", "a.txt", False, False),
        ("/w/src/**", "src/a", True, True),
    ],
)
def test_paths(pattern: str, inside: str, narrow: bool, broad: bool) -> None:
    if pattern == "[z-a].txt":
        with pytest.raises(ValidationError):
            rule("deny", path=pattern)
        return
    assert path_matches(pattern, f"/w/{inside}", inside, broad=False) is narrow
    assert path_matches(pattern, f"/w/{inside}", inside, broad=True) is broad


def test_a_name_restricts_outside_of_the_workspace_and_allows_only_within() -> None:
    assert path_matches("*.pem", "/etc/ssl/a.pem", "", broad=True)
    assert not path_matches("*.pem", "/etc/ssl/a.pem", "", broad=False)


@given(st.text(max_size=30), st.text(max_size=30))
def test_a_literal_matches_itself_and_nothing_else(text: str, other: str) -> None:
    assert text_matches(literal(text), text, broad=False)
    assert text_matches(literal(text), other, broad=False) is (text == other)


def test_hosts() -> None:
    assert host_matches("*.example.com", "API.example.com.", broad=False)
    assert not host_matches("*.example.com", "example.com", broad=False)
    assert host_matches("*.example.com", "example.com", broad=True)
    assert not host_matches("*.example.com", "badexample.com", broad=True)


def test_the_hubs_own_tools_are_let_through_where_they_are_given_unless_a_rule_is_stricter() -> None:
    place, called = Place("/work"), []
    for tool in own_tools.TOOLS:
        called += actions_of(Request(title=f"mcp__agenthub__{tool}", raw_input={"message_id": "x"}), place)
    assert {action.kind for action in called} == {ActionKind.OTHER}
    assert Policy().decide(called).verdict is Verdict.ASK
    given = Policy.of([own_tools.LEVEL])
    assert given.decide(called).verdict is Verdict.ALLOW
    assert given.decide([Action(ActionKind.OTHER, tool="agenthub_message_send")]).verdict is Verdict.ALLOW
    assert given.decide([Action(ActionKind.OTHER, tool="mcp__agenthub__push")]).verdict is Verdict.ASK
    assert given.decide([Action(ActionKind.SHELL, tool="mcp__agenthub__hub_status")]).verdict is Verdict.ASK
    asks = Level(name="project", rules=(Rule(verdict=Verdict.ASK, tool="mcp__*"),))
    assert Policy.of([asks, own_tools.LEVEL]).decide(called).verdict is Verdict.ASK
