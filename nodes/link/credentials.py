"""A certificate with its key and the authority to trust, as gRPC wants them."""

from dataclasses import dataclass, field
from pathlib import Path

import grpc

from nodes.pki import PkiError


@dataclass(frozen=True, slots=True)
class Credentials:
    """What one end shows, and whom it believes. All PEM."""

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
        return grpc.ssl_channel_credentials(self.authority, self.key, self.certificate)

    def for_listening(self) -> grpc.ServerCredentials:
        """A client without a certificate of the authority does not get past the handshake."""
        return grpc.ssl_server_credentials([(self.key, self.certificate)], self.authority, require_client_auth=True)
