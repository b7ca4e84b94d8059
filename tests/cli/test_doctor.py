"""``doctor`` ends with 1 if something is wrong, and names what."""

import json
from pathlib import Path

import pytest

from agenthub_site.doctor.main import main
from integrations.cli.exits import Exit
from integrations.cli.where import Where

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize("url", ["foo", "http://127.0.0.1:1"])
def test_a_hub_that_does_not_answer_is_a_problem(home: Path, capsys: Capture, url: str) -> None:
    assert main(["--json"], Where(home, environ={"AGENTHUB_URL": url})) == Exit.FAILED
    problems = [finding for finding in json.loads(capsys.readouterr().out) if finding["level"] == "problem"]
    assert [problem["what"] for problem in problems] == ["hub"]
    assert url in problems[0]["message"]


def test_a_bad_setting_is_a_problem(home: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTHUB_REDIS__URL", "foo")
    assert main([], Where(home)) == Exit.FAILED
    assert "✗ configuration" in (told := capsys.readouterr().out) and "redis.url" in told
