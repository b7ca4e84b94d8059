"""Logs as events with fields, JSON or text, without secrets. For every process, so without Django.

``logger.info("run.started", run=…)``: ids that hold for a while are bound with
``structlog.contextvars.bound_contextvars(run=…)`` and appear in every line below.
"""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Final, Literal, TextIO

import structlog
from structlog.types import EventDict, Processor

MASK: Final = "[redacted]"
_SECRET_KEYS: Final = re.compile(
    r"(?:^|[_\-.])(?:authorization|cookie|credential|csrf\w*|passw(?:or)?d|private_?key|secret\w*|session_?(?:key|id)"
    r"|sessionid|(?:access_?|api_?|auth_?|bearer_?|refresh_?)?token|api_?key)s?$",
    re.IGNORECASE,
)
_SECRET_SHAPES: Final = re.compile(
    r"""
      (?P<keep>\b(?:bearer|basic)\s+) [\w.~+/=-]{8,}        # an Authorization header's value
    | (?P<url>://[^\s/:@]*:) [^\s/@]+ (?=@)                 # a password in a URL
    | \baht_[\w-]{8,}                                       # our own tokens
    | \bsk-[\w-]{16,}                                       # model providers
    | \bgh[pousr]_\w{16,} | \bgithub_pat_\w{16,} | \bglpat-[\w-]{16,}
    | \bxox[abeoprs]-[\w-]{10,}
    | \b(?:AKIA|ASIA)[A-Z0-9]{16}\b
    | \bAIza[\w-]{30,}
    | \beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}               # a JWT
    | -----BEGIN[ ][A-Z ]*PRIVATE[ ]KEY-----.*?(?:-----END[ ][A-Z ]*PRIVATE[ ]KEY-----|\Z)
    """,
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_DEPTH: Final = 6
_QUIET: Final = ("daphne", "twisted", "uvicorn.access", "httpx", "httpcore", "asyncio", "django_q")


def redact_text(text: str) -> str:
    """The text with everything that looks like a secret masked."""
    return _SECRET_SHAPES.sub(lambda found: (found["keep"] or found["url"] or "") + MASK, text)


def redact(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Processor: mask secrets by the name of their field and by their own shape, at any depth."""
    return {key: _clean(key, value, _DEPTH) for key, value in event.items()}


def _clean(key: object, value: Any, depth: int) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value  # a number of tokens is no token
    if isinstance(key, str) and _SECRET_KEYS.search(key):
        return MASK
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, bytes):
        return redact_text(value.decode("utf-8", "replace"))
    if depth and isinstance(value, Mapping):
        return {name: _clean(name, item, depth - 1) for name, item in value.items()}
    if depth and isinstance(value, (list, tuple, set, frozenset)):
        return [_clean("", item, depth - 1) for item in value]
    return redact_text(str(value))


def configure_logs(
    level: str = "info", format_: Literal["json", "text", "auto"] = "auto", stream: TextIO | None = None
) -> None:
    """Send structlog and the standard library's logging to ``stream`` (standard error), one line an event.

    ``auto`` is text on a terminal and JSON elsewhere. Calling it again replaces what was set up before.
    """
    is_terminal = (stream or sys.stderr).isatty()
    is_text = format_ == "text" or (format_ == "auto" and is_terminal)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=is_terminal, exception_formatter=structlog.dev.plain_traceback)
        if is_text
        else structlog.processors.JSONRenderer(default=str)
    )
    handler = logging.StreamHandler(stream) if stream else _StandardError()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _head_first, redact, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(True)


def configure_from(settings: Mapping[str, Any]) -> None:
    """``configure_logs`` as Django calls it, with what ``LOGGING`` holds."""
    for name in ("django", "django.server"):  # Django's own handlers are put there just before
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    # Refusals are said by the request's own line; a wrong Host header is anybody's to send, as often as they like.
    logging.getLogger("django.request").setLevel(logging.ERROR)
    logging.getLogger("django.security.DisallowedHost").setLevel(logging.CRITICAL)
    configure_logs(settings["level"], settings["format"])


class _StandardError(logging.StreamHandler[TextIO]):
    """Whatever standard error is at the time of writing: it may be replaced while the process lives."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


def _head_first(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Time, level and event first: a line is read from the left."""
    head = {key: event.pop(key) for key in ("timestamp", "level", "event") if key in event}
    return {**head, **event}
