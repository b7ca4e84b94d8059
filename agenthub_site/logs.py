"""The web's part of logging: request ids, one line and one measurement per request."""

import re
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import structlog
from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

from agenthub_site.metrics import REQUEST_SECONDS
from nodes.contract.ids import new_id

logger = structlog.get_logger(__name__)

HEADER: Final = "X-Request-ID"
_GIVEN_ID: Final = re.compile(r"[\w.\-]{8,64}", re.ASCII)


@sync_and_async_middleware
def request_log(
    get_response: Callable[[HttpRequest], Any],
) -> Callable[[HttpRequest], HttpResponseBase] | Callable[[HttpRequest], Awaitable[HttpResponseBase]]:
    """Middleware: give each request an id (or keep a proxy's), bind it for all log lines, and answer with it."""
    if iscoroutinefunction(get_response):

        async def alog(request: HttpRequest) -> HttpResponseBase:
            with _logged(request) as note:
                return note(await get_response(request))

        return alog

    def log(request: HttpRequest) -> HttpResponseBase:
        with _logged(request) as note:
            return note(get_response(request))

    return log


@contextmanager
def _logged(request: HttpRequest) -> Iterator[Callable[[HttpResponseBase], HttpResponseBase]]:
    request_id = request_id_of(request.headers.get(HEADER, ""))
    began = time.perf_counter()

    def note(response: HttpResponseBase) -> HttpResponseBase:
        response[HEADER] = request_id
        seconds = time.perf_counter() - began
        match = request.resolver_match
        route = match.route if match else "none"
        REQUEST_SECONDS.labels(request.method or "", route, str(response.status_code)).observe(seconds)
        logger.info(
            "http.answered",
            method=request.method, path=request.path, status=response.status_code, milliseconds=round(seconds * 1e3, 1),
        )  # fmt: skip
        return response

    with structlog.contextvars.bound_contextvars(request=request_id):
        yield note


def request_id_of(given: str) -> str:
    """What a client or proxy gave, if it is a decent id; a new one otherwise."""
    return given if _GIVEN_ID.fullmatch(given) else new_id().hex
