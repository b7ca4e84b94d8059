"""One POST to the outside: to a judged address, without redirects, within seconds, reading the answer's head only."""

import http.client
import socket
import ssl
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlunsplit

from .lookups import Lookups
from .places import LOOKUPS, check_url, find_addresses

CONNECT_SECONDS: Final = 5.0
"""For all addresses of the host together."""
SECONDS: Final = 10.0
"""For everything after the connection: handshake, request, the head of the answer."""
RETRIED: Final = frozenset({0, 408, 425, 429})
"""And all of 5xx: answers after which the same is posted again."""


@dataclass(frozen=True, slots=True)
class Answer:
    """``status`` is 0 where there was none, and ``error`` says why."""

    status: int = 0
    retry_after: float | None = None
    """Seconds for which the other end asks to be left alone."""
    error: str = ""

    def __str__(self) -> str:
        return self.error or str(self.status)

    @property
    def may_pass(self) -> bool:
        """Whether another answer may come later."""
        return self.status in RETRIED or self.status >= 500


def post(
    url: str, headers: Mapping[str, str], body: bytes, allowed: Sequence[str], lookups: Lookups = LOOKUPS
) -> Answer:
    """Raises ``PlaceRefused`` and ``Invalid`` for an address that is not posted to; what else fails is the answer."""
    parts = check_url(url, allowed)
    host, is_secret = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if is_secret else 80)
    try:
        addresses = find_addresses(host, allowed, lookups)
        connection = _Connection(host, port, addresses, ssl.create_default_context() if is_secret else None)
        try:
            target = urlunsplit(("", "", parts.path or "/", parts.query, ""))
            connection.request("POST", target, body, dict(headers))
            answer = connection.getresponse()
            given = Answer(answer.status)
            pause = _retry_after(answer.getheader("Retry-After")) if given.may_pass else None
            return Answer(answer.status, pause)
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Answer(error=_words_for(error, host)[:200])


class _Connection(http.client.HTTPConnection):
    """To one of the addresses that were judged, under the host's name."""

    def __init__(self, host: str, port: int, addresses: Sequence[str], context: ssl.SSLContext | None) -> None:
        super().__init__(host, port, timeout=CONNECT_SECONDS)
        self.default_port = 443 if context else 80
        self._addresses = addresses
        self._context = context
        self._end = threading.Timer(SECONDS, self._cut_off)
        self._end.daemon = True

    def connect(self) -> None:
        self.sock = self._reach()
        self.sock.settimeout(SECONDS)
        if self._context:
            self.sock = self._context.wrap_socket(self.sock, server_hostname=self.host, do_handshake_on_connect=False)
        self._end.start()  # a word every nine seconds must not keep a worker for ever
        if isinstance(self.sock, ssl.SSLSocket):
            self.sock.do_handshake()

    def _reach(self) -> socket.socket:
        failed: OSError = OSError("the name has no address")
        addresses = self._addresses[:3]
        for address in addresses:
            try:
                return socket.create_connection((address, self.port), CONNECT_SECONDS / len(addresses))
            except OSError as error:
                failed = error
        raise failed

    def close(self) -> None:
        self._end.cancel()
        super().close()

    def _cut_off(self) -> None:
        with suppress(OSError, AttributeError):  # it ended by itself just now
            self.sock.shutdown(socket.SHUT_RDWR)


def _words_for(error: Exception, host: str) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return f"The certificate of {host} is not accepted: {error.verify_message}"
        case socket.gaierror():
            return f"The name {host} leads nowhere: {error.strerror}"
        case TimeoutError() if not error.errno:
            return f"There was no answer in time: {error}"
    return f"{type(error).__name__}: {error}"


def _retry_after(text: str | None) -> float | None:
    """Seconds; None for what is neither seconds nor a date."""
    if not text:
        return None
    if text.strip().isascii() and text.strip().isdecimal():
        return float(text.strip()[:9])
    try:
        at = parsedate_to_datetime(text)
        return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
    except (LookupError, OverflowError, TypeError, ValueError):  # a zone of a billion hours does not fit
        return None
