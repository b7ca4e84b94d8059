"""What "always allow this" proposes: what was asked, and nothing else."""

import pytest

from nodes.contract.actions import Place, actions_of
from nodes.contract.events import JudgedAction
from nodes.contract.judged import action_of, imagined, judged, narrowest
from nodes.contract.policy import ActionKind, Grant, Level, Policy, Rule, Verdict

PLACE = Place("/w")
ASK = Policy.of([Level(name="project", rules=(Rule(verdict=Verdict.ASK),))])


def shown(policy: Policy, asked: dict[str, str]) -> list[JudgedAction]:
    return judged(policy.decide(actions_of(imagined(**asked), PLACE)))


@pytest.mark.parametrize(
    ("asked", "others"),
    [
        ({"command": "npm test"}, [{"command": "npm test -- --evil"}, {"command": "npm test && rm -rf ."}]),
        (
            {"command": "npm test"},
            [{"command": "cd /tmp/evil && npm test"}, {"command": "cd && npm test"}, {"command": "cd $X && npm test"}],
        ),
        ({"command": "cd web && npm test"}, [{"command": "npm test"}, {"command": "cd web/evil && npm test"}]),
        ({"command": "ls *.md"}, [{"command": "ls x.md"}]),
        (
            {"path": "a*.txt", "kind": "write"},
            [{"path": "ab.txt", "kind": "write"}, {"path": "a*.txt", "kind": "read"}],
        ),
        ({"path": "a.txt", "kind": "write"}, [{"path": "src/a.txt", "kind": "write"}]),
        ({"path": "/etc/hosts", "kind": "read"}, [{"path": "/etc/hosts2", "kind": "read"}]),
        ({"host": "example.com"}, [{"host": "www.example.com"}]),
        ({"tool": "mcp__docs__search"}, [{"tool": "mcp__docs__delete"}]),
    ],
)
def test_it_allows_what_was_asked_and_nothing_else(asked: dict[str, str], others: list[dict[str, str]]) -> None:
    proposed = [found for each in shown(ASK, asked) if (found := narrowest(each))]
    assert proposed
    assert all(any(one.allows(a) for one in proposed) for a in actions_of(imagined(**asked), PLACE))
    for other in others:
        assert not all(any(one.allows(a) for one in proposed) for a in actions_of(imagined(**other), PLACE)), other
    assert all(any(one.allows(action_of(each)) for one in proposed) for each in shown(ASK, asked))


def test_what_no_standing_answer_counts_for_gets_no_proposal() -> None:
    strict = Policy.of([Level(name="project", rules=(Rule(verdict=Verdict.ASK, is_strict=True),))])
    denied = Policy.of([Level(name="project", rules=(Rule(verdict=Verdict.DENY),))])
    assert narrowest(shown(strict, {"command": "make"})[0]) is None
    assert narrowest(shown(denied, {"command": "make"})[0]) is None
    assert narrowest(shown(ASK, {"command": "make $X"})[0]) is None
    assert narrowest(shown(ASK, {"command": "make " + "x" * 2_000})[0]) is None


FED = [
    "ssh build.example.com <<EOF\nuptime\nEOF",
    "ssh build.example.com <<< uptime",
    "cat /etc/shadow | ssh build.example.com",
    "ssh build.example.com < script",
    "timeout 5 ssh build.example.com < script",
    "bash -c 'ssh build.example.com' < script",
    "{ ssh build.example.com; } < script",
    "cat script | { true; ssh build.example.com; }",
    "while true; do ssh build.example.com; done < script",
    "exec < script; ssh build.example.com",
    "docker exec -i c sh <<EOF\nrm -rf /srv\nEOF",
    "mongosh <<EOF\ndb.dropDatabase()\nEOF",
    "patch -p1 <<EOF\n--- a\nEOF",
    "git apply <<EOF\n--- a\nEOF",
]


