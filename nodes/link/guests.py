"""Those who look at a listening end from outside, by health and reflection: few at once, and not for ever.

In ``tls`` anybody may, without a token. They must not take the places of those who have one.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import grpc
import grpc.aio

MOST: Final = 16
SECONDS: Final = 300.0


class Guests(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in the stubs alone
    """Bounds every call but those of ``service``."""

    def __init__(self, service: str, most: int = MOST, seconds: float = SECONDS) -> None:
        self._own = f"/{service}/"
        self._most = most
        self._seconds = seconds
        self._count = 0

    async def intercept_service(
        self,
        continuation: "Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any]]]",
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler: Any = await continuation(handler_call_details)
        if handler is None or handler_call_details.method.startswith(self._own):
            return handler
        call = self._talking(handler.stream_stream) if handler.request_streaming else self._asking(handler)
        return grpc.stream_stream_rpc_method_handler(call, handler.request_deserializer, handler.response_serializer)

    def _asking(self, handler: Any) -> Any:
        """As a stream, which is the same on the wire: it has its place before its one request is there."""

        async def call(requests: Any, context: Any) -> None:
            async with self._place(context):
                request = await anext(aiter(requests), None)
                if request is None:
                    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "A request belongs to this call.")
                if handler.response_streaming:
                    await handler.unary_stream(request, context)
                else:
                    await context.write(await handler.unary_unary(request, context))

        return call

    def _talking(self, behaviour: Any) -> Any:
        async def call(requests: Any, context: Any) -> AsyncIterator[Any]:
            async with self._place(context):
                async for answer in behaviour(requests, context):
                    yield answer

        return call

    @asynccontextmanager
    async def _place(self, context: Any) -> AsyncIterator[None]:
        if self._count >= self._most:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Too many look at this end already; try again.")
        self._count += 1
        try:
            async with asyncio.timeout(self._seconds):
                yield
        except TimeoutError:
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "That was long enough; call again.")
        finally:
            self._count -= 1
