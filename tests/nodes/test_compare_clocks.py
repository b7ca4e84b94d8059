"""A hub process tells when its clock is not the database's."""

from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from agenthub_site import clocks

NOW = timezone.now


@pytest.mark.parametrize(
    ("ahead", "told"), [(0.0, ""), (1.5, ""), (60.0, "60 s ahead of the database's"), (-60.0, "60 s behind the")]
)
def test_a_clock_that_is_apart_is_told(
    db: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ahead: float, told: str
) -> None:
    monkeypatch.setattr("agenthub_site.clocks.timezone.now", lambda: NOW() + timedelta(seconds=ahead))
    is_told = bool(told) and connection.vendor == "postgresql"  # a file has this machine's clock
    assert clocks.tick(NOW()) == int(is_told)
    said = capsys.readouterr().err
    assert told in said if is_told else "clock.apart" not in said
