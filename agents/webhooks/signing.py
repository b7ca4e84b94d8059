"""Signatures as the Standard Webhooks specification has them: https://www.standardwebhooks.com"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from typing import Final

PREFIX: Final = "whsec_"
_BYTES: Final = 32


def new_secret() -> str:
    return PREFIX + base64.b64encode(secrets.token_bytes(_BYTES)).decode()


def signed_headers(message_id: str, timestamp: int, body: bytes, keys: Sequence[str]) -> dict[str, str]:
    """``webhook-id``, ``webhook-timestamp``, ``webhook-signature``: one signature for each of ``keys``."""
    said = f"{message_id}.{timestamp}.".encode() + body
    made = [hmac.new(base64.b64decode(key.removeprefix(PREFIX)), said, hashlib.sha256).digest() for key in keys]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{base64.b64encode(each).decode()}" for each in made),
    }
