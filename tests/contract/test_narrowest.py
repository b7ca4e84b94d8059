"""What "always allow this" proposes: what was asked, and nothing else."""

import pytest

from nodes.contract.actions import Place, actions_of
from nodes.contract.events import JudgedAction
from nodes.contract.judged import action_of, imagined, judged, narrowest
from nodes.contract.policy import Level, Policy, Rule, Verdict

PLACE = Place("/w")
ASK = Policy.of([Level(name="project", rules=(Rule(verdict=Verdict.ASK),))])


def shown(policy: Policy, asked: dict[str, str]) -> list[JudgedAction]:
    return judged(policy.decide(actions_of(imagined(**asked), PLACE)))


@pytest.mark.parametrize(
    ("asked", "others"),
    [
        ({"command": "npm test"}, [{"command": "npm test -- --evil"}, {"command": "npm test && rm -rf ."}]),
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
