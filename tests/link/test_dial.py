"""Dialling a node over mutual TLS: who is let in, and what is said when it is not."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import grpc
import grpc.aio
import pytest

from nodes import pki
from nodes.link.credentials import Credentials
from nodes.link.dial import dial, dial_hub
from nodes.link.errors import CertificateMismatch, LinkClosed, NodeUnreachable, PeerRefused
from nodes.link.link import HubEnd, NodeEnd
from nodes.link.serve import hub_server
from nodes.link.services import NODE_LINK
from nodes.pb.link_pb2 import Heartbeat, HubFrame, NodeFrame, Welcome
from nodes.pki import NodeIdentity
from tests.link.parts import Certificates, hello_of, listening, make_certificates, until_cut


@pytest.fixture(scope="module")
def certificates() -> Certificates:
    return make_certificates()


async def greet(link: NodeEnd, node: NodeIdentity) -> None:
    await link.send(hello_of(node))
    await until_cut(link)


@pytest.fixture
async def address(certificates: Certificates) -> AsyncIterator[str]:
    async with listening(certificates.local, lambda link: greet(link, certificates.node)) as address:
        yield address


async def test_the_hub_reaches_its_node_and_hears_its_hello(certificates: Certificates, address: str) -> None:
    link = await dial(address, certificates.hub, certificates.node)
    hello = await link.hello()
    assert hello.node_id == str(certificates.node.node_id)
    await link.aclose()
    assert isinstance(link.cause, LinkClosed)


async def test_a_dead_address_is_unreachable(certificates: Certificates) -> None:
    with pytest.raises(NodeUnreachable, match="Is the node server running there"):
        await dial("127.0.0.1:1", certificates.hub, certificates.node)


async def test_a_deaf_address_is_unreachable_in_time(certificates: Certificates) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf, pytest.raises(NodeUnreachable, match="frozen"):
        await dial(f"127.0.0.1:{deaf.getsockname()[1]}", certificates.hub, certificates.node, timeout=0.5)


async def test_a_plain_listener_is_no_node(certificates: Certificates) -> None:
    async def chat(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH\r\n")
        with contextlib.suppress(OSError):
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(chat, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(NodeUnreachable, match="not as a node does"):
            await dial(f"127.0.0.1:{port}", certificates.hub, certificates.node)


async def test_another_node_is_not_mistaken_for_this_one(certificates: Certificates, address: str) -> None:
    other = make_certificates().node
    with pytest.raises(CertificateMismatch, match=str(certificates.node.node_id)):
        await dial(address, certificates.hub, other)


async def test_an_older_generation_is_refused(certificates: Certificates, address: str) -> None:
    with pytest.raises(CertificateMismatch, match="generation 1, expected 2"):
        await dial(address, certificates.hub, replace(certificates.node, generation=2))


async def test_a_node_of_another_authority_is_refused(certificates: Certificates, address: str) -> None:
    with pytest.raises(CertificateMismatch, match="not one of this hub's authority"):
        await dial(address, make_certificates().hub, certificates.node)


async def test_a_hub_certificate_cannot_serve_as_a_node(certificates: Certificates) -> None:
    names = certificates.node.dns_names
    posing = pki.issue(certificates.authority, "hub", uris=[pki.HUB_URI], dns_names=names, client=True)
    async with listening(certificates.credentials(posing), until_cut) as address:
        with pytest.raises(CertificateMismatch, match="purpose"):
            await dial(address, certificates.hub, certificates.node)


async def test_the_node_refuses_a_hub_of_another_authority(certificates: Certificates, address: str) -> None:
    stranger = make_certificates().hub
    with pytest.raises(PeerRefused, match="refuses ours"):
        await dial(address, replace(stranger, authority=certificates.authority.pem), certificates.node)


async def test_the_node_refuses_another_node_as_its_hub(certificates: Certificates, address: str) -> None:
    neighbour = pki.issue_node(certificates.authority, make_certificates().node)
    with pytest.raises(PeerRefused, match="Only the hub"):
        await dial(address, certificates.credentials(neighbour), certificates.node)


async def test_the_node_refuses_a_certificate_that_is_not_for_clients(certificates: Certificates, address: str) -> None:
    server_only = pki.issue(certificates.authority, "hub", uris=[pki.HUB_URI], server=True)
    with pytest.raises(PeerRefused, match="refuses ours"):
        await dial(address, certificates.credentials(server_only), certificates.node)


@pytest.mark.parametrize("way", ["without a certificate", "in plain text"])
async def test_the_port_is_closed_to_a_caller(certificates: Certificates, address: str, way: str) -> None:
    names = [("grpc.ssl_target_name_override", certificates.node.server_name)]
    trusting = grpc.ssl_channel_credentials(certificates.authority.pem)
    channel = (
        grpc.aio.insecure_channel(address)
        if way == "in plain text"
        else grpc.aio.secure_channel(address, trusting, options=names)
    )
    async with channel:
        call = channel.stream_stream(
            NODE_LINK, request_serializer=HubFrame.SerializeToString, response_deserializer=NodeFrame.FromString
        )(None)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await asyncio.wait_for(call.wait_for_connection(), 10)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_hello_that_contradicts_the_certificate_is_refused(certificates: Certificates) -> None:
    liar = make_certificates().node
    async with listening(certificates.local, lambda link: greet(link, liar)) as address:
        link = await dial(address, certificates.hub, certificates.node)
        with pytest.raises(CertificateMismatch, match=str(liar.node_id)):
            await link.hello()
        assert not link.is_open


async def test_a_registered_node_may_have_a_server_name_of_its_own(certificates: Certificates) -> None:
    pair = pki.issue(certificates.authority, "oslo", dns_names=["oslo.example"], server=True)
    async with listening(certificates.credentials(pair), lambda link: greet(link, certificates.node)) as address:
        link = await dial(address, certificates.hub, certificates.node, server_name="oslo.example")
        assert (await link.hello()).node_id == str(certificates.node.node_id)
        await link.aclose()


async def test_nothing_changes_when_the_node_dials(certificates: Certificates) -> None:
    heard: list[tuple[NodeIdentity, str]] = []

    async def take(link: HubEnd) -> None:
        heard.append((link.node, (await link.hello()).node_id))
        await link.send(HubFrame(welcome=Welcome(protocol=1, epoch=7)))
        async for _ in link.frames():
            pass

    pair = pki.issue(certificates.authority, "hub", uris=[pki.HUB_URI], dns_names=["hub.agenthub"], server=True)
    server = hub_server(certificates.credentials(pair), take)
    await server.start("127.0.0.1:0")
    link = await dial_hub(f"127.0.0.1:{server.port}", certificates.local)
    await link.send(hello_of(certificates.node))
    assert (await link.welcome()).epoch == 7
    await link.send(NodeFrame(heartbeat=Heartbeat(number=3)))
    answer = await anext(link.frames())
    assert answer.heartbeat.number == 3
    assert heard == [(certificates.node, str(certificates.node.node_id))]
    await link.aclose()
    await server.stop()


async def test_the_hub_refuses_a_hub_that_dials_it(certificates: Certificates) -> None:
    pair = pki.issue(certificates.authority, "hub", dns_names=["hub.agenthub"], server=True)
    server = hub_server(certificates.credentials(pair), lambda link: link.aclose())
    await server.start("127.0.0.1:0")
    with pytest.raises(PeerRefused, match="Only a node"):
        await dial_hub(f"127.0.0.1:{server.port}", certificates.hub)
    await server.stop()


def test_credentials_say_which_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(pki.PkiError, match=r"ca\.pem"):
        Credentials.load(tmp_path, "hub")
