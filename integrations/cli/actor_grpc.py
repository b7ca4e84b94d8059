"""Asking the hub's actor service from outside a run, over the internal gRPC control plane."""

import json
from pathlib import Path
from typing import Any, Final

import grpc

from nodes.contract.config import Config, load_config
from nodes.contract.errors import HubError
from nodes.link.actors import ERROR, METHODS, SERVICE, sign_actor
from nodes.link.certificates import CLIENT, HUB_SERVER, find_authority, find_pair, listed
from nodes.link.secrets import AUTH_FILE, find_auth_secrets
from nodes.pb.actor_pb2 import ActorReply, ActorRequest
from nodes.pki import HUB_SERVER_NAME, is_hubs_own

from .actor_refused import Refused
from .exits import Exit
from .where import Where, short

CALL_SECONDS: Final = 60.0
ANSWER_BYTES: Final = 8 * 1024 * 1024


def ask_hub(where: Where, address: str | None, actor_id: str, verb: str, body: dict[str, Any]) -> dict[str, Any]:
    """What the hub answers. Raises ``Refused``, which says plainly what is missing."""
    try:
        config = load_config()
        with _channel(config, address or _address(config, where)) as channel:
            return _call(channel, config, actor_id, verb, body)
    except HubError as error:
        raise Refused(error.as_json()["error"], Exit.USAGE) from None


def _call(channel: grpc.Channel, config: Config, actor_id: str, verb: str, body: dict[str, Any]) -> dict[str, Any]:
    method = next(name for name, word in METHODS.items() if word == verb)
    call = channel.unary_unary(
        f"/{SERVICE}/{method}",
        request_serializer=ActorRequest.SerializeToString,
        response_deserializer=ActorReply.FromString,
    )
    request = ActorRequest(actor_id=actor_id, run_id=body.get("run_id", ""), body=json.dumps(body).encode())
    try:
        reply = call(request, timeout=CALL_SECONDS, metadata=_metadata(config))
    except grpc.RpcError as error:
        raise _refusal(error) from None
    result: dict[str, Any] = json.loads(reply.result)
    return result


def _address(config: Config, where: Where) -> str:
    """Of this home's actor service. Raises ``Refused``."""
    setting = config.internal_grpc
    file = where.config or where.home / "config.toml"
    if not setting.enabled:
        raise _missing(
            "internal_grpc_disabled",
            "agenthub actor speaks the internal gRPC control plane, which is off. Set enabled = true in "
            f"[internal_grpc] of {short(file)}, and restart the hub.",
        )
    if not setting.actor_listen.endswith(":0"):
        return setting.actor_listen
    try:
        return (config.home / "actor-address").read_text("ascii").strip()
    except OSError:
        message = (
            f"No hub of {short(config.home)} answers actors at present. Start it with `agenthub up`; for a hub "
            "elsewhere, name its actor service with --address HOST:PORT."
        )
        raise Refused({"code": "unreachable", "message": message, "data": {}}, Exit.UNREACHABLE) from None


def _metadata(config: Config) -> tuple[tuple[str, str], ...]:
    if config.internal_grpc.security.mode == "mtls":
        return ()
    secrets = find_auth_secrets(config)
    if secrets is None:
        raise _missing(
            "no_shared_secret",
            "There is no shared secret to sign with. Set internal_grpc.auth.shared_secret to the hub's, or bring its "
            f"{AUTH_FILE} to {short(config.cert_dir)}; a hub with internal_grpc.enabled makes it at its start.",
        )
    return (("authorization", f"Bearer {sign_actor(secrets.current, config.internal_grpc.auth)}"),)


def _channel(config: Config, address: str) -> grpc.Channel:
    mode, cert_dir = config.internal_grpc.security.mode, config.cert_dir
    options: list[tuple[str, Any]] = [("grpc.max_receive_message_length", ANSWER_BYTES)]
    if mode == "disabled":
        return grpc.insecure_channel(address, options=options)
    configured = find_pair(cert_dir, HUB_SERVER)
    own = _read(config.pki_dir / "ca.pem") if configured is None else None
    authority = own or find_authority(cert_dir) or (configured.certificate if configured else b"")
    if not authority:
        raise _missing(
            "no_authority",
            "Nothing here says whom to believe: bring the hub's CA certificate (pki/ca.pem in its home, if it has none "
            f"of yours) to {short(cert_dir)}/ca-cert.pem.",
        )
    if configured is None and is_hubs_own(authority):  # the hub shows the certificate that it made itself
        options.append(("grpc.ssl_target_name_override", HUB_SERVER_NAME))
    client = find_pair(cert_dir, CLIENT) if mode == "mtls" else None
    if mode == "mtls" and client is None:
        raise _missing(
            "no_client_certificate",
            "internal_grpc.security.mode is mtls, which asks for a certificate of the hub's CA. Bring one, with its "
            f"key, to {short(cert_dir)} ({listed(CLIENT)}).",
        )
    shown = (client.key, client.certificate) if client else (None, None)
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(authority, *shown), options=options)


def _refusal(error: grpc.RpcError) -> Refused:
    """What the hub said; or why nothing was heard of it."""
    trailing: Any = error.trailing_metadata() or ()
    said = next((value for key, value in trailing if key == ERROR), None)
    if said:
        return Refused(json.loads(said)["error"])
    if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
        message = f"This is longer than the hub takes: {error.details() or 'a call has 128 KiB at most'}."
        return Refused({"code": "too_large", "message": message, "data": {}})
    status, details = error.code(), error.details() or ""
    is_away = status in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
    message = f"The hub's actor service does not answer ({details}). Is the hub running?" if is_away else details
    code = "unreachable" if is_away else status.name.lower()
    return Refused({"code": code, "message": message, "data": {}}, Exit.UNREACHABLE if is_away else Exit.REFUSED)


def _missing(code: str, message: str) -> Refused:
    return Refused({"code": code, "message": message, "data": {}}, Exit.USAGE)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
