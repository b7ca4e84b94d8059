"""With what the hub dials a node: its own certificates, or what its configuration says."""

from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from nodes.contract.errors import ConfigError
from nodes.dialling import dial_node
from nodes.join import NodeRevoked
from nodes.link.peers import PeerNotConfigured
from nodes.models import Node
from nodes.pki import PkiError
from tests.link.configured import COMMANDS, NAME, Ends, make_files


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("openssl")
    make_files(directory, COMMANDS)
    return directory


@pytest.fixture
def ends(tmp_path: Path, made: Path) -> Ends:
    return Ends(tmp_path, made)


def gpu(address: str = "127.0.0.1:1", **fields: Any) -> Node:
    return Node(slug="gpu-01", grpc_target=f"https://{address}", tls_server_name=NAME, **fields)


async def test_a_registered_node_is_dialled_by_configuration(ends: Ends) -> None:
    async with ends.node() as address:
        link = await dial_node(ends.config("hub"), gpu(address))
        assert (await link.hello()).node_id == "gpu-01"
        await link.aclose()


async def test_a_revoked_one_is_dialled_again_once_it_is_enabled(ends: Ends) -> None:
    async with ends.node() as address:
        with pytest.raises(NodeRevoked):
            await dial_node(ends.config("hub"), gpu(address, generation=2, revoked_at=timezone.now()))
        link = await dial_node(ends.config("hub"), gpu(address, generation=2))
        await link.aclose()


async def test_one_that_joined_is_dialled_with_the_hubs_own_certificates(ends: Ends) -> None:
    with pytest.raises(PkiError):  # of which there are none here
        await dial_node(ends.config("hub"), gpu(is_joined=True))


async def test_a_hub_that_is_not_configured_says_so(ends: Ends) -> None:
    with pytest.raises(PeerNotConfigured):
        await dial_node(ends.config("hub", ENABLED="false"), gpu())


async def test_plain_text_goes_nowhere_but_to_this_machine(ends: Ends) -> None:
    with pytest.raises(ConfigError, match="allow_plaintext"):
        await dial_node(ends.config("hub", SECURITY__MODE="disabled"), gpu("192.0.2.1:50051"))
