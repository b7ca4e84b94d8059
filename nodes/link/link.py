"""One link between a hub and a node, the same at both ends and in both directions of dialling."""

import asyncio
import contextlib
import secrets
from collections import deque
from collections.abc import AsyncIterator
from statistics import median
from typing import ClassVar, Generic, Literal, Protocol, TypeVar

import structlog

from nodes.contract.ids import now_us
from nodes.contract.limits import FRAME_BYTES, SILENT_SECONDS
from nodes.pb.link_pb2 import Goodbye, Heartbeat, Hello, HubFrame, NodeFrame, Ping, Pong, Welcome
from nodes.pki import NodeIdentity

from .errors import (
    Cause,
    CertificateMismatch,
    FrameTooLarge,
    LinkClosed,
    LinkError,
    LinkProtocolError,
    LinkSilent,
    NodeMismatch,
    ProtocolUnsupported,
)
from .lanes import LANE_OF, Lane, Lanes
from .versions import PROTOCOL, SPOKEN, Spoken

logger = structlog.get_logger(__name__)

INBOUND_BYTES = 64 * 1024 * 1024
"""What may wait for the handler. Credit keeps a well-behaved peer far below; a flood is cut."""
FRAME_MEMORY_BYTES = 1024
"""What a frame that waits costs in memory besides its bytes: a flood of tiny ones counts as well."""
WRITE_SECONDS = 20.0
"""How long one frame may take to leave, and how long ``send`` waits for room."""
GOODBYE_SECONDS = 1.0
PINGS = 5
"""The last round trips that a link's latency is the median of: about a minute's."""
PING_EVERY = 3
"""Heartbeats to a ping, once the latency is known: a ping and its answer cost as much as the heartbeat."""
LEAST_PINGS = 3
"""Fewer tell nothing: the first are made while both ends still have their hands full."""

Sent = TypeVar("Sent", HubFrame, NodeFrame)
Received = TypeVar("Received", HubFrame, NodeFrame)
Sent_contra = TypeVar("Sent_contra", HubFrame, NodeFrame, contravariant=True)
Received_co = TypeVar("Received_co", HubFrame, NodeFrame, covariant=True)


class Wire(Protocol[Sent_contra, Received_co]):
    """One gRPC stream, seen from either end. Raises ``LinkError`` when it breaks."""

    async def read(self) -> Received_co | None:
        """The next frame; None when the peer has finished."""
        ...

    async def write(self, frame: Sent_contra) -> None: ...

    async def finish(self) -> None:
        """Say that nothing more will come."""
        ...

    def abort(self) -> None:
        """Drop it now."""
        ...


