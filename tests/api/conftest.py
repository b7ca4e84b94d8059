"""Clients of the REST door, one per person of the cast."""

import pytest

from agenthub_site.accounts.models import User
from tests.api.clients import Api
from tests.factories import make_root


@pytest.fixture
def as_root(db: None) -> Api:
    return Api(make_root())


@pytest.fixture
def as_alice(alice: User) -> Api:
    return Api(alice)


@pytest.fixture
def as_bob(bob: User) -> Api:
    return Api(bob)


@pytest.fixture
def as_charlie(charlie: User) -> Api:
    return Api(charlie)


@pytest.fixture
def as_nobody(db: None) -> Api:
    return Api()
