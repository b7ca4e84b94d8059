"""A client of the REST door."""

from typing import Any

from rest_framework.test import APIClient

from agenthub_site.accounts.models import User
from tests.factories import make_token


class Api(APIClient):
    """Speaks for one person by a bearer token; for nobody without one."""

    def __init__(self, user: User | None = None, **defaults: Any) -> None:
        super().__init__(SERVER_NAME="localhost", **defaults)
        if user is not None:
            self.credentials(HTTP_AUTHORIZATION=f"Bearer {make_token(user)}")


def refusal(response: Any) -> tuple[int, str]:
    """Status and code; fails if the answer has not the one error shape."""
    body = response.json()
    assert set(body) == {"error"} and set(body["error"]) == {"code", "message", "data"}
    assert body["error"]["message"]
    return response.status_code, body["error"]["code"]
