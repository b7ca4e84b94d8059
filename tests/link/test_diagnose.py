"""What is said of a peer that cannot be dialled: the cause, the seeds' words for it, and a fix."""

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import grpc
import grpc.aio
import pytest

from nodes import pki
from nodes.health import Status, Trouble
from nodes.link import diagnose as diagnosing
from nodes.link.dial import dial, dial_hub
from nodes.link.errors import Cause, LinkError, NodeUnreachable
from tests.link.parts import Certificates, listening, make_certificates, until_cut

YEAR = timedelta(days=365)


@pytest.fixture(scope="module")
def certificates() -> Certificates:
    return make_certificates()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosing, "SECONDS", 0.5)


@pytest.fixture
def black_hole() -> Iterator[str]:
    """An address that neither accepts nor refuses, as behind a firewall that drops: its queue is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf:
        address = deaf.getsockname()
        with socket.create_connection(address):
            yield f"127.0.0.1:{address[1]}"


async def failure(target: str, certificates: Certificates, server_name: str = "") -> LinkError:
    with pytest.raises(LinkError) as raised:
        await dial(target, certificates.hub, certificates.node, server_name=server_name, timeout=1)
    assert raised.value.fix and raised.value.text == f"{raised.value.what} {raised.value.fix}"
    return raised.value


@asynccontextmanager
async def showing(
    certificates: Certificates, begins: datetime, days: int, name: str = "oslo.example"
) -> AsyncIterator[str]:
    pair = pki.issue(certificates.authority, "oslo", dns_names=[name], server=True, now=begins, days=days)
    async with listening(certificates.credentials(pair), until_cut) as address:
        yield address


async def test_a_closed_port(certificates: Certificates) -> None:
    error = await failure("127.0.0.1:1", certificates)
    assert error.data["cause"] == Cause.CONNECTION_REFUSED
    assert error.text.startswith("failed to connect to remote node: ") and "internal_grpc.enabled" in error.fix


async def test_a_firewall_that_drops(certificates: Certificates, black_hole: str) -> None:
    error = await failure(black_hole, certificates)
    assert error.data["cause"] == Cause.CONNECT_TIMEOUT and "firewall" in error.fix


async def test_a_name_that_nobody_knows(certificates: Certificates) -> None:
    error = await failure("oslo.invalid:50051", certificates)
    assert error.data["cause"] == Cause.UNKNOWN_HOST and "oslo.invalid" in error.what


async def test_an_expired_certificate(certificates: Certificates) -> None:
    begins = datetime.now(UTC) - YEAR
    async with showing(certificates, begins, 30) as address:
        error = await failure(address, certificates, "oslo.example")
    assert error.data["cause"] == Cause.EXPIRED
    assert error.text.startswith("certificate verify failed: ")
    assert f"{begins + timedelta(days=30):%Y-%m-%d}" in error.what and "agenthub node rotate" in error.fix


async def test_a_certificate_of_tomorrow_is_clock_skew(certificates: Certificates) -> None:
    async with showing(certificates, datetime.now(UTC) + YEAR, 30) as address:
        error = await failure(address, certificates, "oslo.example")
    assert error.data["cause"] == Cause.NOT_YET_VALID and "Clock skew" in error.fix


async def test_an_authority_that_is_not_ours(certificates: Certificates) -> None:
    other = make_certificates()
    async with showing(other, datetime.now(UTC), 30) as address:
        error = await failure(address, certificates, "oslo.example")
    assert error.data["cause"] == Cause.UNKNOWN_AUTHORITY and "CA certificate" in error.fix


async def test_a_certificate_that_does_not_match_the_server_name(certificates: Certificates) -> None:
    async with showing(certificates, datetime.now(UTC), 30) as address:
        error = await failure(address, certificates, "bergen.example")
    assert error.data["cause"] == Cause.WRONG_NAME
    assert "oslo.example" in error.what and "tls_server_name" in error.fix


async def test_a_wildcard_is_no_mismatch(certificates: Certificates) -> None:
    async with showing(certificates, datetime.now(UTC), 30, "*.example") as address:
        error = await diagnosing.diagnose(
            address, certificates.authority.pem, "oslo.example", certificates.node, waited=2
        )
    assert error.data["cause"] == Cause.SLOW


async def test_a_node_says_the_same_of_its_hub(certificates: Certificates) -> None:
    with pytest.raises(NodeUnreachable, match=r"^failed to connect to the hub: ") as raised:
        await dial_hub("127.0.0.1:1", certificates.local)
    assert raised.value.data["cause"] == Cause.CONNECTION_REFUSED


async def test_a_listener_that_says_nothing(certificates: Certificates) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        error = await failure(f"127.0.0.1:{deaf.getsockname()[1]}", certificates)
    assert error.data["cause"] == Cause.FROZEN


@pytest.mark.parametrize(
    ("status", "said", "code", "cause", "health"),
    [
        ("UNAUTHENTICATED", "unauthorized", "unauthorized", Cause.UNAUTHORIZED, Status.UNAUTHORIZED),
        ("PERMISSION_DENIED", "Only the hub may.", "link_refused", Cause.UNAUTHORIZED, Status.UNAUTHORIZED),
        ("FAILED_PRECONDITION", "node_mismatch: Not me.", "node_mismatch", Cause.WRONG_NODE, Status.MISMATCH),
        ("FAILED_PRECONDITION", "It cannot use its files.", "node_unreachable", Cause.NOT_READY, None),
        ("RESOURCE_EXHAUSTED", "Concurrent RPC limit exceeded!", "node_unreachable", Cause.BUSY, None),
        ("INTERNAL", "Oh.", "node_unreachable", Cause.NOT_READY, None),
    ],
)
def test_only_who_is_not_let_in_is_unauthorized(
    status: str, said: str, code: str, cause: Cause, health: Status | None
) -> None:
    nothing = grpc.aio.Metadata()
    error = diagnosing.explain_refusal(grpc.aio.AioRpcError(grpc.StatusCode[status], nothing, nothing, said, None))
    assert (error.code, error.data["cause"]) == (code, cause)
    assert Trouble(error.code, error.text, datetime.now(UTC), cause).refusal == health
    assert ("unauthorized" in error.what) == (health is Status.UNAUTHORIZED)
    assert health or (said in error.what and error.what.startswith("failed to connect") and error.fix)
