"""Testing a connection ends in time and says what it found, whatever is at the address."""

import socket
import time
from collections.abc import Iterator
from uuid import uuid4

import pytest
from django.conf import settings

from agenthub_site.accounts.actors import SYSTEM
from nodes import pki
from nodes.connection import TRY_SECONDS, try_connection
from tests.factories import make_node

LATER = 5.0
"""What saying goodbye and a busy machine may take besides."""


@pytest.fixture
def silent() -> Iterator[str]:
    """An address that takes connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"https://127.0.0.1:{server.getsockname()[1]}"


def test_what_says_nothing_is_given_up(db: None, silent: str) -> None:
    pki.ensure_pki(settings.CONFIG.pki_dir, uuid4())
    node, began = make_node("gpu", grpc_target=silent, is_joined=True), time.monotonic()
    tried = try_connection(node, by=SYSTEM)
    assert not tried.is_reached and tried.code and "failed to connect to remote node" in tried.text
    assert time.monotonic() - began < TRY_SECONDS + LATER
