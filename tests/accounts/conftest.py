"""A provider of our own, and a hub that knows it."""

from collections.abc import Iterator

import pytest
from django.conf import settings
from pydantic import SecretStr

from agenthub_site.accounts.oidc import provider as provider_module
from nodes.contract.config import OidcConfig
from tests.fakes.provider import CLIENT, SECRET, FakeProvider


@pytest.fixture
def op(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeProvider]:
    op = FakeProvider()
    config = OidcConfig(issuer=op.issuer, client_id=CLIENT, client_secret=SecretStr(SECRET), name="Harbour ID")
    monkeypatch.setattr(settings.CONFIG, "oidc", config)
    provider_module._provider_of.cache_clear()
    yield op
    op.close()
