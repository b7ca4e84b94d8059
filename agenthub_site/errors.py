"""Every refusal of the web door in the one error shape: DRF's, Django's own, and our services'.

Below ``/api/`` the answer is JSON; elsewhere it is a page.
"""

from http import HTTPStatus
from typing import Any, Final

import structlog
from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.core.exceptions import DisallowedHost, PermissionDenied, RequestDataTooBig
from django.db import DataError, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.template.loader import render_to_string
from django.utils.decorators import sync_and_async_middleware
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.views import set_rollback

from agenthub_site.accounts.errors import CsrfFailed
from agenthub_site.origins import WrongHost
from agenthub_site.refused import note_request
from nodes.contract.errors import (
    Forbidden,
    HubError,
    Invalid,
    InvalidToken,
    NotFound,
    TooLarge,
    Unauthenticated,
    Unavailable,
)

logger = structlog.get_logger(__name__)

API_PREFIXES: Final = ("/api/", "/healthz", "/readyz", "/metrics")


class BadRequest(HubError):
    code, http, grpc = "bad_request", 400, "INVALID_ARGUMENT"
    message = "The request cannot be read."


class MalformedBody(BadRequest):
    code = "malformed_body"
    message = "The body is not valid JSON in UTF-8."


class MethodNotAllowed(HubError):
    code, http, grpc = "method_not_allowed", 405, "UNIMPLEMENTED"
    message = "This address does not take that method."


class NotAcceptable(HubError):
    code, http, grpc = "not_acceptable", 406, "INVALID_ARGUMENT"
    message = "This is only given as application/json."


class UnsupportedMediaType(HubError):
    code, http, grpc = "unsupported_media_type", 415, "INVALID_ARGUMENT"
    message = "Send the body as application/json."


class Throttled(HubError):
    code, http, grpc = "throttled", 429, "RESOURCE_EXHAUSTED"
    message = "Too many requests; wait a while."


def answer_rest(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler. None, for what is no refusal but a fault, goes on to ``handler500``."""
    refusal = as_hub_error(error)
    if refusal is None:
        return None
    set_rollback()
    note_request(context["request"]._request, refusal)
    return Response(refusal.as_json(), status=refusal.http, headers=_headers(error, refusal))


def as_hub_error(error: Exception) -> HubError | None:
    """The refusal that an exception of ours, DRF's or Django's stands for; None if it is a fault."""
    match error:
        case HubError():
            return error
        case exceptions.ValidationError():
            return Invalid(fields=_fields(error.detail))
        case Http404() | exceptions.NotFound():
            return NotFound()
        case RequestDataTooBig():
            return too_large()
        case PermissionDenied() | exceptions.PermissionDenied():
            return Forbidden()
        case exceptions.Throttled():
            return Throttled(retry_after_seconds=getattr(error, "wait", None))
        case DataError():  # U+0000 in a text, a number that no column holds: what only the database looks at
            logger.warning("database.refused_a_value", error=str(error))
            return Invalid("A value in the request cannot be stored.")
        case OperationalError() | InterfaceError():
            logger.warning("database.unavailable", error=str(error))
            return Unavailable("The database is not available at present; try again.")
        case exceptions.APIException():
            return _SIMPLE.get(type(error), BadRequest)()
    return None


_SIMPLE: Final[dict[type[exceptions.APIException], type[HubError]]] = {
    exceptions.ParseError: MalformedBody,
    exceptions.NotAuthenticated: Unauthenticated,
    exceptions.AuthenticationFailed: InvalidToken,
    exceptions.MethodNotAllowed: MethodNotAllowed,
    exceptions.NotAcceptable: NotAcceptable,
    exceptions.UnsupportedMediaType: UnsupportedMediaType,
}


def too_large() -> TooLarge:
    limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    return TooLarge(f"A body has at most {limit // 1024} KiB.", limit_bytes=limit)


def _fields(detail: Any) -> dict[str, Any]:
    """DRF's nested details as field → messages; what concerns no field stands under ``body``."""
    if isinstance(detail, dict):
        return {
            ("body" if name == api_settings.NON_FIELD_ERRORS_KEY else str(name)): why for name, why in detail.items()
        }
    return {"body": detail}


def _headers(error: Exception, refusal: HubError) -> dict[str, str]:
    headers = {}
    if refusal.http == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if refusal.http == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = "2"
    wait = getattr(error, "wait", None)
    if wait is not None:
        headers["Retry-After"] = str(int(wait) + 1)
    return headers


def answer(request: HttpRequest, refusal: HubError) -> HttpResponse:
    """A refusal as this request's reader expects it."""
    note_request(request, refusal)
    response: HttpResponse
    if request.path.startswith(API_PREFIXES):
        response = JsonResponse(refusal.as_json(), status=refusal.http)
    else:
        response = HttpResponse(_page(refusal), status=refusal.http)
    for name, value in _headers(refusal, refusal).items():
        response[name] = value
    return response


def _page(refusal: HubError) -> str:
    """The page of this status, without request or user: it must not fail where the database does."""
    title = HTTPStatus(refusal.http).phrase
    template = "403_csrf.html" if isinstance(refusal, CsrfFailed) else f"{refusal.http}.html"
    said = {"message": refusal.text, "title": title, "status": int(refusal.http)}
    return render_to_string([template, "errors/other.html"], said)


@sync_and_async_middleware
def hub_errors(get_response: Any) -> Any:
    """Middleware: what a plain view's service refuses becomes an answer, and never a 500."""

    def process_exception(request: HttpRequest, error: Exception) -> HttpResponse | None:
        refusal = as_hub_error(error) if isinstance(error, (HubError, OperationalError, InterfaceError)) else None
        return answer(request, refusal) if refusal else None

    middleware: Any
    if iscoroutinefunction(get_response):

        async def middleware(request: HttpRequest) -> HttpResponseBase:
            response: HttpResponseBase = await get_response(request)
            return response
    else:

        def middleware(request: HttpRequest) -> HttpResponseBase:
            response: HttpResponseBase = get_response(request)
            return response

    middleware.process_exception = process_exception
    return middleware


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    match exception:
        case RequestDataTooBig():
            return answer(request, too_large())
        case DisallowedHost():
            return answer(request, WrongHost(host=request.headers.get("Host", "")[:200]))
    return answer(request, BadRequest())


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    return answer(request, Forbidden(str(exception) or None))


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return answer(request, NotFound())


def server_error(request: HttpRequest) -> HttpResponse:
    return answer(request, HubError())


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    return answer(request, CsrfFailed(reason=str(reason)))
