"""The actor service: ``agenthub actor`` from outside a run, over gRPC on a listener of its own.

It is there with ``internal_grpc.enabled``. Who calls shows a token signed with the shared secret (in ``mtls``, a
certificate of the CA that is no node's), and may then speak for any actor: that is an operator.
"""

import json
from pathlib import Path
from typing import Any, Final, TypeAlias

import grpc
import grpc.aio
import structlog

from agenthub_site.errors import as_hub_error
from agents.mail.acting import acting_as
from agents.mail.actor_calls import CALL_BYTES, call
from agents.reading import in_thread
from nodes.certified import node_of_certificate
from nodes.contract.config import Config
from nodes.contract.errors import ConfigError, Forbidden, HubError, Unauthenticated
from nodes.link.actors import ERROR, METHODS, SERVICE, verify_actor
from nodes.link.certificates import AUTHORITY, HUB_SERVER, find_authority, find_pair, listed, stamp, stamp_of
from nodes.link.credentials import Credentials, reloading
from nodes.link.peers import TOKEN, require_loopback
from nodes.link.secrets import ensure_auth_secrets, find_auth_secrets
from nodes.link.tokens import BadToken
from nodes.pb.actor_pb2 import ActorReply, ActorRequest

logger = structlog.get_logger(__name__)

AT_ONCE: Final = 256
STOP_SECONDS: Final = 1.0
ERROR_BYTES: Final = 4096
"""Of a refusal in a call's metadata, of which gRPC takes 8 KiB."""
ERROR_CHARS: Final = 500
DETAIL_CHARS: Final = 200
"""Of a status in words, which take the same room: up to 12 bytes a character."""
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class IsNode(Forbidden):
    code = "is_a_node"
    message = (
        "This is a node's certificate, which speaks for no actor. Show a client certificate of the CA with a name that "
        "no node has."
    )


class ActorService:
    """``start`` listens, if the configuration says so; the address is in ``<home>/actor-address``."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Raises ``ConfigError`` that names the key."""
        setting, path = self._config.internal_grpc, actor_address_file(self._config.home)
        path.unlink(missing_ok=True)
        if not setting.enabled:
            return
        require_loopback(self._config, setting.actor_listen, "internal_grpc.actor_listen")
        if setting.security.mode != "mtls":
            ensure_auth_secrets(self._config)
        options = (("grpc.max_receive_message_length", CALL_BYTES + 4096),)
        server = grpc.aio.server(options=options, maximum_concurrent_rpcs=AT_ONCE)
        handlers = {name: self._handler(verb) for name, verb in METHODS.items()}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        credentials = self._credentials()
        try:
            port = (
                server.add_insecure_port(setting.actor_listen)
                if credentials is None
                else server.add_secure_port(setting.actor_listen, credentials)
            )
        except RuntimeError as error:
            raise ConfigError(
                f"internal_grpc.actor_listen: cannot listen on {setting.actor_listen}: the port is taken or the "
                "address is not one of this machine's. Name another; port 0 picks a free one."
            ) from error
        await server.start()
        self._server = server
        address = f"{setting.actor_listen.rpartition(':')[0]}:{port}"
        path.write_text(address, "ascii")
        logger.info("actors.listening", address=address)

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(STOP_SECONDS)
            actor_address_file(self._config.home).unlink(missing_ok=True)

    def _handler(self, verb: str) -> "grpc.RpcMethodHandler[Any, Any]":
        async def answer(request: ActorRequest, context: Context) -> ActorReply:
            try:
                shown = dict(context.auth_context() or {}).get("x509_pem_cert", ())
                await in_thread(self._admit, dict(context.invocation_metadata() or ()), next(iter(shown), b""))
                acting = await in_thread(acting_as, request.actor_id)
                result = await call(acting, verb, request.body)
                return ActorReply(result=json.dumps(result, ensure_ascii=False).encode())
            except Exception as error:  # top of a call: every refusal becomes a status
                refusal = as_hub_error(error)
                if refusal is None:
                    logger.exception("actor.failed", verb=verb)
                refusal = refusal or HubError()
                said = _as_metadata(refusal)
                await context.abort(grpc.StatusCode[refusal.grpc], refusal.text[:DETAIL_CHARS], ((ERROR, said),))
                raise AssertionError from error

        return grpc.unary_unary_rpc_method_handler(answer, ActorRequest.FromString, ActorReply.SerializeToString)

    def _admit(self, headers: dict[str, str | bytes], certificate: bytes) -> None:
        """Raises ``Unauthenticated``; in ``mtls``, where the handshake has verified the certificate, ``IsNode``."""
        if self._config.internal_grpc.security.mode == "mtls":
            if node := node_of_certificate(certificate):
                logger.warning("actor.refused", reason="a node's certificate", node=node)
                raise IsNode(node=node)
            return
        scheme, _, token = str(headers.get(TOKEN, "")).partition(" ")
        secrets = find_auth_secrets(self._config)
        if secrets is None or scheme.lower() != "bearer":
            raise Unauthenticated("Show a token: 'authorization: Bearer …', signed with internal_grpc's shared secret.")
        try:
            verify_actor(token, secrets, self._config.internal_grpc.auth)
        except BadToken as error:
            logger.warning("actor.refused", reason=str(error))
            hint = f": {error}" if error.is_genuine else ""
            raise Unauthenticated(
                f"The hub does not accept this token{hint}. Are internal_grpc.auth.shared_secret, issuer and audience "
                "the same here and on the hub?"
            ) from error

    def _credentials(self) -> grpc.ServerCredentials | None:
        mode, cert_dir, pki_dir = self._config.internal_grpc.security.mode, self._config.cert_dir, self._config.pki_dir
        if mode == "disabled":
            return None

        def load() -> Credentials:
            pair = find_pair(cert_dir, HUB_SERVER) or Credentials.load(pki_dir, "hub-server")
            authority = find_authority(cert_dir) if mode == "mtls" else b""
            if authority is None:
                raise ConfigError(
                    f"internal_grpc.security.mode is mtls, but {cert_dir} has no CA certificate: looked for "
                    f"{', '.join(AUTHORITY)} (and the actors' own, {listed(HUB_SERVER)})."
                )
            return Credentials(authority, pair.certificate, pair.key)

        own = [pki_dir / name for name in ("hub-server.pem", "hub-server.key")]
        return reloading(load, lambda: [stamp_of(cert_dir), *map(stamp, own)], is_mutual=mode == "mtls")


def _as_metadata(refusal: HubError) -> bytes:
    """The whole refusal; or, where a call's metadata has no room for it, its code and the beginning of its message."""
    said = json.dumps(refusal.as_json()).encode()
    if len(said) <= ERROR_BYTES:
        return said
    short = {"code": refusal.code, "message": f"{refusal.text[:ERROR_CHARS]} …", "data": {}}
    return json.dumps({"error": short}).encode()


def actor_address_file(home: Path) -> Path:
    """Where the actor service of this home listens, while it does."""
    return home / "actor-address"
