import pytest

from integrations.cli.exits import Exit

from .conftest import Cli
from .small_hub import RUN, SmallHub

Capture = pytest.CaptureFixture[str]
OTHER = "0199a1b2-0000-7000-8000-0000000fabcd"


@pytest.fixture(autouse=True)
def _runs(hub: SmallHub) -> None:
    hub.routes["GET", "/api/v1/runs/"] = (200, {"results": [{"id": RUN}, {"id": OTHER}], "next": None})
    hub.routes["POST", f"/api/v1/runs/{RUN}/cancel/"] = (200, {"id": RUN, "state": "stopping"})


@pytest.mark.parametrize("part", [RUN, "last", "0000abcd", RUN[:-5] + "0abcd", RUN.upper().replace("-", "")[-9:]])
def test_a_run_is_found_by_a_part_of_its_id(cli: Cli, capsys: Capture, part: str) -> None:
    assert cli("cancel", part) == Exit.OK
    assert capsys.readouterr().out == "stopping\n"


def test_a_part_that_fits_several_lists_them(cli: Cli, capsys: Capture) -> None:
    assert cli("cancel", "0199a1b2") == Exit.REFUSED
    assert RUN in (told := capsys.readouterr().err) and OTHER in told


def test_a_part_that_fits_none_says_where_to_look(cli: Cli, capsys: Capture) -> None:
    assert cli("cancel", "ffff") == Exit.REFUSED
    assert "agenthub runs" in capsys.readouterr().err


def test_last_without_runs_is_refused(cli: Cli, hub: SmallHub) -> None:
    hub.routes["GET", "/api/v1/runs/"] = (200, {"results": [], "next": None})
    assert cli("cancel", "last") == Exit.REFUSED
