from collections.abc import Callable

import pytest
from django.test import Client

from agenthub_site.accounts.models import User


@pytest.fixture
def sign_in(db: None) -> Callable[[User], Client]:
    """A browser of somebody who has signed in."""

    def signed_in(user: User) -> Client:
        client = Client(enforce_csrf_checks=False)
        client.force_login(user)
        return client

    return signed_in


@pytest.fixture
def web(sign_in: Callable[[User], Client], alice: User) -> Client:
    """Alice's browser; she owns the project."""
    return sign_in(alice)
