"""Two ends agree on the newest version of the protocol that both speak, or part with the reason on both sides."""

import asyncio

import pytest

from nodes.link.dial import dial
from nodes.link.errors import LinkClosed, LinkError, ProtocolUnsupported
from nodes.link.link import HubEnd, NodeEnd
from nodes.link.versions import Spoken
from nodes.pb.link_pb2 import Hello, HubFrame, NodeFrame, Welcome
from tests.link.parts import Certificates, listening, make_certificates


@pytest.fixture
def certificates() -> Certificates:
    return make_certificates()


async def meet(certificates: Certificates, hub: Spoken, node: Spoken, *, is_ancient: bool = False) -> tuple[str, str]:
    """What a hub and a node that speak these make of each other: the version, or the code of the refusal, of each."""
    told: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def serve(link: NodeEnd) -> None:
        link.speaks = node
        oldest = 0 if is_ancient else node.oldest
        hello = Hello(protocol=node.newest, oldest_protocol=oldest, node_id=str(certificates.node.node_id))
        await link.send(NodeFrame(hello=hello))
        try:
            await link.welcome(10)
            told.set_result(str(link.protocol))
        except LinkError as error:
            told.set_result(str(error.data.get("code") or error.code))
        await link.wait_closed()

    async with listening(certificates.local, serve) as address:
        link = await dial(address, certificates.hub, certificates.node)
        link.speaks = hub
        try:
            said = await greet(link)
            return said, await asyncio.wait_for(told, 30)
        finally:
            await link.aclose()


async def greet(link: HubEnd) -> str:
    try:
        await link.hello(10)
    except ProtocolUnsupported as error:
        return error.code
    await link.send(HubFrame(welcome=Welcome(protocol=link.protocol, epoch=1)))
    return str(link.protocol)


@pytest.mark.parametrize(
    ("hub", "node", "agreed"),
    [
        (Spoken(1, 1), Spoken(1, 1), "1"),
        (Spoken(1, 2), Spoken(1, 1), "1"),
        (Spoken(1, 1), Spoken(1, 2), "1"),
        (Spoken(2, 3), Spoken(1, 2), "2"),
        (Spoken(2, 3), Spoken(1, 1), "protocol_unsupported"),
        (Spoken(1, 1), Spoken(2, 3), "protocol_unsupported"),
    ],
)
async def test_the_newest_version_that_both_speak_is_spoken(
    certificates: Certificates, hub: Spoken, node: Spoken, agreed: str
) -> None:
    assert await meet(certificates, hub, node) == (agreed, agreed)


async def test_a_node_that_says_one_version_speaks_that_alone(certificates: Certificates) -> None:
    assert await meet(certificates, Spoken(1, 2), Spoken(2, 2), is_ancient=True) == ("2", "2")
    assert await meet(certificates, Spoken(1, 1), Spoken(2, 2), is_ancient=True) == ("protocol_unsupported",) * 2


async def test_a_node_refuses_a_hub_that_answers_with_a_version_it_does_not_speak(certificates: Certificates) -> None:
    heard: asyncio.Future[ProtocolUnsupported] = asyncio.get_running_loop().create_future()

    async def serve(link: NodeEnd) -> None:
        link.speaks = Spoken(2, 3)
        await link.send(NodeFrame(hello=Hello(protocol=3, oldest_protocol=2, node_id=str(certificates.node.node_id))))
        with pytest.raises(ProtocolUnsupported) as refused:
            await link.welcome(10)
        heard.set_result(refused.value)

    async with listening(certificates.local, serve) as address:
        link = await dial(address, certificates.hub, certificates.node)
        await link.send(HubFrame(welcome=Welcome(protocol=1, epoch=1)))
        assert "version 1" in (await asyncio.wait_for(heard, 30)).text
        cause = await asyncio.wait_for(link.wait_closed(), 30)
        assert isinstance(cause, LinkClosed)
        assert (cause.data["code"], "upgrade the hub" in cause.text) == ("protocol_unsupported", True)


@pytest.mark.parametrize(
    ("hub", "node", "older"), [(Spoken(2, 3), Spoken(1, 1), "node"), (Spoken(1, 1), Spoken(2, 3), "hub")]
)
async def test_the_refusal_says_both_versions_and_whom_to_upgrade(
    certificates: Certificates, hub: Spoken, node: Spoken, older: str
) -> None:
    heard: asyncio.Future[LinkError] = asyncio.get_running_loop().create_future()

    async def serve(link: NodeEnd) -> None:
        hello = Hello(protocol=node.newest, oldest_protocol=node.oldest, node_id=str(certificates.node.node_id))
        await link.send(NodeFrame(hello=hello))
        heard.set_result(await link.wait_closed())

    async with listening(certificates.local, serve) as address:
        link = await dial(address, certificates.hub, certificates.node)
        link.speaks = hub
        with pytest.raises(ProtocolUnsupported, match=f"{node}.*{hub}.*upgrade the {older}"):
            await link.hello(10)
        assert f"upgrade the {older}" in (await asyncio.wait_for(heard, 30)).text
