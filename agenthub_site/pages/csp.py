"""The content security policy: pages load only what this origin serves, and run no inline script or style."""

from typing import Any, Final

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

POLICY: Final = "; ".join([
    "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:", "font-src 'self'",
    "connect-src 'self'", "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'", "object-src 'none'",
])  # fmt: skip
_SHARED: Final = (
    "default-src 'none'", "img-src 'self' data:", "font-src 'self' data:", "connect-src 'self'", "form-action 'self'",
    "base-uri 'self'", "frame-ancestors 'none'", "object-src 'none'",
)  # fmt: skip
FOREIGN: Final = {
    "/admin/": "; ".join([*_SHARED, "script-src 'self' 'unsafe-eval'", "style-src 'self' 'unsafe-inline'"]),
    "/api/docs/": "; ".join([*_SHARED, "script-src 'self'", "style-src 'self' 'unsafe-inline'"]),
}
"""Pages of other people's making: the admin's theme evaluates its attributes, the API's reader styles in place.
Neither has a script in its pages, nor may one be put there."""


@sync_and_async_middleware
def content_security_policy(get_response: Any) -> Any:
    """Middleware: every answer has a policy; one that a view set itself is kept."""
    if iscoroutinefunction(get_response):

        async def policed(request: HttpRequest) -> HttpResponseBase:
            return _police(request, await get_response(request))

        return policed
    return lambda request: _police(request, get_response(request))


def _police(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    policy = next((theirs for door, theirs in FOREIGN.items() if request.path.startswith(door)), POLICY)
    response.headers.setdefault("Content-Security-Policy", policy)
    return response
