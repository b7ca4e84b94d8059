"""A message's payload: JSON of bounded size and depth."""

import json
from typing import Any

from nodes.contract.errors import Invalid

from .errors import PayloadTooDeep, PayloadTooLarge
from .limits import PAYLOAD_BYTES, PAYLOAD_DEPTH


def encode_payload(payload: Any) -> str:
    """Compact JSON. Raises ``PayloadTooDeep``, ``PayloadTooLarge``, and ``Invalid`` for what is no JSON."""
    _check_depth(payload)
    try:
        text = json.dumps(payload, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        size = len(text.encode())
    except (TypeError, ValueError) as error:  # UnicodeEncodeError, for half a surrogate pair, is one of the latter
        message = f"The payload must be JSON: {error}."
        raise Invalid(message, fields={"payload": [message]}) from None
    if size > PAYLOAD_BYTES:
        raise PayloadTooLarge(
            f"A payload has at most {PAYLOAD_BYTES} bytes; this one has {size}. Send a reference to it instead.",
            limit_bytes=PAYLOAD_BYTES,
            bytes=size,
        )
    return text


def _check_depth(payload: Any) -> None:
    """Level by level: a payload may be deeper than Python's stack, and may even contain itself."""
    level, depth = [payload] if isinstance(payload, (dict, list, tuple)) else [], 0
    while level:
        if depth == PAYLOAD_DEPTH:
            raise PayloadTooDeep(f"A payload nests at most {PAYLOAD_DEPTH} levels.", limit=PAYLOAD_DEPTH)
        depth += 1
        onward: list[Any] = []
        for value in level:
            inside = value.values() if isinstance(value, dict) else value
            onward.extend(inner for inner in inside if isinstance(inner, (dict, list, tuple)))
        level = onward
