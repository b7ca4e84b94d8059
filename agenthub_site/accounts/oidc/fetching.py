"""Asking the provider: bounded in time and size, following nothing, saying nothing of what it answered."""

import json
import time
from typing import Any, Final

import requests
import structlog

from .errors import ProviderAway

logger = structlog.get_logger(__name__)

CONNECT_SECONDS: Final = 3.0
TOTAL_SECONDS: Final = 6.0
MAX_BYTES: Final = 512 * 1024


def ask(method: str, url: str, **how: Any) -> tuple[int, dict[str, Any]]:
    """Status and JSON object. ``ProviderAway`` for silence, for its own trouble, and for what is no JSON object."""
    until = time.monotonic() + TOTAL_SECONDS
    try:
        with requests.request(
            method, url, timeout=(CONNECT_SECONDS, CONNECT_SECONDS), allow_redirects=False, stream=True, **how
        ) as answer:
            body = b""
            for chunk in answer.iter_content(16 * 1024):
                body += chunk
                if len(body) > MAX_BYTES or time.monotonic() > until:
                    raise ProviderAway()
            status = answer.status_code
            told = json.loads(body) if status < 500 else None
    except (requests.RequestException, ValueError) as error:
        logger.warning("oidc.provider_away", url=url, error=type(error).__name__)
        raise ProviderAway() from error
    if not isinstance(told, dict):
        logger.warning("oidc.provider_away", url=url, status=status)
        raise ProviderAway()
    return status, told
