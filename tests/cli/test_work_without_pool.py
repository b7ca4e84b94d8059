"""``agenthub worker`` forks, and what forks shares no pool of connections to PostgreSQL."""

from contextlib import nullcontext
from typing import Any

import pytest
from django.conf import settings

from agenthub_site import worker


def test_the_workers_processes_have_connections_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"sslmode": "require", "pool": {"min_size": 1}}
    seen: list[dict[str, Any]] = []

    def work() -> int:
        seen.append(dict(options))
        return 0

    monkeypatch.setitem(settings.DATABASES["default"], "OPTIONS", options)
    monkeypatch.setattr("agenthub_site.homelock.share_home", lambda *_: nullcontext())
    monkeypatch.setattr(worker, "_work", work)
    assert worker.main([]) == 0
    assert seen == [{"sslmode": "require"}]
