"""F9: 1,000 nodes, each a real TLS link, come back to a killed hub at once. The benchmark that times it is the test."""

import pytest

from tests.benchmarks.__main__ import SECONDS, run
from tests.benchmarks.figures import table


@pytest.mark.timeout(SECONDS + 60)
def test_a_thousand_nodes_are_all_back_and_callers_are_answered_meanwhile() -> None:
    figures = run("fleet", {"nodes": "1000"})
    print(table(figures))
    said = {figure.name.strip().partition(" (")[0]: figure for figure in figures}
    assert said["hub killed: all nodes are back"].value.endswith("after the kill")
    assert said["API meanwhile, p99"].limit.endswith(", 0 refused")
