"""What a node's directory keeps: the highest epoch, whoever brings one at the same time."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from nodes.server.home import NodeHome


def test_epochs_that_come_at_once_leave_the_highest(tmp_path: Path) -> None:
    for first in range(1, 400, 8):
        home = NodeHome(tmp_path)
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(home.keep_epoch, range(first, first + 8)))
        assert home.epoch == first + 7
        assert NodeHome(tmp_path).epoch == first + 7
