"""This machine as a node: is it served, does it reach its hub, do their clocks agree?"""

import asyncio
import fcntl
import http.client
import json
import os
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from integrations.cli.where import short
from nodes.contract.hosts import is_everywhere, is_loopback

from .findings import Case, Finding, note, ok, problem, warning
from .nodes import of_skew

if TYPE_CHECKING:
    from nodes.server.joining import HubPlace

SECONDS: Final = 5.0
_REFUSED: Final = (
    "If that was yours: the same [internal_grpc.auth], security.mode and bootstrap token on both machines, and "
    "synchronised clocks. `agenthub doctor NODE` there dials, and says what it is told."
)
ANSWER_BYTES: Final = 64 * 1024


def check_server(case: Case) -> Iterator[Finding]:
    """Whether a node server has the lock on the node's directory."""
    path = case.where.home / "node/lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        yield note("node server", f"never started here: there is no {short(path)}.", "`agenthub node run` starts it.",
                   "node_not_running")  # fmt: skip
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield ok("node server", "running")
    else:
        yield problem("node server", "not running: the hub sees this node as offline.",
                      "`agenthub node run` starts it.", "node_not_running")  # fmt: skip
    finally:
        os.close(descriptor)


def check_listener(case: Case) -> Iterator[Finding]:
    """Of a node that the hub dials: does it listen where it is to?"""
    config, place = case.config, _place(case)
    if place is not None:
        if place.listen:
            listen = _bound(case) or place.listen
            yield from _look_at_listener(listen, "mtls", "Join again with --listen 0.0.0.0 and a port.")
        return
    if config is None or config.server.role != "node":
        return
    setting = config.internal_grpc
    if not setting.enabled:
        yield problem("gRPC", "off: the hub cannot dial this node.", "Set internal_grpc.enabled = true.", "grpc_off")
        return
    opening = "Set internal_grpc.listen to 0.0.0.0 and a port."
    yield from _look_at_listener(setting.listen, setting.security.mode, opening)
    from nodes.server.home import NodeHome

    if told := NodeHome(case.where.home / "node").read_refusal():
        fix = _REFUSED if told.get("code") == "unauthorized" else ""
        yield warning(
            "link", f"a hub was refused, last at {_minute(told)}: {told.get('message', '').rstrip('.')}.", fix,
            "hub_refused",
        )  # fmt: skip


def _look_at_listener(listen: str, mode: str, opening: str) -> Iterator[Finding]:
    """``opening`` is how to have others reach it."""
    host, _, port = listen.rpartition(":")
    bare = host.strip("[]")
    try:
        socket.create_connection(("127.0.0.1" if is_everywhere(host) else bare, int(port)), SECONDS).close()
    except (OSError, ValueError) as error:
        yield problem(
            "gRPC", f"nothing listens on {listen} ({getattr(error, 'strerror', None) or error}).",
            f"Start the node (agenthub node run); `ss -tlnp | grep {port}` shows who has the port.",
            "grpc_not_listening",
        )  # fmt: skip
        return
    yield ok("gRPC", f"listens on {listen} ({mode})")
    if is_loopback(host):
        yield note("gRPC", "only this machine can reach it.", opening, "loopback_only")


def check_hub_web(case: Case) -> Iterator[Finding]:
    """The hub's web door, by which certificates are renewed; and its clock."""
    place = _place(case)
    if place is None:
        return
    failed: list[str] = []
    for url in place.urls:
        try:
            skew = clock_skew(url)
        except (OSError, http.client.HTTPException, ValueError) as error:
            failed.append(f"{url} does not answer ({getattr(error, 'strerror', None) or error})")
            continue
        yield ok("hub", f"answers at {url}")
        if failed:
            yield note("hub", f"{failed[0]}, where the hub says that it is. Renewals go to where it was.",
                       "Check server.public_url on the hub, and DNS and the firewall here.", "hub_moved")  # fmt: skip
        yield from of_skew("clock", -skew, "the hub's")
        return
    yield problem(
        "hub", f"{'; '.join(failed)}: certificates cannot be renewed.",
        "Check the address in node/hub.json, DNS and the firewall; join again if the hub has moved.", "hub_unreachable",
    )  # fmt: skip


def check_hub_link(case: Case) -> Iterator[Finding]:
    """Why the node server has no link, in its own words; and the hub's gRPC door, looked at without a link.

    One more link would take over the present one. A node that the hub dials has no business at that door.
    """
    place = _place(case)
    if place is None or place.listen:
        return
    from nodes.link.diagnose import look
    from nodes.pki import HUB_SERVER_NAME

    try:
        authority = (case.where.home / "pki/ca.pem").read_bytes()
    except OSError as error:
        yield problem("link", f"{error.filename} cannot be read ({error.strerror}).",
                      "Join again with a new token (agenthub node token).", "bad_certificates")  # fmt: skip
        return
    from nodes.server.home import NodeHome

    if told := NodeHome(case.where.home / "node").read_trouble():
        yield problem(
            "link", f"none at the last try ({_minute(told)}): {told.get('message', '')}",
            told.get("remedy", ""), told.get("code", ""),
        )  # fmt: skip
    for address in place.addresses:
        if trouble := asyncio.run(look(address, authority, HUB_SERVER_NAME, None)):
            yield problem("link", trouble.what, trouble.fix, str(trouble.data.get("cause", trouble.code)))
        else:
            yield ok("link", f"{address} is the hub's gRPC door")


def clock_skew(url: str) -> float:
    """Seconds that the hub's clock is ahead of ours, give or take half of the way there and back.

    Raises ``OSError``, ``HTTPException`` or ``ValueError``.
    """
    parts = urlsplit(url)
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        context = ssl.create_default_context()  # what is asked is no secret, and the answer decides nothing
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=SECONDS, context=context)
    else:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=SECONDS)
    before, began = time.time(), time.monotonic()
    try:
        connection.request("GET", f"{parts.path.rstrip('/')}/healthz", headers={"Accept": "application/json"})
        answer = connection.getresponse()
        content, date = answer.read(ANSWER_BYTES), answer.headers.get("Date", "")
    finally:
        connection.close()
    theirs: datetime | None = None
    with suppress(ValueError, KeyError, TypeError):
        theirs = datetime.fromisoformat(json.loads(content)["time"])
    if theirs is None:  # an older hub
        theirs = parsedate_to_datetime(date)
    return theirs.astimezone(UTC).timestamp() - (before + (time.monotonic() - began) / 2)


def _place(case: Case) -> "HubPlace | None":
    """Where the hub is, by ``node/hub.json``; None where this machine did not join one."""
    from nodes.contract.errors import ConfigError
    from nodes.server.joining import HubPlace

    with suppress(ConfigError):
        return HubPlace.load(case.where.home / "node")
    return None


def _minute(told: dict[str, str]) -> str:
    return f"{told.get('at', '')[:16].replace('T', ' ')} UTC"


def _bound(case: Case) -> str:
    """Where the node server listens, as it said last: it may have been started with another ``--listen``."""
    with suppress(OSError, ValueError):
        return (case.where.home / "node/address").read_text("ascii").strip()
    return ""
