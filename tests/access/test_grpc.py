"""Every gRPC method, by each role: what opens the other doors to people, agents and programs opens none of these."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from uuid import UUID

import grpc
import grpc.aio
import pytest
from django.db import transaction

from agenthub_site.actor_service import ActorService, actor_address_file
from nodes import pki
from nodes.contract.config import Config, InternalGrpcConfig, SecurityConfig
from nodes.link.actors import SERVICE, sign_actor
from nodes.link.credentials import Credentials
from nodes.link.link import NodeEnd
from nodes.link.secrets import find_auth_secrets
from nodes.link.serve import node_server
from nodes.link.services import HUB_LINK, NODE_LINK
from tests.nodes.test_accept_tunnels import Hub, config_of, listening

from . import collect
from .world import Who, make_callers, make_world

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.matrix, pytest.mark.timeout(120)]
SECONDS = 10.0
REFUSED = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAVAILABLE}
"""The last is what a handshake without a certificate ends in."""


@pytest.fixture
def callers(transactional_db: None) -> list[Who]:
    with transaction.atomic():
        return make_callers(make_world("harbour", "curlew"), make_world("pier", "cormorant"))


@asynccontextmanager
async def channels(home: Path) -> AsyncIterator[dict[str, grpc.aio.Channel]]:
    """To each listener, as somebody without a certificate of ours comes to it, by the method or service it serves."""
    pki.ensure_pki(home / "pki", UUID(int=7))
    authority = pki.load_authority(home / "pki")
    actors = Config(internal_grpc=InternalGrpcConfig(
        enabled=True, actor_listen="127.0.0.1:0", security=SecurityConfig(mode="disabled")
    ))  # fmt: skip
    actors.home = home

    async def never(_end: NodeEnd) -> None:
        raise AssertionError("Somebody came in.")

    node = node_server(Credentials.load(home / "pki", "local"), never)
    trusting = grpc.ssl_channel_credentials(authority.pem)
    names = (("grpc.ssl_target_name_override", "localhost"),)
    async with AsyncExitStack() as stack:
        hub = Hub(home)
        await stack.enter_async_context(listening(hub.config))
        await node.start("127.0.0.1:0")
        stack.push_async_callback(node.stop, 0.0)
        service = ActorService(actors)
        await service.start()
        stack.push_async_callback(service.stop)
        made = {
            HUB_LINK: grpc.aio.secure_channel(hub.address, trusting, names),
            NODE_LINK: grpc.aio.secure_channel(f"127.0.0.1:{node.port}", trusting, names),
            SERVICE: grpc.aio.insecure_channel(actor_address_file(home).read_text()),
        }
        for channel in made.values():
            stack.push_async_callback(channel.close, None)
        yield made


async def status_of(channel: grpc.aio.Channel, method: str, shown: tuple[tuple[str, str], ...]) -> grpc.StatusCode:
    try:
        if method in (HUB_LINK, NODE_LINK):
            call = channel.stream_stream(method, None, None)(iter([b""]), metadata=shown, timeout=SECONDS)
            await call.read()
            return await call.code()
        await channel.unary_unary(method, None, None)(b"", metadata=shown, timeout=SECONDS)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def test_no_role_opens_a_method(home: Path, callers: list[Who]) -> None:
    wrong = []
    async with channels(home) as made:
        for method in collect.grpc_methods():
            channel = made.get(method) or made[method.strip("/").partition("/")[0]]
            for who in callers:
                shown = (("authorization", f"Bearer {who.secret}"),) if who.secret else ()
                status = await status_of(channel, method, shown)
                if status not in REFUSED:
                    wrong.append(f"{method} by {who.role}: {status}")
        # Who has the shared secret is let in: the callers above were not refused for want of a listener.
        config = InternalGrpcConfig().auth
        secrets = find_auth_secrets(config_of(home))
        assert secrets
        genuine = (("authorization", f"Bearer {sign_actor(secrets.current, config)}"),)
        status = await status_of(made[SERVICE], f"/{SERVICE}/Inbox", genuine)
        assert status not in REFUSED, status
    assert not wrong, "\n".join(wrong)
