"""Both ends' part of the actor service: its methods, and the tokens that callers from outside a run show."""

import secrets as random
import time
from typing import Final

import jwt

from nodes.contract.config import AuthConfig

from .secrets import Secrets, kid_of
from .tokens import ALGORITHM, LIFE_SECONDS, BadToken, decode

SERVICE: Final = "agenthub.actor.v1.ActorControl"
ERROR: Final = "agenthub-error-bin"
"""Trailing metadata of a refused call: ``{"error": …}``."""
METHODS: Final = {
    "TeamMembers": "team-members",
    "Inbox": "inbox",
    "Receive": "receive",
    "Ack": "ack",
    "Send": "send",
    "SetTimeTrigger": "time-trigger-set",
    "ListTimeTriggers": "time-trigger-list",
    "CancelTimeTrigger": "time-trigger-cancel",
    "RespondPermissionReview": "permission-review-respond",
}
"""gRPC's name → the command's."""
SUBJECT: Final = "actor"


def sign_actor(secret: str, auth: AuthConfig) -> str:
    """A token that is good for a minute, and for whichever actor is named with it."""
    now = int(time.time())
    body = {
        "iss": auth.issuer, "aud": auth.audience, "sub": SUBJECT, "iat": now, "exp": now + LIFE_SECONDS,
        "jti": random.token_hex(16),
    }  # fmt: skip
    return jwt.encode(body, secret, algorithm=ALGORITHM, headers={"kid": kid_of(secret)})


def verify_actor(token: str, accepted: Secrets, auth: AuthConfig) -> None:
    """Raises ``BadToken``. A hub's token for a node is none of these."""
    body = decode(token, accepted, auth, SUBJECT)
    if body["exp"] - body["iat"] > LIFE_SECONDS * 5:
        raise BadToken("the token lives too long", is_genuine=True)
