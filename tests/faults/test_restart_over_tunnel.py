"""Node server, hub, or both at once are killed during a run on a machine that dials its hub: nothing is missing."""

import os
import signal
from collections.abc import Callable

import pytest

from tests.faults.tunnelled import SECONDS, Tunnelled, new_tunnelled
from tests.support import eventually

pytestmark = pytest.mark.timeout(400)
UPDATES = 300
LONG = f"@events {UPDATES} rate 15"
"""Twenty seconds of work."""


def kill_hub(far: Tunnelled) -> None:
    """Its parent starts it again."""
    os.kill(far.hub.child("web"), signal.SIGKILL)


def kill_node(far: Tunnelled) -> None:
    far.machine.kill()


@pytest.mark.parametrize("kills", [(kill_node,), (kill_hub,), (kill_node, kill_hub)])
def test_a_run_over_a_tunnel_outlives_what_is_killed(kills: tuple[Callable[[Tunnelled], None], ...]) -> None:
    with new_tunnelled() as far:
        run = far.follow(far.agent(), LONG)
        run.comes_to(30)
        for kill in kills:
            kill(far)
        if kill_node in kills:
            far.machine.serve("node", "run")
        run.ends_whole(UPDATES)
        eventually(far.is_online, SECONDS)
