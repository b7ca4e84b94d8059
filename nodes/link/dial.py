"""Dialling: the hub dials its registered nodes, a joined node dials its hub. What comes out is a link either way."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import grpc
import grpc.aio

from nodes.contract.limits import SILENT_SECONDS
from nodes.pb.link_pb2 import HubFrame, NodeFrame
from nodes.pki import HUB_SERVER_NAME, NodeIdentity

from .credentials import Credentials
from .diagnose import diagnose, explain_refusal
from .errors import Cause, LinkError, NodeUnreachable, PeerRefused
from .link import HubEnd, NodeEnd
from .peers import HubPeer
from .services import ACCEPTED, HUB_LINK, NODE_LINK
from .tokens import Claims
from .wires import OPTIONS, DialledWire


async def dial(
    target: str,
    credentials: Credentials,
    node: NodeIdentity,
    *,
    server_name: str = "",
    timeout: float = 10.0,
    silence_seconds: float = SILENT_SECONDS,
) -> HubEnd:
    """The hub's link to the node that listens at ``target`` (host:port).

    Only a certificate of ``node`` in that generation is accepted, since its DNS name holds both;
    ``server_name`` replaces that for one whose certificate is not of our making. Raises ``NodeUnreachable``,
    ``CertificateMismatch`` or ``PeerRefused``.
    """
    name = server_name or node.server_name
    channel = grpc.aio.secure_channel(target, credentials.for_dialling(), options=_options(name))
    call = channel.stream_stream(
        NODE_LINK, request_serializer=HubFrame.SerializeToString, response_deserializer=NodeFrame.FromString
    )(None)
    await _connected(
        call, channel, timeout, lambda waited: diagnose(target, credentials.authority, name, node, waited=waited)
    )
    return HubEnd(DialledWire(call, channel, target), target, node, silence_seconds=silence_seconds)


async def dial_configured(
    target: str,
    peer: HubPeer,
    node: NodeIdentity,
    *,
    server_name: str = "",
    timeout: float = 10.0,
    silence_seconds: float = SILENT_SECONDS,
) -> HubEnd:
    """The hub's link to a node by configuration, whose certificate is valid for ``server_name`` or the target's host.

    Raises as ``dial`` does, and ``Unauthorized`` or ``NodeMismatch`` as the node says.
    """
    name = server_name or target.rpartition(":")[0].strip("[]")
    is_plain = peer.mode == "disabled"
    channel = (
        grpc.aio.insecure_channel(target, options=OPTIONS)
        if is_plain
        else grpc.aio.secure_channel(target, peer.credentials.for_dialling(), options=_options(name))
    )
    call = channel.stream_stream(
        NODE_LINK, request_serializer=HubFrame.SerializeToString, response_deserializer=NodeFrame.FromString
    )(None, metadata=peer.metadata(Claims(peer.node_id, node.node_id)))
    authority = b"" if is_plain else peer.credentials.authority
    await _connected(call, channel, timeout, lambda waited: diagnose(target, authority, name, node, waited=waited))
    return HubEnd(
        DialledWire(call, channel, target), target, node,
        registered_as=peer.node_id, silence_seconds=silence_seconds,
    )  # fmt: skip


async def dial_hub(
    target: str,
    credentials: Credentials,
    *,
    server_name: str = HUB_SERVER_NAME,
    timeout: float = 10.0,
    silence_seconds: float = SILENT_SECONDS,
) -> NodeEnd:
    """A node's link to its hub, for nodes that nobody can dial."""
    channel = grpc.aio.secure_channel(target, credentials.for_dialling(), options=_options(server_name))
    call = channel.stream_stream(
        HUB_LINK, request_serializer=NodeFrame.SerializeToString, response_deserializer=HubFrame.FromString
    )(None)
    await _connected(
        call, channel, timeout, lambda waited: diagnose(target, credentials.authority, server_name, None, waited=waited)
    )
    return NodeEnd(DialledWire(call, channel, target), target, silence_seconds=silence_seconds)


async def _connected(
    call: "grpc.aio.StreamStreamCall[Any, Any]",
    channel: grpc.aio.Channel,
    timeout: float,
    why: Callable[[float], Awaitable[LinkError]],
) -> None:
    """Until the other end has accepted the call; it does so by its headers, sent at once."""
    is_connected = False
    try:
        async with asyncio.timeout(timeout):
            headers = await call.initial_metadata()
            is_connected = any(key == ACCEPTED for key, _ in headers or ())
            if not is_connected:
                await call.read()  # raises the status that came in place of headers
                raise PeerRefused("unauthorized: the other end closed the link at once.", cause=Cause.UNAUTHORIZED)
    except TimeoutError:
        raise await why(timeout) from None
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            raise await why(0.0) from error
        if error.code() is grpc.StatusCode.UNIMPLEMENTED:
            raise NodeUnreachable(
                "failed to connect to remote node: what answers speaks gRPC, but is not the other end of a link.",
                fix="Check grpc_target: is another program, or the hub's own port, behind it?",
                cause=Cause.NOT_A_LINK,
            ) from error
        raise explain_refusal(error) from error
    finally:
        if not is_connected:
            call.cancel()
            await channel.close(None)


def _options(server_name: str) -> Sequence[tuple[str, int | str]]:
    return (*OPTIONS, ("grpc.ssl_target_name_override", server_name))
