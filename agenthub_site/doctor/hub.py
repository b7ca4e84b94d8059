"""The hub of this home, or the one that ``AGENTHUB_URL`` names."""

import asyncio
import re
from collections.abc import Iterator
from typing import Final

from agenthub_site.listening import DEFAULT_LISTEN, BadListen, choose_address
from integrations.cli.client import Client, HubRefused, HubUnreachable
from integrations.cli.where import short
from nodes.contract.hosts import is_everywhere

from .findings import Case, Finding, note, ok, problem, warning

METRICS_BYTES: Final = 16 * 1024 * 1024
QUEUE_SECONDS: Final = 30.0
"""Work that calls outside takes seconds; what waits longer has no worker, or too few."""
_QUEUE: Final = re.compile(rb"^agenthub_task_queue_seconds ([0-9.e+]+)$", re.MULTILINE)


def check_hub(case: Case) -> Iterator[Finding]:
    """Sets the case's hub if one answers."""
    try:
        client = Client.of(case.where)
        client.get("/readyz")
    except HubRefused as error:
        missing = error.body.get("not_ready") or {"hub": str(error)}
        for part, trouble in missing.items():
            yield problem(
                "hub", f"not ready: {part}: {trouble}", "The logs under the home say more (logs/).", "not_ready"
            )
        return
    except HubUnreachable as error:
        if case.where.url:
            yield problem("hub", str(error), code="hub_unreachable")
            return
        yield note("hub", "not running here.", "`agenthub up` starts it.", "hub_unreachable")
        yield from _check_port(case)
        return
    case.hub = client
    yield ok("hub", f"answers at {client}")


def check_access(case: Case) -> Iterator[Finding]:
    """Who the hub takes us for: signing in may work, and the API still be unauthorized. Unsets the hub then."""
    if case.hub is None:
        return
    try:
        me = case.hub.get("/api/v1/me/")
    except HubRefused as error:
        yield problem(
            "access", f"unauthorized: {error}",
            "The hub answers, so this is the credential, not the network: a password opens pages, the API wants a "
            "token. Make one on the hub's machine (agenthub token create NAME) and set AGENTHUB_TOKEN.",
            error.code,
        )  # fmt: skip
        case.hub = None  # whatever else is asked is refused as well
        return
    except HubUnreachable as error:
        yield problem("access", str(error), code="hub_unreachable")
        return
    if me["is_root"] or me["projects"]:
        yield ok("access", f"{me['username']}, {'root operator' if me['is_root'] else 'member'}")
    else:
        yield warning(
            "access", f"{me['username']} belongs to no project: signing in works, and every list is empty (404).",
            "An owner adds the member to a project; root sees all.", "no_membership",
        )  # fmt: skip


def check_settings(case: Case) -> Iterator[Finding]:
    """Whether what is read here is what the hub was started with: it may have been given a file by ``-c``."""
    if case.hub is None or case.config is None or case.where.url or case.is_node:
        return
    try:
        theirs = case.hub.get("/api/admin/agent-nodes/bootstrap")
    except (HubRefused, HubUnreachable):
        return  # not for this caller
    setting = case.config.internal_grpc
    ours = (
        ("enabled", "internal_grpc.enabled", setting.enabled),
        ("grpc_listen_addr", "internal_grpc.listen", setting.listen),
        ("security_mode", "internal_grpc.security.mode", setting.security.mode),
        ("cert_dir", "internal_grpc.security.cert_dir", str(case.config.cert_dir)),
        ("issuer", "internal_grpc.auth.issuer", setting.auth.issuer),
        ("audience", "internal_grpc.auth.audience", setting.auth.audience),
    )
    differing = [key for name, key, value in ours if theirs.get(name, value) != value]
    if differing:
        case.has_other_settings = True
        read = short(case.where.config) if case.where.config else "no file"
        yield warning(
            "configuration", f"the hub that runs here has other settings than this command reads ({read}): "
            f"{', '.join(differing)}.",
            "Give it the same: agenthub -c FILE doctor, AGENTHUB_CONFIG, or the variables that the hub has. "
            "If the file was changed since then, restart the hub.", "other_settings",
        )  # fmt: skip


