"""Who could not hear a node does not judge its silence."""

from datetime import datetime, timedelta

import pytest
from django.db import OperationalError
from django.utils import timezone

from agenthub_site.controlplane import Reconciling
from agents import reconciler
from agents.models import Run
from agents.states import State
from nodes.contract.limits import LOST_GRACE_SECONDS, SILENT_SECONDS
from nodes.models import Node

GRACE = SILENT_SECONDS + LOST_GRACE_SECONDS + 1


@pytest.fixture
def began(run: Run) -> datetime:
    """A control plane has worked for long, and the run's node was heard until now."""
    now = timezone.now()
    Node.objects.update(last_heard_at=now)
    return now


def ticks(tick: Reconciling, start: datetime, seconds: float) -> datetime:
    for second in range(0, int(seconds), 5):
        tick(start + timedelta(seconds=second))
    return start + timedelta(seconds=seconds)


def state(run: Run) -> str:
    run.refresh_from_db()
    return run.state


def test_a_silent_node_s_runs_are_lost_after_the_grace(run: Run, began: datetime) -> None:
    ticks(Reconciling(began - timedelta(seconds=5)), began, GRACE + 5)
    assert state(run) == State.LOST


@pytest.mark.parametrize("hours", [1, -1])
def test_after_a_pause_or_a_jump_of_the_clock_every_node_has_the_grace_again(
    run: Run, began: datetime, hours: int
) -> None:
    tick = Reconciling(began - timedelta(days=1))
    ticks(tick, began - timedelta(seconds=20), 20)
    woken = began + timedelta(hours=hours)
    Node.objects.update(last_heard_at=woken - timedelta(hours=1))
    later = ticks(tick, woken, GRACE - 5)
    assert state(run) == State.RUNNING
    ticks(tick, later, 10)
    assert state(run) == State.LOST


def test_the_time_without_a_database_is_such_a_pause(
    run: Run, began: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    tick = Reconciling(began - timedelta(seconds=5))
    tick(began)
    with monkeypatch.context() as patch:
        patch.setattr(reconciler, "expire_commands", broken)
        for second in range(5, int(GRACE), 5):
            with pytest.raises(OperationalError):
                tick(began + timedelta(seconds=second))
    tick(began + timedelta(seconds=GRACE + 1))
    assert state(run) == State.RUNNING


def broken(now: datetime) -> int:
    raise OperationalError("The database is away.")
