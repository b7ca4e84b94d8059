"""The two ends of a gRPC stream as ``Wire``s, and the options that both share."""

import asyncio
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import grpc
import grpc.aio
from grpc.aio import EOF  # type: ignore[attr-defined]  # the stubs do not know it

from nodes.contract.limits import FRAME_BYTES
from nodes.pb.link_pb2 import HubFrame, NodeFrame

from .errors import LinkClosed, LinkError, LinkProtocolError, LinkSilent

Sent = TypeVar("Sent", HubFrame, NodeFrame)
Received = TypeVar("Received", HubFrame, NodeFrame)

OPTIONS: Sequence[tuple[str, int]] = (
    ("grpc.max_receive_message_length", FRAME_BYTES),
    ("grpc.max_send_message_length", FRAME_BYTES),
    # A peer that is frozen or behind a dead path is noticed within 15 s, even if nothing is sent.
    ("grpc.keepalive_time_ms", 5_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 1_000),
    # A connection of its own for each link: nothing is shared between a link and the next attempt.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.so_reuseport", 0),
)


class DialledWire(Generic[Sent, Received]):
    """The dialling end: owns the call and its channel."""

    def __init__(self, call: "grpc.aio.StreamStreamCall[Sent, Received]", channel: grpc.aio.Channel, address: str):
        self._call: grpc.aio.StreamStreamCall[Sent, Received] = call
        self._channel = channel
        self._address = address
        self._closing: asyncio.Task[None] | None = None

    async def read(self) -> Received | None:
        try:
            frame: Any = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise _explain(error, self._address) from error
        return None if frame is EOF else frame

    async def write(self, frame: Sent) -> None:
        try:
            await self._call.write(frame)
        except grpc.aio.AioRpcError as error:
            raise _explain(error, self._address) from error
        except asyncio.InvalidStateError as error:
            raise LinkClosed(f"The connection to {self._address} is closed.") from error

    async def finish(self) -> None:
        try:
            await self._call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            raise LinkClosed(f"The connection to {self._address} is closed.") from error

    def abort(self) -> None:
        self._call.cancel()
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._channel.close(None))


class AcceptedWire(Generic[Sent, Received]):
    """The listening end: the context of one call, which ends when its handler returns."""

    def __init__(self, context: "grpc.aio.ServicerContext[Received, Sent]", address: str) -> None:
        self._context: grpc.aio.ServicerContext[Received, Sent] = context
        self._address = address

    async def read(self) -> Received | None:
        try:
            frame: Any = await self._context.read()
        except grpc.aio.BaseError as error:
            raise LinkClosed(f"The connection from {self._address} was cut.") from error
        return None if frame is EOF else frame

    async def write(self, frame: Sent) -> None:
        try:
            await self._context.write(frame)
        except grpc.aio.BaseError as error:
            raise LinkClosed(f"The connection from {self._address} was cut.") from error

    async def finish(self) -> None:
        """The stream ends when the handler returns."""

    def abort(self) -> None:
        """The stream ends when the handler returns."""


def _explain(error: grpc.aio.AioRpcError, address: str) -> LinkError:
    """A broken stream's status as one of our errors."""
    details = error.details() or ""
    if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in details:
        return LinkProtocolError(f"A frame over {FRAME_BYTES} bytes ended the link with {address}: {details}")
    if error.code() is grpc.StatusCode.UNAVAILABLE and "keepalive" in details:
        return LinkSilent(f"{address} does not answer keepalive pings any more.")
    return LinkClosed(f"The connection to {address} was cut: {details or error.code().name}.")
