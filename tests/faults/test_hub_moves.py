"""A hub gets a second address: nodes that joined before learn it over their link, and reach the hub by it."""

import pytest

from tests.faults.deployment import free_ports
from tests.faults.joined import SECONDS, new_pair
from tests.support import eventually

pytestmark = pytest.mark.timeout(600)
LISTEN, ADDRESSES = "AGENTHUB_INTERNAL_GRPC__LISTEN", "AGENTHUB_INTERNAL_GRPC__ADDRESSES"


def test_a_node_that_joined_before_reaches_the_hub_at_an_address_that_it_got_later() -> None:
    with new_pair() as pair:
        first, second = pair.environ[LISTEN], f"127.0.0.1:{free_ports(1)[0]}"
        known = pair.machine.home / "node/hub.json"
        run = pair.follow(pair.agent(), "@events 2000 rate 40")
        run.comes_to(20)
        assert second not in known.read_text()

        pair.environ[ADDRESSES] = f"{first},{second}"
        pair.restart_hub()
        eventually(lambda: second in known.read_text(), SECONDS)

        pair.machine.stop()  # what it learned outlives it
        pair.environ[LISTEN] = second
        pair.restart_hub()
        pair.machine.serve("node", "run")
        pair.until_online()
        assert first in known.read_text()
        run.ends_whole(2000)