@pytest.mark.parametrize("command", FED)
def test_a_command_that_is_fed_has_no_standing_answer_and_no_rule_about_commands_allows_it(command: str) -> None:
    rules = (Rule(verdict=Verdict.ALLOW, command="**"), Rule(verdict=Verdict.ALLOW, kind=ActionKind.READ))
    everything = [Grant(id="g", kind=kind, command="**") for kind in ActionKind]
    policy = Policy.of([Level(name="project", rules=rules)], everything)
    decision = policy.decide(actions_of(imagined(command=command), PLACE))
    assert decision.verdict is Verdict.ASK
    assert all(narrowest(shown) is None for shown in judged(decision) if shown.verdict == "ask")


@pytest.mark.parametrize("command", FED)
def test_a_command_that_is_fed_is_denied_as_it_would_be_without(command: str) -> None:
    names = "*ssh*", "*docker*", "*mongosh*", "*patch*", "*git apply*"
    rules = [Rule(verdict=Verdict.DENY, command=name) for name in names]
    policy = Policy.of([Level(name="project", rules=tuple(rules))])
    assert policy.decide(actions_of(imagined(command=command), PLACE)).verdict is Verdict.DENY


@pytest.mark.parametrize("command", ["ssh build.example.com", "npm test < /dev/null", "npm test | tail -5"])
def test_what_is_not_fed_is_allowed_by_its_words(command: str) -> None:
    rules = (Rule(verdict=Verdict.ALLOW, command="ssh *"), Rule(verdict=Verdict.ALLOW, command="npm test"))
    policy = Policy.of([Level(name="project", rules=rules)])
    assert policy.decide(actions_of(imagined(command=command), PLACE)).verdict is Verdict.ALLOW


UNKNOWN = ['cd "$X" && make', "cd $(mktemp -d); make", "popd; make", "cd web; cd ..; make", "w() { cd $1; }; make"]


@pytest.mark.parametrize("command", UNKNOWN)
def test_a_command_in_a_directory_that_nobody_knows_has_no_standing_answer(command: str) -> None:
    """Every unknown directory looks like every other: what was answered in one would be answered in all."""
    proposed = [narrowest(each) for each in shown(ASK, {"command": command}) if each.command.endswith("&& make")]
    assert proposed == [None]
    older = Grant(id="stored by an older version", kind=ActionKind.SHELL, command="cd [?] && make")
    policy = Policy.of([Level(name="project", rules=(Rule(verdict=Verdict.ALLOW, kind=ActionKind.READ),))], [older])
    assert policy.decide(actions_of(imagined(command=command), PLACE)).verdict is Verdict.ASK


@pytest.mark.parametrize("command", ["cd ~ && rm x", "cd /etc && rm x", "cd web && rm x", "cd web; cd ..; rm x"])
def test_a_rule_about_a_command_on_files_does_not_allow_it_elsewhere(command: str) -> None:
    rules = (Rule(verdict=Verdict.ALLOW, command="rm x"), Rule(verdict=Verdict.ALLOW, kind=ActionKind.READ))
    policy = Policy.of([Level(name="project", rules=rules)])
    place = Place("/home/u/w", home="/home/u")
    assert policy.decide(actions_of(imagined(command="rm x"), place)).verdict is Verdict.ALLOW
    assert policy.decide(actions_of(imagined(command=command), place)).verdict is Verdict.ASK


@pytest.mark.parametrize("kind", ["read", "write", "shell", "network"])
def test_a_tool_that_does_not_say_what_it_touches_has_no_standing_answer(kind: str) -> None:
    assert [narrowest(each) for each in shown(ASK, {"tool": "Any", "kind": kind})] == [None]


def test_a_directory_named_by_a_tilde_is_not_taken_for_the_home() -> None:
    asked = {"path": "/w/~/.ssh/authorized_keys", "kind": "write"}
    [proposed] = [narrowest(each) for each in shown(ASK, asked)]
    assert proposed is not None
    given = Policy.of(ASK.levels, [Grant(id="g", **proposed.model_dump())]).at_home("/home/u")
    home = actions_of(imagined(path="/home/u/.ssh/authorized_keys", kind="write"), PLACE)
    assert given.decide(home).verdict is Verdict.ASK
