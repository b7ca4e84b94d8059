"""A person's way to the provider and back, as a browser takes it."""

import time
from typing import Any
from urllib.parse import urlsplit

from allauth.usersessions.models import UserSession
from django.test import Client

from agenthub_site.accounts.models import User
from agenthub_site.accounts.oidc.models import Identity, ProviderSession
from audit.models import AuditEvent
from tests.fakes.provider import CLIENT, FakeProvider

LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"


def visitor() -> Client:
    return Client(SERVER_NAME="localhost")


def leave(client: Client, onward: str = "/runs/") -> str:
    """Off to the provider; the address there."""
    return str(client.get("/oidc/authenticate/", {"next": onward})["Location"])


def come_back(client: Client, op: FakeProvider, **spoilt: Any) -> Any:
    """There and back. ``spoilt`` are claims of the token, or how it is signed."""
    return client.get(path_of(op.grant(leave(client), **spoilt)))


def path_of(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.path}?{parts.query}"


def is_in(client: Client) -> bool:
    return client.get("/api/v1/me/").status_code == 200


def rows() -> tuple[int, ...]:
    return tuple(model.objects.count() for model in (User, Identity, UserSession, ProviderSession))


def reason() -> Any:
    """Of the last refusal in the trail."""
    noted = AuditEvent.objects.filter(name="user.login_failed").order_by("-id").first()
    return noted and noted.data.get("reason")


def logout_token(op: FakeProvider, *, signing: dict[str, Any] | None = None, **claims: Any) -> str:
    now = int(time.time())
    told = {
        "iss": op.issuer, "aud": CLIENT, "iat": now, "exp": now + 120, "jti": f"jti-{time.monotonic_ns()}",
        "events": {LOGOUT_EVENT: {}}, "sub": "anna-42", **claims,
    }  # fmt: skip
    return op.sign({name: value for name, value in told.items() if value is not None}, **(signing or {}))
