"""A certificate with its key and the authority to trust, as gRPC wants them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import structlog

from nodes.contract.errors import HubError
from nodes.pki import PkiError

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What one end shows, and whom it believes. All PEM; an end that shows nothing has no certificate."""

    authority: bytes
    certificate: bytes
    key: bytes = field(repr=False)

    @classmethod
    def load(cls, pki_dir: Path, name: str) -> "Credentials":
        """``name`` is ``hub`` or ``local``. Raises ``PkiError`` when a file is missing."""
        try:
            authority, certificate, key = (
                (pki_dir / file).read_bytes() for file in ("ca.pem", f"{name}.pem", f"{name}.key")
            )
        except OSError as error:
            raise PkiError(
                f"{error.filename} cannot be read ({error.strerror}). The hub makes its certificates at its first "
                "start: run 'agenthub up', or 'manage.py prepare'."
            ) from error
        return cls(authority, certificate, key)

    @classmethod
    def load_joined(cls, pki_dir: Path) -> "Credentials":
        """A joined node's: certificate and key lie in one file. Raises ``PkiError``."""
        try:
            both = (pki_dir / "node.pem").read_bytes()
            return cls((pki_dir / "ca.pem").read_bytes(), both, both)
        except OSError as error:
            raise PkiError(
                f"{error.filename} cannot be read ({error.strerror}). Join again with a new token: agenthub node join."
            ) from error

    def for_dialling(self) -> grpc.ChannelCredentials:
        return grpc.ssl_channel_credentials(self.authority, self.key or None, self.certificate or None)

    def for_listening(self) -> grpc.ServerCredentials:
        """A client without a certificate of the authority does not get past the handshake."""
        return grpc.ssl_server_credentials([(self.key, self.certificate)], self.authority, require_client_auth=True)


def reloading(
    load: Callable[[], Credentials], stamp: Callable[[], object], *, is_mutual: bool
) -> grpc.ServerCredentials:
    """For listening with what ``load`` gives once ``stamp`` differs, from the next connection on.

    Raises as ``load`` does at the start; later, what cannot be loaded leaves things as they are. ``is_mutual``: whoever
    has no certificate of the authority is not let in.
    """
    seen, held = stamp(), load()

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        nonlocal seen, held
        now = stamp()
        if now == seen:
            return None
        seen = now
        try:
            held = load()
        except HubError as error:  # half of a pair is there, and the other half will be in a moment
            logger.warning("certificates.not_reloaded", message=error.text)
            return None
        logger.info("certificates.reloaded")
        return _configuration(held)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(held),
        fetch,  # type: ignore[arg-type]  # the stubs do not know that None keeps what is there
        require_client_authentication=is_mutual,
    )


def _configuration(held: Credentials) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(held.key, held.certificate)], held.authority or None)
