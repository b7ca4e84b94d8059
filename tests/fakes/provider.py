"""A tiny OpenID provider that signs whatever it is told to: for what a real one would never say."""

import base64
import hashlib
import hmac
import json
import threading
import time
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote_plus, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

CLIENT, SECRET = "agenthub", "provider's secret: 100% &more"


@cache
def key(name: str) -> Any:
    return ec.generate_private_key(ec.SECP256R1()) if name.startswith("ec") else rsa.generate_private_key(65537, 2048)


@dataclass
class Grant:
    """What one code stands for, and how the token of it is spoilt."""

    asked: dict[str, str]
    claims: dict[str, Any]
    signing: dict[str, Any]


@dataclass
class FakeProvider:
    """Serves on loopback while it is open. ``keys`` are those it publishes."""

    keys: list[str] = field(default_factory=lambda: ["rsa-1"])
    userinfo: dict[str, Any] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)
    """Of the discovery document; None takes a key out."""
    asked: list[str] = field(default_factory=list)
    grants: dict[str, Grant] = field(default_factory=dict)
    is_away: bool = False

    def __post_init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.issuer = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def grant(self, authorize: str, *, signing: dict[str, Any] | None = None, **claims: Any) -> str:
        """Where the provider sends the browser back that came with the address ``authorize``."""
        asked = dict(parse_qsl(urlsplit(authorize).query))
        code = f"code-{len(self.grants)}"
        now = int(time.time())
        told = {
            "iss": self.issuer, "aud": CLIENT, "sub": "anna-42", "iat": now, "exp": now + 300,
            "nonce": asked.get("nonce"), "sid": "sid-1", **claims,
        }  # fmt: skip
        self.grants[code] = Grant(
            asked, {name: value for name, value in told.items() if value is not None}, signing or {}
        )
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    def sign(self, claims: dict[str, Any], *, by: str = "rsa-1", kid: str | None = None, alg: str = "") -> str:
        """A token; ``alg`` ``none``, or ``HS256`` with the public key as its secret, are the classic forgeries."""
        header = {"kid": kid or by}
        if alg == "none":
            return jwt.encode(claims, "", algorithm="none", headers=header)
        if alg == "HS256":
            public = (
                key(by)
                .public_key()
                .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            )
            parts = [_b64(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT", **header}, claims)]
            signed = ".".join(parts)
            return f"{signed}.{_b64(hmac.digest(public, signed.encode(), 'sha256'))}"
        return jwt.encode(
            claims, key(by), algorithm=alg or ("ES256" if by.startswith("ec") else "RS256"), headers=header
        )

    def answer(self, method: str, path: str, form: dict[str, str], authorization: str) -> tuple[int, Any]:
        self.asked.append(path)
        if self.is_away:
            return 503, {}
        match path:
            case "/.well-known/openid-configuration":
                return 200, self._document()
            case "/jwks":
                return 200, {"keys": [_public(name) for name in self.keys]}
            case "/token":
                return self._token(form, authorization)
            case "/me":
                return 200, self.userinfo
        return 404, {}

    def _document(self) -> dict[str, Any]:
        told = {
            "issuer": self.issuer, "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token", "jwks_uri": f"{self.issuer}/jwks",
            "end_session_endpoint": f"{self.issuer}/end", "code_challenge_methods_supported": ["S256"], **self.changes,
        }  # fmt: skip
        if self.userinfo:
            told["userinfo_endpoint"] = f"{self.issuer}/me"
        return {name: value for name, value in told.items() if value is not None}

    def _token(self, form: dict[str, str], authorization: str) -> tuple[int, Any]:
        grant = self.grants.pop(form.get("code", ""), None)
        user, _, secret = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
        challenge = _b64(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        if (
            grant is None
            or (unquote_plus(user), unquote_plus(secret)) != (CLIENT, SECRET)
            or form.get("redirect_uri") != grant.asked["redirect_uri"]
            or challenge != grant.asked.get("code_challenge")
            or grant.asked.get("code_challenge_method") != "S256"
        ):
            return 400, {"error": "invalid_grant"}
        return 200, {
            "access_token": "opaque",
            "token_type": "Bearer",
            "id_token": self.sign(grant.claims, **grant.signing),
        }


def _public(name: str) -> dict[str, Any]:
    algorithm = jwt.algorithms.ECAlgorithm if name.startswith("ec") else jwt.algorithms.RSAAlgorithm
    told: dict[str, Any] = algorithm.to_jwk(key(name).public_key(), as_dict=True)
    return {**told, "kid": name, "use": "sig"}


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _handler(op: FakeProvider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            form = {name: values[0] for name, values in parse_qs(body).items()}
            path = urlsplit(self.path).path
            status, told = op.answer(self.command, path, form, self.headers.get("Authorization", ""))
            data = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler
