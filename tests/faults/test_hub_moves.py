"""A hub gets other addresses: nodes that joined before learn them over their link, and reach the hub by them."""

import pytest

from tests.faults.deployment import free_ports
from tests.faults.joined import SECONDS, new_pair
from tests.support import eventually

pytestmark = pytest.mark.timeout(600)
LISTEN, ADDRESSES = "AGENTHUB_INTERNAL_GRPC__LISTEN", "AGENTHUB_INTERNAL_GRPC__ADDRESSES"
WEB, PUBLIC = "AGENTHUB_SERVER__LISTEN", "AGENTHUB_SERVER__PUBLIC_URL"


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


def test_a_node_that_joined_before_renews_where_the_hub_moved_and_survives_a_slip() -> None:
    with new_pair() as pair:
        known = pair.machine.home / "node/hub.json"
        pair.environ[WEB] = f"127.0.0.1:{free_ports(1)[0]}"
        for public in (f"http://{pair.environ[WEB]}", "http://127.0.0.1:1"):  # a slip of an operator's comes last
            pair.environ[PUBLIC] = public
            pair.restart_hub()
            eventually(lambda url=public: f'"url": "{url}"' in known.read_text(), SECONDS)  # type: ignore[misc]
            renewed = pair.machine.cli("node", "rotate")
            assert renewed.returncode == 0, renewed.stderr
            assert "is good until" in renewed.stderr
