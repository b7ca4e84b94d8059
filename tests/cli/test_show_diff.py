import itertools

import pytest

from integrations.cli.exits import Exit

from .conftest import Cli
from .small_hub import RUN, Json, SmallHub

Capture = pytest.CaptureFixture[str]
PATCH = "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -0,0 +1 @@\n+one\n"


def diff(state: str = "ready", **more: object) -> tuple[int, Json]:
    file = {"path": "x", "status": "modified", "additions": 1, "deletions": 0}
    return 200, {"state": state, "files": [file], "additions": 1, "deletions": 0, "patch": PATCH, **more}


def test_in_a_pipe_it_is_exactly_the_patch(cli: Cli, hub: SmallHub, capsys: Capture) -> None:
    hub.routes["GET", f"/api/v1/runs/{RUN}/diff/"] = diff()
    assert cli("diff", RUN) == Exit.OK
    assert capsys.readouterr().out == PATCH


def test_a_patch_that_is_on_its_way_is_waited_for(cli: Cli, hub: SmallHub, capsys: Capture) -> None:
    answers = itertools.chain([diff("pending", patch=""), diff("pending", patch="")], itertools.repeat(diff()))
    hub.routes["GET", f"/api/v1/runs/{RUN}/diff/"] = lambda _seen: next(answers)
    assert cli("diff", RUN) == Exit.OK
    assert capsys.readouterr().out == PATCH


def test_stat_names_files_and_sums(cli: Cli, hub: SmallHub, capsys: Capture) -> None:
    hub.routes["GET", f"/api/v1/runs/{RUN}/diff/"] = diff()
    assert cli("diff", RUN, "--stat") == Exit.OK
    assert capsys.readouterr().out.split() == ["modified", "+1", "-0", "x", "1", "file,", "+1", "-0"]


@pytest.mark.parametrize(("state", "why"), [("running", "still running"), ("succeeded", "outside a git repository")])
def test_no_diff_is_no_error_and_says_why(cli: Cli, hub: SmallHub, capsys: Capture, state: str, why: str) -> None:
    hub.routes["GET", f"/api/v1/runs/{RUN}/diff/"] = diff("none", files=[], patch="")
    hub.routes["GET", f"/api/v1/runs/{RUN}/"] = (200, {"state": state})
    assert cli("diff", RUN) == Exit.OK
    told = capsys.readouterr()
    assert told.out == "" and why in told.err
