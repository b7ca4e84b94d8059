"""Is this request meant for us, and was it our own page that sent it? For doors beside Django's request stack."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.http.request import split_domain_port, validate_host

from agenthub_site.accounts.admission import credential_of
from nodes.contract.errors import Forbidden, HubError

Scope = Mapping[str, Any]
Headers = Mapping[str, str]


class WrongHost(HubError):
    code, http, grpc = "wrong_host", 400, "INVALID_ARGUMENT"
    message = (
        "This hub does not answer to that host name. Set [server] public_url to the address people use, and restart it."
    )


class WrongOrigin(Forbidden):
    code = "wrong_origin"
    message = "A page of another origin may not use your session here. Send a bearer token instead."


def check_host(scope: Scope, headers: Headers) -> None:
    """Raise ``WrongHost`` unless the ``Host`` header names us, by Django's own rules."""
    host = headers.get("host", "")
    domain, _ = split_domain_port(host)
    if not (domain and validate_host(domain, settings.ALLOWED_HOSTS)):
        raise WrongHost(host=host[:200])


def check_any_origin(headers: Headers) -> None:
    """Raise ``WrongOrigin`` for a page of another site, whatever it brings: as MCP has it, against DNS rebinding."""
    if origin := headers.get("origin", ""):
        _require_ours(origin, headers)


def check_origin(scope: Scope, headers: Headers) -> None:
    """Raise ``WrongOrigin`` for a caller that another site's page made speak by its cookies.

    A bearer token or the operator's socket prove by themselves that no page is behind it.
    """
    secret, cookie, is_operator = credential_of(scope)
    if secret or is_operator or not cookie:
        return
    origin = headers.get("origin", "")
    is_socket = scope["type"] == "websocket"
    if not origin:
        if is_socket or headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise WrongOrigin()
        return
    _require_ours(origin, headers)


def _require_ours(origin: str, headers: Headers) -> None:
    if origin != settings.CONFIG.server.public_url.rstrip("/") and urlsplit(origin).netloc != headers.get("host"):
        raise WrongOrigin(origin=origin[:200])
