"""What the doors refuse, for the trail: who had no or no good credential, and who may not do what they asked for."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from django.conf import settings
from django.http import HttpRequest

from agenthub_site.accounts.actors import Actor
from agenthub_site.accounts.address import client_address
from agenthub_site.accounts.authentication import request_address
from audit.refusals import ANYBODY, Due, Refusal, as_who, refusals
from audit.services import Who
from nodes.contract.errors import HubError

WORTH_NOTING: Final = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS)
_DOOR_CHARS: Final = 100


def note_request(request: HttpRequest, error: HubError) -> None:
    """Of Django's or DRF's doors. Blocks, for the first of its kind in a minute."""
    if error.http not in WORTH_NOTING or error.is_noted:
        return
    actor: Actor | None = getattr(request, "_actor", None)
    who = as_who(actor) if actor else _stranger(request_address(request), request.headers.get("User-Agent", ""))
    refusals.note(_refusal(who, error, f"{request.method} {_route(request)}"))


def count_scope(
    scope: Mapping[str, Any], headers: Mapping[str, str], error: HubError, actor: Actor | None
) -> list[Due]:
    """Of the doors beside Django: what ``refusals.write`` is to be given, in a thread. Does not block."""
    if error.http not in WORTH_NOTING or error.is_noted:
        return []
    peer = (scope.get("client") or ("",))[0] or ""
    address = client_address(peer, headers.get("x-forwarded-for", ""), settings.CONFIG.server.trusted_proxies)
    who = as_who(actor) if actor else _stranger(address, headers.get("user-agent", ""))
    door = f"{scope.get('method', scope['type'])} {'/'.join(scope['path'].split('/')[:4])}"
    return refusals.count(_refusal(who, error, door))


def _refusal(who: Who, error: HubError, door: str) -> Refusal:
    return Refusal("access.refused", who, project=error.project, code=_code(error), door=door[:_DOOR_CHARS])


def _code(error: HubError) -> str:
    """With what was missing, where that is known."""
    capability = error.data.get("capability")
    return f"{error.code} {capability}" if capability else error.code


def _stranger(address: str, user_agent: str) -> Who:
    return Who(ANYBODY.kind, address=address, user_agent=user_agent[:200])


def _route(request: HttpRequest) -> str:
    """The address's pattern: paths are the caller's to invent."""
    match = request.resolver_match
    return match.route.rstrip("$") if match else "/".join(request.path.split("/")[:3])
