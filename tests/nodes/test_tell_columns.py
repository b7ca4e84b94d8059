"""What nodes say of themselves is bounded, and can be stored and served whatever it is."""

import json
import math

import pytest

from nodes.pb import link_pb2 as pb
from nodes.told import told_in, vitals_in


def test_a_hello_tells_what_the_machine_is() -> None:
    hello = pb.Hello(version="1.2", worktree_modes=["use_existing"], cpus=8, versions={"python": "3.13"})
    told = told_in(hello)
    assert told["version"] == "1.2"
    assert told["facts"] == {
        "git_version": "", "capacity": 0, "worktree_modes": ["use_existing"], "cpus": 8, "versions": {"python": "3.13"},
        "trust": "", "isolations": [],
    }  # fmt: skip


def test_a_hello_is_bounded_and_has_no_null_in_it() -> None:
    long = "\0" + "x" * 10_000
    runtime = pb.Runtime(preset=long, version=long, detail=long)
    told = told_in(
        pb.Hello(
            version=long, boot_id=long, git_version=long, allowed_roots=[long] * 500, runtimes=[runtime] * 500,
            worktree_modes=[long] * 500, versions={str(number): long for number in range(500)},
        )
    )  # fmt: skip
    text = json.dumps(told)
    assert len(text) < 250_000 and "\\u0000" not in text
    assert len(told["runtimes"]) == len(told["allowed_roots"]) == 100


@pytest.mark.parametrize("load", [math.nan, math.inf, -math.inf])
def test_a_load_that_is_no_number_is_not_told(load: float) -> None:
    assert vitals_in(pb.Heartbeat(load=load))["load"] is None
