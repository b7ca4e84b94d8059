"""The actor service: what it shows, whose certificate stands for the secret, and what becomes of a long refusal."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import grpc.aio
import pytest
from asgiref.sync import sync_to_async

from agenthub_site.actor_service import ActorService, actor_address_file
from agents.models import Agent
from integrations.cli.actor_grpc import ask_hub
from integrations.cli.where import find_where
from nodes import pki, rotation
from nodes.certified import node_of_certificate
from nodes.contract.config import Config, InternalGrpcConfig, SecurityConfig, load_config
from nodes.link.actors import ERROR, SERVICE
from nodes.models import Node
from nodes.pb.actor_pb2 import ActorReply, ActorRequest
from tests.factories import make_agent, make_node

Ask = Callable[..., Awaitable[str]]
CA = pki.make_authority("Fleet")


def certificate(name: str, *hosts: str) -> bytes:
    return pki.issue(CA, name, dns_names=hosts, server=True, client=True).certificate


@pytest.mark.parametrize(
    ("shown", "whose"),
    [
        (certificate("GPU01.internal"), "gpu-01"),
        (certificate("x", "gpu01.internal"), "gpu-01"),
        (certificate("x", "*.internal"), "gpu-01"),
        (certificate("gpu-01"), "gpu-01"),
        (certificate("x", "named.example"), "gpu-02"),
        (certificate("x", "gpu02.lan"), ""),  # by which it is not dialled
        (certificate("gpu-03", "localhost"), "gpu-03"),
        (certificate("operator", "localhost"), ""),
        (certificate("operator"), ""),
        (pki.issue_node(CA, pki.NodeIdentity(UUID(int=9), 1)).certificate, str(UUID(int=9))),
    ],
)
def test_a_nodes_certificate_is_known_by_what_it_is_dialled_by(db: None, shown: bytes, whose: str) -> None:
    make_node("gpu-01", is_joined=False, grpc_target="https://gpu01.internal:50051")
    make_node("gpu-02", is_joined=False, grpc_target="gpu02.lan:50051", tls_server_name="named.example")
    make_node("gpu-03", is_joined=False, grpc_target="localhost:50051")
    assert node_of_certificate(shown) == whose


def test_that_of_a_removed_node_is_a_nodes_still(db: None) -> None:
    node = make_node("gpu-01", is_joined=False, grpc_target="gpu01.internal:50051")
    Node.objects.filter(pk=node.pk).update(removed_at=node.connected_at, slug="removed")
    assert node_of_certificate(certificate("gpu01.internal"))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("left", [("node-cert.pem",), ("node-cert.pem", "node-key.pem")])
async def test_what_the_hub_made_for_a_node_is_not_shown_as_its_own(
    home: Path, monkeypatch: pytest.MonkeyPatch, left: tuple[str, ...]
) -> None:
    agent: Agent = await sync_to_async(make_agent)()
    certs = home / "internal-grpc"
    certs.mkdir(parents=True)
    made = pki.issue(CA, "gpu01.internal", server=True)
    contents = {"node-cert.pem": made.certificate, "node-key.pem": made.key, "ca-cert.pem": CA.pem}
    for name in ("ca-cert.pem", *left):
        (certs / name).write_bytes(contents[name])
    pki.ensure_pki(home / "pki", UUID(int=7))
    (home / "config.toml").write_text('[internal_grpc]\nenabled = true\nactor_listen = "127.0.0.1:0"\n')
    monkeypatch.setenv("AGENTHUB_HOME", str(home))
    assert await answer(str(agent.pk)) == 0


@pytest.mark.django_db(transaction=True)
async def test_the_service_is_believed_while_and_after_the_authority_is_replaced(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent: Agent = await sync_to_async(make_agent)()
    local, now = pki.NodeIdentity(UUID(int=7), 1), datetime.now(UTC)
    pki.ensure_pki(home / "pki", local.node_id)
    (home / "config.toml").write_text('[internal_grpc]\nenabled = true\nactor_listen = "127.0.0.1:0"\n')
    monkeypatch.setenv("AGENTHUB_HOME", str(home))
    rotation.begin(home / "pki", local, timedelta(hours=1), now)
    assert await answer(str(agent.pk)) == 0
    rotation.finish(home / "pki", local, now)
    assert await answer(str(agent.pk)) == 0


async def answer(agent_id: str) -> int:
    """A service of this home is asked, as on the command line, for how many messages the agent has."""
    service = ActorService(load_config())
    await service.start()
    try:
        told = await asyncio.to_thread(ask_hub, find_where(), None, agent_id, "inbox", {})
    finally:
        await service.stop()
    return len(told["messages"])


@asynccontextmanager
async def served(home: Path) -> AsyncIterator[Ask]:
    """Asks for an agent's inbox with a certificate of this name: how many messages there are, or the refusal's code."""
    agent: Agent = await sync_to_async(make_agent)()
    certs = home / "certs"
    certs.mkdir()
    shown = pki.issue(CA, "hub", dns_names=["localhost"], server=True)
    for name, content in (("ca-cert", CA.pem), ("server-cert", shown.certificate), ("server-key", shown.key)):
        (certs / f"{name}.pem").write_bytes(content)
    security = SecurityConfig(mode="mtls", cert_dir=str(certs))
    config = Config(internal_grpc=InternalGrpcConfig(enabled=True, actor_listen="127.0.0.1:0", security=security))
    config.home = home
    service = ActorService(config)
    await service.start()

    async def ask(name: str, body: bytes = b"{}") -> str:
        own = pki.issue(CA, name, client=True)
        trusting = grpc.ssl_channel_credentials(CA.pem, own.key, own.certificate)
        options = (("grpc.ssl_target_name_override", "localhost"),)
        async with grpc.aio.secure_channel(actor_address_file(home).read_text(), trusting, options) as channel:
            call = channel.unary_unary(f"/{SERVICE}/Inbox", ActorRequest.SerializeToString, ActorReply.FromString)
            try:
                reply = await call(ActorRequest(actor_id=str(agent.pk), body=body), timeout=20)
            except grpc.aio.AioRpcError as error:
                trailing: Any = error.trailing_metadata() or ()
                said = next(value for key, value in trailing if key == ERROR)
                return str(json.loads(said)["error"]["code"])
            return f"{len(json.loads(reply.result)['messages'])} messages"

    try:
        yield ask
    finally:
        await service.stop()


@pytest.mark.django_db(transaction=True)
async def test_the_service_lets_operators_in_and_no_node(home: Path) -> None:
    await sync_to_async(make_node)("gpu-01", is_joined=False, grpc_target="gpu01.internal:50051")
    async with served(home) as ask:
        assert await ask("operator") == "0 messages"
        assert await ask("gpu01.internal") == "is_a_node"


@pytest.mark.django_db(transaction=True)
async def test_a_refusal_of_any_length_comes_with_its_code(home: Path) -> None:
    body = json.dumps({"\U0001f991" * 5_000: 1}).encode()  # the field is named in the message, and in its data
    async with served(home) as ask:
        assert await ask("operator", body) == "invalid"
