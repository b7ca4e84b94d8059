"""Requests to a hub: over the home's Unix socket, or over HTTP(S) with a token. Standard library only."""

import http.client
import json
import os
import socket
import ssl
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from .where import Where, short, web_door

CONNECT_SECONDS: Final = 10.0
TIMEOUT_SECONDS: Final = 30.0
REPEAT_SECONDS: Final = 10.0
"""A request whose answer was cut off is sent again for so long; its ``Idempotency-Key`` makes that harmless."""
BODY_BYTES: Final = 1024 * 1024
"""What a hub takes at most."""
ANSWER_BYTES: Final = 64 * 1024 * 1024
SOCKET_PATH_BYTES: Final = 107
HOST: Final = "agenthub.local"

Json = dict[str, Any]


class HubUnreachable(Exception):
    """No hub answers; the message says where and what to do."""


class TooLong(Exception):
    """More than any hub takes, so it was not sent: a hub closes the door in the middle of such a body."""


class BadUrl(HubUnreachable):
    """``AGENTHUB_URL`` is no address, or ``AGENTHUB_TOKEN`` no token."""


class HubRefused(Exception):
    """The hub answered no. ``code`` is stable, ``str()`` is for people."""

    def __init__(self, status: int, body: Any) -> None:
        self.status = status
        self.body: Json = body if isinstance(body, dict) else {}
        error = self.body.get("error")
        error = error if isinstance(error, dict) else {}
        self.code = str(error.get("code") or f"http_{status}")
        super().__init__(str(error.get("message") or f"The hub answered {status}."))


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__(HOST, timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        if len(os.fsencode(self._path)) <= SOCKET_PATH_BYTES:
            self.sock.connect(str(self._path))
            return
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self.sock.connect(f"/proc/self/fd/{directory}/{self._path.name}")
        finally:
            os.close(directory)


class Client:
    """A hub. Every request has its own connection: commands are short, and a hub may restart between two."""

    def __init__(
        self,
        url: str,
        token: str = "",
        path: Path | None = None,
        timeout: float = TIMEOUT_SECONDS,
        web: Callable[[], str] = str,
    ) -> None:
        self._url = urlsplit(url)
        self._web = web
        self._token = token
        self._path = path
        self._timeout = timeout

    @classmethod
    def over_socket(cls, path: Path, timeout: float = TIMEOUT_SECONDS, web: Callable[[], str] = str) -> "Client":
        return cls(f"http://{HOST}", path=path, timeout=timeout, web=web)

    @classmethod
    def of(cls, where: Where) -> "Client":
        """The hub that the environment names, else that of the home."""
        if not where.url:
            return cls.over_socket(where.socket, web=partial(web_door, where))
        if not _is_address(where.url):
            raise BadUrl(f"AGENTHUB_URL must be an address such as https://hub.example.com, got {where.url!r}.")
        if not (where.token.isascii() and where.token.isprintable()) or " " in where.token:
            raise BadUrl("AGENTHUB_TOKEN is not a token: one is a single word that begins with aht_.")
        return cls(where.url, where.token)

    def __str__(self) -> str:
        return short(self._path) if self._path else self._url.geturl()

    @property
    def address(self) -> str:
        """Its web door's, without a slash at its end; empty if the home's hub did not write down where it is."""
        return self._web() if self._path else self._url.geturl().rstrip("/")

    def get(self, path: str, **query: object) -> Any:
        return self._ask("GET", _with_query(path, query), None)

    def post(self, path: str, body: Json | None = None) -> Any:
        return self._ask("POST", path, body or {})

    def put(self, path: str, body: Json) -> Any:
        return self._ask("PUT", path, body)

    def patch(self, path: str, body: Json) -> Any:
        return self._ask("PATCH", path, body)

    def delete(self, path: str) -> Any:
        return self._ask("DELETE", path, None)

    def every(self, path: str, **query: object) -> Iterator[Json]:
        """All results of a list, page by page, as they are asked for."""
        following: str | None = _with_query(path, query)
        while following:
            page = self._ask("GET", following, None)
            yield from page["results"]
            link = urlsplit(page["next"] or "")
            following = f"{link.path}?{link.query}" if page["next"] else None

    @contextmanager
    def stream(self, path: str, headers: Mapping[str, str], timeout: float) -> Iterator[http.client.HTTPResponse]:
        """An answer that is read as it arrives; a silence of ``timeout`` seconds raises ``HubUnreachable``."""
        connection = self._connect(timeout)
        try:
            with _reaching(self):
                connection.request("GET", self._full(path), headers={**self._headers(), **headers})
                answer = connection.getresponse()
            if answer.status != http.client.OK:
                raise HubRefused(answer.status, _decoded(answer.read(ANSWER_BYTES)))
            with _reaching(self, is_reading=True):
                yield answer
        finally:
            connection.close()

    def _ask(self, method: str, path: str, body: Json | None) -> Any:
        headers = self._headers()
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            if len(data) > BODY_BYTES:
                raise TooLong(
                    f"That is {len(data) / 2**20:.1f} MiB, and a hub takes {BODY_BYTES // 2**20} MiB at most."
                )
            headers |= {"Content-Type": "application/json", "Idempotency-Key": str(uuid.uuid4())}
        deadline = time.monotonic() + REPEAT_SECONDS
        while True:
            connection = self._connect(self._timeout)
            try:
                try:
                    connection.request(method, self._full(path), data, headers)
                    answer = connection.getresponse()
                    content = answer.read(ANSWER_BYTES)
                    break
                except (OSError, http.client.HTTPException):  # cut off: whether it was done is unknown, so repeat
                    if time.monotonic() > deadline:
                        raise HubUnreachable(f"The hub at {self} cuts off its answers.") from None
                    time.sleep(0.2)
            finally:
                connection.close()
        decoded = _decoded(content)
        if answer.status >= http.client.BAD_REQUEST:
            raise HubRefused(answer.status, decoded)
        return decoded

    def _connect(self, timeout: float) -> http.client.HTTPConnection:
        """A connection that is up, whose silences of ``timeout`` seconds are errors."""
        connection = self._connection(min(timeout, CONNECT_SECONDS))
        try:
            with _reaching(self):
                connection.connect()
        except HubUnreachable:
            connection.close()
            raise
        connection.sock.settimeout(timeout)
        return connection

    def _connection(self, timeout: float) -> http.client.HTTPConnection:
        if self._path:
            return _UnixConnection(self._path, timeout)
        host = self._url.hostname or ""
        if self._url.scheme == "https":
            return http.client.HTTPSConnection(
                host, self._url.port, timeout=timeout, context=ssl.create_default_context()
            )
        return http.client.HTTPConnection(host, self._url.port, timeout=timeout)

    def _full(self, path: str) -> str:
        return self._url.path.rstrip("/") + path

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": "application/json", "User-Agent": "agenthub-cli"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        return headers


def _is_address(url: str) -> bool:
    """Whether it has a scheme that we speak, a host, and a port that is one."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _with_query(path: str, query: Mapping[str, object]) -> str:
    given = {key: value for key, value in query.items() if value is not None}
    return f"{path}?{urlencode(given, doseq=True)}" if given else path


def _decoded(content: bytes) -> Any:
    try:
        return json.loads(content) if content else {}
    except ValueError:
        return {}


@contextmanager
def _reaching(client: Client, *, is_reading: bool = False) -> Iterator[None]:
    """Whatever goes wrong on the way to the hub, as ``HubUnreachable`` with a remedy."""
    try:
        yield
    except ssl.SSLError as error:
        raise HubUnreachable(f"No safe connection to {client}: {error.reason}.") from error
    except (OSError, http.client.HTTPException) as error:
        if is_reading and isinstance(error, BrokenPipeError):
            raise  # whoever read our output left, as in `… | head -1`; who only reads breaks no pipe to the hub
        if client._path and isinstance(error, PermissionError):
            raise HubUnreachable(
                f"The hub at {client} is for the account alone that started it. Work as that account, or through its "
                "web door, with AGENTHUB_URL and AGENTHUB_TOKEN."
            ) from error
        if client._path:
            if url := _joined_to(client._path.parent):
                raise HubUnreachable(
                    f"This home is a node's, and its hub is at {url}. Ask that one: AGENTHUB_URL={url}, and "
                    "AGENTHUB_TOKEN with a token of yours."
                ) from error
            raise HubUnreachable(
                f"No hub answers at {client}. Start one with `agenthub up`, or name one elsewhere with AGENTHUB_URL "
                "and AGENTHUB_TOKEN."
            ) from error
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        if isinstance(error, TimeoutError) and client._url.scheme == "https":
            reason = "not in time, or what answers there does not speak HTTPS"
        raise HubUnreachable(f"No hub answers at {client} ({reason}). Check AGENTHUB_URL.") from error


def _joined_to(home: Path) -> str:
    """The address of the hub that this home's machine joined as a node; empty if it did not."""
    try:
        return str(json.loads((home / "node/hub.json").read_bytes())["url"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