class Link(Generic[Sent, Received]):
    """Sends by urgency from bounded lanes, always reads, notices a silent peer, closes cleanly.

    One task should read ``frames``; any number may send. Every method raises the error that
    ended the link once it is over (``LinkClosed`` after our own ``aclose``).
    """

    _frame: ClassVar[type[HubFrame] | type[NodeFrame]]

    def __init__(self, wire: Wire[Sent, Received], address: str, *, silence_seconds: float = SILENT_SECONDS) -> None:
        self.address = address
        self.speaks = SPOKEN
        """Before the first frame: which versions of the protocol this end speaks."""
        self.protocol = PROTOCOL
        """After it: the version that both ends speak."""
        self._wire: Wire[Sent, Received] = wire
        self._lanes: Lanes[Sent] = Lanes()
        self._inbound: deque[tuple[Received, int]] = deque()
        self._inbound_bytes = 0
        self._arrived = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._over: asyncio.Future[LinkError] = loop.create_future()
        self._by_us = False
        self._silence_seconds = silence_seconds
        self._heard_at = loop.time()
        self._watch_timer = loop.call_later(silence_seconds, self._watch)
        self._goodbye_sent = asyncio.Event()
        self._tasks = [
            asyncio.create_task(body, name=f"link-{name}-{address}")
            for name, body in (("send", self._send_all()), ("read", self._read_all()))
        ]
        for task in self._tasks:
            task.add_done_callback(self._task_ended)

    @property
    def cause(self) -> LinkError | None:
        """Why the link is over; None while it lives."""
        return self._over.result() if self._over.done() else None

    @property
    def is_open(self) -> bool:
        return not self._over.done()

    @property
    def silent_for(self) -> float:
        """Seconds since anything was heard from the peer."""
        return asyncio.get_running_loop().time() - self._heard_at

    async def wait_closed(self) -> LinkError:
        """Until the link is over, for whatever reason."""
        return await asyncio.shield(self._over)

    async def send(self, frame: Sent) -> None:
        """Queue a frame, waiting for room (at most ``WRITE_SECONDS``, then the link is cut as silent)."""
        lane, size = self._admit(frame)
        if self._lanes.try_put(lane, frame, size):
            return
        put = asyncio.ensure_future(self._lanes.put(lane, frame, size))
        try:
            done, _ = await asyncio.wait((put, self._over), timeout=WRITE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            put.cancel()
        if not done:
            self.cut(LinkSilent(f"{self.address} has taken no frame for {WRITE_SECONDS:.0f} s."))
        self._check()

    def try_send(self, frame: Sent) -> bool:
        """Queue a frame if there is room for it now."""
        lane, size = self._admit(frame)
        return self._lanes.try_put(lane, frame, size)

    async def frames(self) -> AsyncIterator[Received]:
        """What the peer sends, in its order. Ends after our own ``aclose``; raises why when the link is lost.

        What had arrived before the end is still handed out.
        """
        while True:
            while self._inbound:
                frame, size = self._inbound.popleft()
                self._inbound_bytes -= size
                yield frame
            if self.cause is not None:
                if self._by_us:
                    return
                raise self.cause
            self._arrived.clear()
            await self._arrived.wait()

    async def aclose(self, reason: str = "", code: str = "closing") -> None:
        """Say goodbye and why, and let go of everything. Takes at most about ``GOODBYE_SECONDS``; may be repeated."""
        if self.is_open:
            self._by_us = True
            farewell = self._frame(goodbye=Goodbye(code=code, message=reason))
            self._lanes.try_put(Lane.HEARTBEAT, farewell, farewell.ByteSize())  # type: ignore[arg-type]
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GOODBYE_SECONDS):
                    await self._goodbye_sent.wait()
            self.cut(LinkClosed(reason or "This end closed the link.", code=code))
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self, cause: LinkError) -> None:
        """End the link at once, without a word to the peer. The first cause is the one that stays."""
        if self._over.done():
            return
        self._over.set_result(cause)
        self._watch_timer.cancel()
        self._wire.abort()
        self._arrived.set()
        self._goodbye_sent.set()
        for task in self._tasks:
            task.cancel()

    def _admit(self, frame: Sent) -> tuple[Lane, int]:
        self._check()
        kind = frame.WhichOneof("frame")
        size = frame.ByteSize()
        if kind is None:
            raise ValueError("an empty frame cannot be sent")
        if size > FRAME_BYTES:
            raise FrameTooLarge(f"A frame with {kind} has {size} bytes; at most {FRAME_BYTES} are allowed.")
        return LANE_OF[kind], size

    def _check(self) -> None:
        if self.cause is not None:
            raise self.cause

    async def _send_all(self) -> None:
        while True:
            frame = await self._lanes.take()
            try:
                async with asyncio.timeout(WRITE_SECONDS):
                    await self._wire.write(frame)
                    if frame.WhichOneof("frame") == "goodbye":
                        await self._wire.finish()
                        self._goodbye_sent.set()
                        return
            except TimeoutError:
                self.cut(LinkSilent(f"{self.address} has taken no frame for {WRITE_SECONDS:.0f} s."))
            except LinkError as error:
                self.cut(error)

    async def _read_all(self) -> None:
        try:
            while (frame := await self._wire.read()) is not None:
                self._heard_at = asyncio.get_running_loop().time()
                kind = frame.WhichOneof("frame")
                if kind == "goodbye":
                    said = frame.goodbye
                    self.cut(LinkClosed(said.message or "The other end closed the link.", code=said.code))
                    return
                if kind is None or self._take_in(frame):
                    continue
                size = frame.ByteSize() + FRAME_MEMORY_BYTES
                self._inbound.append((frame, size))
                self._inbound_bytes += size
                self._arrived.set()
                if self._inbound_bytes > INBOUND_BYTES:
                    self.cut(LinkProtocolError(f"{self.address} sends more than it has credit for."))
                    return
            self.cut(LinkClosed(f"{self.address} ended the link without saying why."))
        except LinkError as error:
            self.cut(error)

    def _take_in(self, frame: Received) -> bool:
        """What the link itself does with a frame; True if that is all there is to it."""
        return False

    def _watch(self) -> None:
        left = self._silence_seconds - self.silent_for
        if left > 0:
            self._watch_timer = asyncio.get_running_loop().call_later(left, self._watch)
        else:
            self.cut(LinkSilent(f"Nothing was heard from {self.address} for {self._silence_seconds:.0f} s."))

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            self.cut(LinkClosed(f"The connection to {self.address} was cut."))
        elif (error := task.exception()) is not None:
            logger.error("link.failed", address=self.address, exc_info=error)
            self.cut(LinkError(f"The link to {self.address} failed: {error!r}."))

    async def _first(self, kind: Literal["hello", "welcome"], timeout: float) -> Received:
        try:
            async with asyncio.timeout(timeout):
                async for frame in self.frames():
                    got = frame.WhichOneof("frame")
                    if got == "heartbeat":
                        continue
                    if got == kind:
                        return frame
                    raise self._broken(f"{self.address} sent {got} before {kind}.")
        except TimeoutError:
            error = LinkSilent(f"{self.address} sent no {kind} within {timeout:.0f} s.")
            self.cut(error)
            raise error from None
        self._check()
        raise LinkClosed

    def _broken(self, message: str) -> LinkProtocolError:
        error = LinkProtocolError(message)
        self.cut(error)
        return error

    async def _refuse(self, error: LinkError) -> LinkError:
        """Tell the other end why, and end the link; the error is the caller's to raise."""
        await self.aclose(error.text, error.code)
        return error


