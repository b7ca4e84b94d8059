"""The classifier against the labelled corpus: ``tests/policy_corpus/README.md``."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nodes.contract.actions import Place, Request, actions_of
from nodes.contract.policy import Action, ActionKind, Policy, Verdict

CORPUS = Path(__file__).parent.parent / "policy_corpus"
AGENTS = ("claude_code", "codex", "opencode", "gemini")
PLACE = Place("/home/dev/shop", home="/home/dev")


def lines(*names: str) -> Iterator[dict[str, Any]]:
    for name in names:
        for line in (CORPUS / f"{name}.jsonl").read_text("utf-8").splitlines():
            yield json.loads(line)


def policy(name: str) -> Policy:
    loaded = json.loads((CORPUS / f"{name}.json").read_text("utf-8"))
    return Policy.of(Policy.model_validate(loaded).levels)


def request_of(told: dict[str, Any]) -> Request:
    content = told.get("content", [])
    diffs = [item["path"] for item in content if item["type"] == "diff"]
    return Request(
        kind=told["kind"],
        title=told["title"],
        raw_input=told.get("rawInput"),
        paths=[*(place["path"] for place in told.get("locations", [])), *diffs],
        has_changes=bool(diffs),
        tool=told.get("_meta", {}).get("claudeCode", {}).get("toolName", ""),
    )


def is_held_out(line: dict[str, Any]) -> bool:
    return int(line["id"], 16) % 5 == 0


def kinds(actions: list[Action]) -> list[str]:
    """As the labels have them: reading counts where there is nothing else."""
    found = {action.kind for action in actions}
    return sorted(kind.value for kind in (found - {ActionKind.READ} or found))


CAREFUL, OPEN = policy("careful"), policy("open")


def test_the_corpus_is_large_and_split() -> None:
    everything = list(lines(*AGENTS, "deny"))
    assert len(everything) == len({line["id"] for line in everything}) >= 1_000
    assert 0.15 < sum(map(is_held_out, everything)) / len(everything) < 0.25


def test_kinds_and_verdicts_of_ordinary_requests() -> None:
    for part, floor in ((False, 0.97), (True, 0.90)):
        chosen = [line for line in lines(*AGENTS) if is_held_out(line) is part]
        wrong, misjudged = [], []
        for line in chosen:
            actions = actions_of(request_of(line["request"]), PLACE)
            if kinds(actions) != line["kinds"]:
                wrong.append((line["request"]["title"], line["kinds"], kinds(actions)))
            if CAREFUL.decide(actions).verdict.value != line["verdict"]:
                misjudged.append((line["request"]["title"], line["verdict"], CAREFUL.decide(actions).verdict.value))
        right, judged = 1 - len(wrong) / len(chosen), 1 - len(misjudged) / len(chosen)
        name = "held out" if part else "visible"
        print(f"{name}: kinds {right:.1%}, verdicts {judged:.1%} of {len(chosen)}")
        shown = [] if part else wrong + misjudged
        assert right >= floor, shown
        assert judged >= floor, shown


@pytest.mark.parametrize("lenient", [CAREFUL, OPEN], ids=["careful", "open"])
def test_nothing_of_the_deny_set_is_ever_allowed(lenient: Policy) -> None:
    allowed = [
        line["request"]
        for line in lines("deny")
        if not (lenient is OPEN and line.get("unseen"))
        and lenient.decide(actions_of(request_of(line["request"]), PLACE)).verdict is Verdict.ALLOW
    ]
    assert allowed == []


def test_most_disguises_are_seen_through() -> None:
    for part, floor in ((False, 0.97), (True, 0.90)):
        chosen = [line for line in lines("deny") if line["verdict"] == "deny" and is_held_out(line) is part]
        asked = [
            line
            for line in chosen
            if CAREFUL.decide(actions_of(request_of(line["request"]), PLACE)).verdict is not Verdict.DENY
        ]
        seen = 1 - len(asked) / len(chosen)
        print(f"{'held out' if part else 'visible'}: {seen:.1%} of {len(chosen)} disguises denied")
        assert seen >= floor, [] if part else [line["request"]["rawInput"] for line in asked]
