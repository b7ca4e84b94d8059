"""A policy's decision per request: reading it, classifying it, and 50 rules on three levels; beside the bare work.

The limit is what no classifier gets below: the request from JSON, and one pass of each rule's pattern over it.
"""

import json
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nodes.contract.actions import Place, Request, actions_of
from nodes.contract.policy import ActionKind, Level, Policy, Rule, Verdict
from tests.benchmarks.figures import Figure, percentiles, say

CORPUS = Path(__file__).parent.parent / "policy_corpus"
PLACE = Place("/home/dev/shop", home="/home/dev")
AIM_MS = 1.0
ROUNDS = 5
RULES = 50


def policy() -> Policy:
    """Rules that mostly do not match, so that every one of them is looked at."""
    rules = [Rule(verdict=Verdict.DENY, kind=ActionKind.PUBLISH, id="publish")]
    for n in range(RULES - 2):
        named = (
            {"command": f"tool{n} *"},
            {"path": f"secret{n}/**"},
            {"host": f"*.host{n}.example"},
            {"tool": f"t{n}*"},
        )
        rules.append(Rule.model_validate({"verdict": "deny", **named[n % 4]}))
    rules.append(Rule(verdict=Verdict.ALLOW, kind=ActionKind.READ))
    third = RULES // 3
    parts = (rules[:third], rules[third : 2 * third], rules[2 * third :])
    names = ("instance", "project", "agent")
    return Policy.of(Level(name=n, rules=tuple(part)) for n, part in zip(names, parts, strict=True))


def lines() -> list[str]:
    names = ("claude_code", "codex", "opencode", "gemini", "deny")
    return [line for name in names for line in (CORPUS / f"{name}.jsonl").read_text("utf-8").splitlines()]


def timed(act: Callable[[str], Any], requests: Sequence[str], clock: Callable[[], float]) -> tuple[float, float]:
    """The median and the 99th percentile, in milliseconds."""
    taken = []
    for _ in range(ROUNDS):
        for request in requests:
            began = clock()
            act(request)
            taken.append((clock() - began) * 1_000)
    return percentiles(taken)


def main() -> None:
    held = policy()
    bare = [re.compile(rf".*?tool{n} ") for n in range(RULES)]

    def judge(line: str) -> None:
        told = json.loads(line)["request"]
        request = Request(told["kind"], told["title"], told.get("rawInput"))
        held.decide(actions_of(request, PLACE))

    def least(line: str) -> None:
        json.loads(line)
        for pattern in bare:
            pattern.match(line)

    requests = lines()
    for name, clock in (("", time.perf_counter), (" of CPU", time.thread_time)):
        middle, worst = timed(judge, requests, clock)
        limit, limit_worst = timed(least, requests, clock)
        said = f"a decision{name}, {RULES} rules, {len(requests):,} requests"
        bare_work = f"JSON and {RULES} patterns"
        beside = f"{bare_work} {limit * 1_000:.0f} µs"
        say(Figure(f"{said}, p50", f"{middle:.2f} ms", beside, f"{AIM_MS:g} ms", middle < AIM_MS))
        beside = f"{bare_work} {limit_worst * 1_000:.0f} µs"
        say(Figure(f"{said}, p99", f"{worst:.2f} ms", beside))


if __name__ == "__main__":
    main()
