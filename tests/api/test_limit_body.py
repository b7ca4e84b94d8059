"""Bodies are bounded before Django reads them, whatever they say of their length."""

import json
from collections.abc import MutableMapping
from typing import Any

from django.conf import settings

from agenthub_site.body_limit import Receive, Send, limit_body

LIMIT: int = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
Headers = list[tuple[bytes, bytes]]


async def echo(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
    """Reads all, then answers with how much it was."""
    read, more = 0, True
    while more:
        message = await receive()
        read, more = read + len(message["body"]), message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(read).encode()})


async def send_body(chunks: list[bytes], headers: Headers) -> tuple[int, bytes, int]:
    """Status, answer, and how many chunks were asked for."""
    sent: list[Any] = []
    asked = 0

    async def receive() -> dict[str, Any]:
        nonlocal asked
        asked += 1
        return {"type": "http.request", "body": chunks[asked - 1], "more_body": asked < len(chunks)}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    await limit_body(echo)({"type": "http", "headers": headers}, receive, send)
    return sent[0]["status"], sent[1]["body"], asked


async def test_a_body_at_the_limit_is_read() -> None:
    assert await send_body([b"x" * LIMIT], [(b"content-length", str(LIMIT).encode())]) == (200, str(LIMIT).encode(), 1)


async def test_a_body_that_says_it_is_longer_is_not_read() -> None:
    status, answer, asked = await send_body([b"x"], [(b"content-length", str(LIMIT + 1).encode())])
    assert (status, json.loads(answer)["error"]["code"], asked) == (413, "too_large", 0)


async def test_a_body_that_does_not_say_is_read_no_further_than_the_limit() -> None:
    status, answer, asked = await send_body([b"x" * 65_536] * 1_000, [])
    assert (status, json.loads(answer)["error"]["code"]) == (413, "too_large")
    assert asked == LIMIT // 65_536 + 1