class HubEnd(Link[HubFrame, NodeFrame]):
    """The hub's end. Heartbeats are answered here, whatever the handler is busy with, and handed on as well.

    Each is also the occasion for a ping, so that the link's latency is the hub's own measurement.
    """

    _frame = HubFrame

    def __init__(
        self,
        wire: Wire[HubFrame, NodeFrame],
        address: str,
        node: NodeIdentity,
        *,
        registered_as: str = "",
        silence_seconds: float = SILENT_SECONDS,
    ) -> None:
        """``registered_as`` is the id of a node by configuration, whose certificate does not say which node it is."""
        super().__init__(wire, address, silence_seconds=silence_seconds)
        self.node = node
        self._registered_as = registered_as
        self._beats = 0
        self._pinged: tuple[int, float] | None = None
        self._round_trips: deque[float] = deque(maxlen=PINGS)

    @property
    def latency_ms(self) -> float | None:
        """Median of the last round trips; None while there are too few, and with a node that answers no ping."""
        trips = self._round_trips
        return round(median(trips) * 1_000, 2) if len(trips) >= LEAST_PINGS else None

    async def hello(self, timeout: float = 10.0) -> Hello:
        """The node's first frame. ``CertificateMismatch`` or ``NodeMismatch`` if it names another node.

        ``ProtocolUnsupported`` if there is no version that both ends speak. All are said to the node as well.
        """
        hello = (await self._first("hello", timeout)).hello
        if hello.node_id != (self._registered_as or str(self.node.node_id)):
            said = f"{hello.node_id!r:.140}"
            raise await self._refuse(
                NodeMismatch(f"{self.address} says it is {said}, not {self._registered_as!r}.", cause=Cause.WRONG_NODE)
                if self._registered_as
                else CertificateMismatch(
                    f"{self.address} shows the certificate of node {self.node.node_id} and says it is {said}."
                )
            )
        theirs = Spoken(hello.oldest_protocol or hello.protocol, hello.protocol)
        agreed = self.speaks.agree(theirs)
        if agreed is None:
            older = "node" if theirs.newest < self.speaks.oldest else "hub"
            raise await self._refuse(
                ProtocolUnsupported(
                    f"The node ({hello.version[:64] or 'of unknown version'}) speaks {theirs} of the link's protocol, "
                    f"the hub {self.speaks}: upgrade the {older}."
                )
            )
        self.protocol = agreed
        return hello

    def _take_in(self, frame: NodeFrame) -> bool:
        kind = frame.WhichOneof("frame")
        if kind == "pong":
            self._take_pong(frame.pong.number)
            return True
        if kind == "heartbeat":
            answer = HubFrame(heartbeat=Heartbeat(number=frame.heartbeat.number, clock_us=now_us()))
            self._lanes.try_put(Lane.HEARTBEAT, answer, answer.ByteSize())
            self._beats += 1  # ours: a node must not choose by its numbers whether it is measured
            if self.latency_ms is None or self._beats % PING_EVERY == 0:
                self._ping()
        return False

    def _ping(self) -> None:
        """One at a time: a slow one is waited for, however long it takes."""
        if self._pinged is not None:
            return
        number = secrets.randbits(64)
        ping = HubFrame(ping=Ping(number=number))
        if self._lanes.try_put(Lane.HEARTBEAT, ping, ping.ByteSize()):
            self._pinged = number, asyncio.get_running_loop().time()

    def _take_pong(self, number: int) -> None:
        if self._pinged is not None and self._pinged[0] == number:
            self._round_trips.append(asyncio.get_running_loop().time() - self._pinged[1])
            self._pinged = None


class NodeEnd(Link[NodeFrame, HubFrame]):
    """The node's end. Pings are answered here, whatever the handler is busy with."""

    _frame = NodeFrame

    def _take_in(self, frame: HubFrame) -> bool:
        if frame.WhichOneof("frame") != "ping":
            return False
        pong = NodeFrame(pong=Pong(number=frame.ping.number))
        self._lanes.try_put(Lane.HEARTBEAT, pong, pong.ByteSize())
        return True

    async def welcome(self, timeout: float = 10.0) -> Welcome:
        """The hub's first frame: its epoch, and what it has committed. ``ProtocolUnsupported``, said to the hub too."""
        welcome = (await self._first("welcome", timeout)).welcome
        if welcome.protocol not in self.speaks:
            older = "hub" if welcome.protocol < self.speaks.oldest else "node"
            raise await self._refuse(
                ProtocolUnsupported(
                    f"The hub speaks version {welcome.protocol} of the link's protocol, the node {self.speaks}: "
                    f"upgrade the {older}."
                )
            )
        self.protocol = welcome.protocol
        return welcome