def check_web_door(case: Case) -> Iterator[Finding]:
    """Settings with which people get in and are refused all the same."""
    if case.config is None or case.where.url or case.is_node:
        return
    server = case.config.server
    if server.public_url.startswith("https://") and not server.tls_cert and not server.trusted_proxies:
        yield warning(
            "web door", "server.public_url is https, and no proxy is trusted to say so: what comes through one counts "
            "as plain HTTP, pages redirect for ever, and the API is unauthorized.",
            "Set server.trusted_proxies to the proxy's address, or server.tls_cert and server.tls_key.",
            "proxy_not_trusted",
        )  # fmt: skip
    elif is_everywhere(server.listen.rpartition(":")[0]) and not server.public_url:
        yield note(
            "web door", "it listens on every address, but answers only to this machine's own name and addresses: other "
            "names for it are refused (wrong_host).", "Set server.public_url to what people open.", "no_public_url",
        )  # fmt: skip


def check_worker(case: Case) -> Iterator[Finding]:
    """What calls outside (webhooks, cards) waits for a worker: a card that times out begins here."""
    if case.hub is None:
        return
    try:
        with case.hub.stream("/metrics", {}, 10.0) as answer:
            found = _QUEUE.search(answer.read(METRICS_BYTES))
    except (HubRefused, HubUnreachable):
        return  # not for this caller
    if found and float(found[1]) > QUEUE_SECONDS:
        yield problem(
            "worker", f"the oldest task that calls outside has waited for {float(found[1]):.0f} s: cards and webhooks "
            "time out.", "Is `agenthub worker` running, and does logs/worker.log say why not?", "worker_behind",
        )  # fmt: skip
    elif found:
        yield ok("worker", "nothing waits for it")


def check_link_door(case: Case) -> Iterator[Finding]:
    """Where nodes dial this hub."""
    config = case.config
    if config is None or case.hub is None or case.where.url or case.has_other_settings:
        return
    from nodes.doors import reach_warning, tunnel_address_file
    from nodes.link.diagnose import look
    from nodes.pki import HUB_SERVER_NAME

    setting = config.internal_grpc
    if "enabled" in setting.model_fields_set and not setting.enabled:
        yield note(
            "gRPC", "off (internal_grpc.enabled = false): no node can dial this hub.",
            "Set internal_grpc.enabled = true, unless the hub dials every node.", "grpc_off",
        )  # fmt: skip
        return
    try:
        address = tunnel_address_file(config.home).read_text("ascii").strip()
        authority = (config.pki_dir / "ca.pem").read_bytes()
    except OSError:
        yield problem(
            "gRPC", f"not listening on {setting.listen}: no node can dial this hub.",
            "Another program has that port: `ss -tlnp` names it. Free it, or set internal_grpc.listen.",
            "grpc_not_listening",
        )  # fmt: skip
        return
    host, _, port = address.rpartition(":")
    here = f"127.0.0.1:{port}" if is_everywhere(host) else address
    if trouble := asyncio.run(look(here, authority, HUB_SERVER_NAME, None)):
        yield problem("gRPC", trouble.what, trouble.fix, str(trouble.data.get("cause", trouble.code)))
        return
    yield ok("gRPC", f"listens for nodes on {address}")
    if trouble_for_others := reach_warning(config):
        yield note("gRPC", trouble_for_others, code="loopback_only")


def _check_port(case: Case) -> Iterator[Finding]:
    try:
        choose_address(case.where)
    except BadListen as error:
        yield problem("port", error.text, code=error.code)
    else:
        yield ok("port", f"{case.where.server('listen', DEFAULT_LISTEN)} is free")
