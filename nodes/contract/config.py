"""Settings: ``config.toml`` and the environment, typed, with defaults that work on a laptop.

Every key ``section.key`` can be set by ``AGENTHUB_<SECTION>__<KEY>``, which wins over the
file. A bad value raises ``ConfigError``, which names the key and what is allowed.
"""

import base64
import binascii
import difflib
import json
import os
import re
import socket
import tomllib
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from .errors import ConfigError
from .hosts import bracketed, is_everywhere, is_loopback, own_hosts
from .isolation import Isolation, Network

ENV_PREFIX = "AGENTHUB_"
DEFAULT_HOME = "~/.agenthub"
SECRETS_KEY_BYTES = 32
SYSTEM_CONFIG = Path("/etc/agenthub/config.toml")


def _check_address(value: object) -> object:
    host, colon, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if not (colon and host and port.isdecimal() and int(port) <= 65535):
        raise ValueError("must be host:port in quotes, such as 127.0.0.1:8080 (port 0 picks a free one)")
    return value


def _check_public_url(value: str) -> str:
    parts = urlsplit(value)
    if value and (parts.scheme not in ("http", "https") or not _has_host(parts) or parts.path.strip("/")):
        raise ValueError("must be what people open, scheme and host, such as https://hub.example.com")
    return value


def _check_database_url(value: str) -> str:
    if value and (urlsplit(value).scheme not in ("postgresql", "postgres") or not _has_port(urlsplit(value))):
        raise ValueError("must be postgresql://user:password@host:port/name; left empty, it is SQLite in the home")
    return value


def _check_redis_url(value: str) -> str:
    parts = urlsplit(value)
    is_socket = parts.scheme == "unix" and parts.path
    if value and not is_socket and not (parts.scheme in ("redis", "rediss") and _has_host(parts)):
        raise ValueError("must be redis://host:port/0 (or rediss://, for TLS); left empty, one machine needs none")
    return value


def _check_issuer(value: str) -> str:
    parts = urlsplit(value)
    is_near = parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1")
    if value and (not (parts.scheme == "https" or is_near) or not _has_host(parts) or parts.query or parts.fragment):
        raise ValueError("must be the provider's https:// address, exactly as its discovery document calls itself")
    return value


def _has_port(parts: SplitResult) -> bool:
    """Whether the port, if one is given, is a port."""
    try:
        return parts.port is None or parts.port > 0
    except ValueError:
        return False


def _has_host(parts: SplitResult) -> bool:
    return bool(parts.hostname) and _has_port(parts)


def _check_directory(value: str) -> str:
    if value and not value.startswith(("/", "~")):
        raise ValueError("must be an absolute path, or begin with ~/")
    return value


def _check_network(value: str) -> str:
    try:
        ip_network(value, strict=False)
    except ValueError:
        raise ValueError("must be an address or a network, such as 10.0.0.5 or 10.0.0.0/8") from None
    return value


def _check_place(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.:\[\]-]{1,255}(/\d{1,3})?", value):
        raise ValueError("must be a host, an address or a network, such as hooks.internal, 10.0.0.5 or 10.0.0.0/8")
    return _check_network(value) if "/" in value else value


def _check_key(value: SecretStr) -> SecretStr:
    """Either spelling of base64, with or without its padding."""
    text = value.get_secret_value().strip().rstrip("=").translate(str.maketrans("-_", "+/"))
    try:
        length = len(base64.b64decode(text + "=" * (-len(text) % 4), validate=True))
    except (binascii.Error, ValueError):
        length = -1
    if length not in (0, SECRETS_KEY_BYTES):
        raise ValueError(
            f"must be {SECRETS_KEY_BYTES} random bytes in base64, as `openssl rand -base64 32` prints them"
        )
    return SecretStr(text)


def _split(separator: str) -> Callable[[object], object]:
    """A list in a variable: JSON, or its parts between separators."""

    def split(value: object) -> object:
        if not isinstance(value, str):
            return value
        if value.lstrip().startswith("["):
            try:
                return json.loads(value)
            except ValueError:
                raise ValueError(f"must be a list in JSON, or its parts with {separator!r} between them") from None
        return [part.strip() for part in value.split(separator) if part.strip()]

    return split


Address = Annotated[str, BeforeValidator(_check_address)]
Directory = Annotated[str, AfterValidator(_check_directory)]
PublicUrl = Annotated[str, AfterValidator(_check_public_url)]
DatabaseUrl = Annotated[str, AfterValidator(_check_database_url)]
RedisUrl = Annotated[str, AfterValidator(_check_redis_url)]
IssuerUrl = Annotated[str, AfterValidator(_check_issuer)]
Directories = Annotated[list[Directory], NoDecode, BeforeValidator(_split(":"))]
Addresses = Annotated[list[Address], NoDecode, BeforeValidator(_split(","))]
Places = Annotated[list[Annotated[str, AfterValidator(_check_place)]], NoDecode, BeforeValidator(_split(","))]
Networks = Annotated[list[Annotated[str, AfterValidator(_check_network)]], NoDecode, BeforeValidator(_split(","))]

Words = Annotated[list[Annotated[str, Field(pattern=r"^[!#-\[\]-~]{1,255}$")]], NoDecode, BeforeValidator(_split(" "))]
Secrets = Annotated[list[SecretStr], NoDecode, BeforeValidator(_split(","))]
OsUser = Annotated[str, Field(pattern=r"^([A-Za-z_][A-Za-z0-9_.-]{0,31}\$?)?$")]
SecretsKey = Annotated[SecretStr, AfterValidator(_check_key)]
SecretsKeys = Annotated[list[SecretsKey], NoDecode, BeforeValidator(_split(","))]

SECRET_KEYS = (
    "database.url", "redis.url", "secret_key", "internal_grpc.auth.shared_secret",
    "internal_grpc.auth.previous_secrets", "internal_grpc.bootstrap.token", "oidc.client_secret",
    "secrets.key", "secrets.previous_keys",
)  # fmt: skip
"""Values that are never repeated: they hold passwords."""


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ServerConfig(Section):
    listen: Address = "127.0.0.1:8080"
    role: Literal["main", "node"] = "main"
    node_id: str = ""
    public_url: PublicUrl = ""
    trusted_proxies: Networks = []
    tls_cert: str = ""
    tls_key: str = ""
    engine: Literal["daphne", "uvicorn"] = "daphne"


class LoginConfig(Section):
    """How people sign in."""

    require_mfa: Literal["none", "root", "all"] = "none"
    """Of whom a second factor is demanded."""


class OidcConfig(Section):
    """The identity provider by which people sign in beside, or in place of, passwords here."""

    issuer: IssuerUrl = ""
    client_id: Annotated[str, Field(max_length=255)] = ""
    client_secret: SecretStr = SecretStr("")
    """Better kept encrypted: ``agenthub secret set oidc.client_secret``, which wins over this."""
    name: Annotated[str, Field(min_length=1, max_length=40)] = "single sign-on"
    scopes: Words = ["openid", "profile", "email"]
    create_users: bool = True
    mfa_amr: Words = ["mfa"]
    """Values of ``amr`` by which the provider says that it saw a second factor."""

    @model_validator(mode="after")
    def _is_whole(self) -> "OidcConfig":
        if self.issuer and not self.client_id:
            raise ValueError("with an issuer there must be a client_id, as the provider knows this hub")
        if "openid" not in self.scopes:
            raise ValueError("scopes must have openid among them")
        return self


class WorktreeConfig(Section):
    default_root: Directory = ""


class DatabaseConfig(Section):
    url: DatabaseUrl = ""
    """``postgresql://user:password@host:port/name``; empty is SQLite in the home."""


class RedisConfig(Section):
    url: RedisUrl = ""


class SecurityConfig(Section):
    mode: Literal["tls", "mtls", "disabled"] = "tls"
    cert_dir: Directory = ""
    allow_plaintext: bool = False
    """``disabled`` beyond loopback too."""


class AuthConfig(Section):
    """What signs the tokens by which a hub shows itself to nodes by configuration."""

    shared_secret: SecretStr = SecretStr("")
    """Empty: made, and kept in ``cert_dir/auth_secret.txt``."""
    previous_secrets: Secrets = []
    """Accepted as well, while a new one is brought to every machine."""
    issuer: Annotated[str, Field(min_length=1, max_length=255)] = "agenthub"
    audience: Annotated[str, Field(min_length=1, max_length=255)] = "agenthub-internal"


class BootstrapConfig(Section):
    token: SecretStr = SecretStr("")
    """Empty: made by the hub, and kept in ``cert_dir/bootstrap_token.txt``."""


class InternalGrpcConfig(Section):
    enabled: bool = False
    listen: Address = "127.0.0.1:50051"
    addresses: Addresses = []
    """What nodes are told to dial, the best first; empty, it is worked out from ``listen`` and ``public_url``."""
    actor_listen: Address = "127.0.0.1:0"
    """Where ``agenthub actor`` is answered from outside a run; port 0 picks a free one, told in ``actor-address``."""
    certificate_hours: Annotated[float, Field(gt=0, le=24 * 90)] = 7 * 24.0
    security: SecurityConfig = SecurityConfig()
    auth: AuthConfig = AuthConfig()
    bootstrap: BootstrapConfig = BootstrapConfig()


class NodeConfig(Section):
    """What this machine offers as a node."""

    listen: Address = "127.0.0.1:0"
    capacity: Annotated[int, Field(ge=1, le=10_000)] = 100
    labels: dict[str, str] = {}
    spool_bytes: Annotated[int, Field(ge=1024 * 1024)] = 4 * 1024 * 1024 * 1024


class IsolationConfig(Section):
    """How agents are kept from what is not their own."""

    minimum: Isolation = "none"
    """The hub's: no run of any agent has less."""
    network: Network = "shared"
    """The hub's: with ``none`` no run of any agent has the network, and each is masked at the least."""
    hidden: Directories = []
    readable: Directories = []
    writable: Directories = []
    run_as: OsUser = ""
    """The OS user of agents with the level ``user``; empty: this node does not have it."""


class SecretsConfig(Section):
    """What encrypts the secrets that the hub must be able to read again."""

    key: SecretsKey = SecretStr("")
    """Empty: made at first use, and kept in ``secrets.key`` in the home."""
    previous_keys: SecretsKeys = []
    """Still read with, until ``agenthub secret rotate-key`` has encrypted everything with ``key``."""


class WebhooksConfig(Section):
    """Where the hub posts to."""

    allow: Places = []
    """Hosts, addresses and networks that webhooks may lead to although they are not of the public web, or not https."""


class LogConfig(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "text", "auto"] = "auto"


class Config(BaseSettings):
    """The whole configuration of a process. Read with ``load_config``, never built by hand outside tests."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="forbid")

    home: Path = Path(DEFAULT_HOME)
    safe_paths: Directories = []
    debug: bool = False
    secret_key: SecretStr | None = None
    server: ServerConfig = ServerConfig()
    login: LoginConfig = LoginConfig()
    oidc: OidcConfig = OidcConfig()
    worktree: WorktreeConfig = WorktreeConfig()
    database: DatabaseConfig = DatabaseConfig()
    redis: RedisConfig = RedisConfig()
    internal_grpc: InternalGrpcConfig = InternalGrpcConfig()
    node: NodeConfig = NodeConfig()
    isolation: IsolationConfig = IsolationConfig()
    secrets: SecretsConfig = SecretsConfig()
    webhooks: WebhooksConfig = WebhooksConfig()
    log: LogConfig = LogConfig()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file, which comes in as ``init``."""
        return env_settings, init_settings

    @property
    def worktree_root(self) -> Path:
        """Under it lies a directory per project; safe by itself."""
        return expand(self.worktree.default_root) if self.worktree.default_root else self.home / "worktrees"

    @property
    def cert_dir(self) -> Path:
        configured = self.internal_grpc.security.cert_dir
        return expand(configured) if configured else self.home / "internal-grpc"

    @property
    def node_name(self) -> str:
        """What this machine is registered as, where its configuration makes it a node: ``node_id``, or the host's."""
        return self.server.node_id or socket.gethostname()

    @property
    def pki_dir(self) -> Path:
        """The hub's own CA and the certificates made at its first start (0700)."""
        return self.home / "pki"

    @property
    def node_dir(self) -> Path:
        """The local node's own directory: runs, spools, sockets."""
        return self.home / "node"

    @property
    def allowed_hosts(self) -> list[str]:
        """Host names the web door answers to: loopback, the listening host, and that of ``public_url``.

        A hub that others reach answers to this machine's names and addresses too. One that listens on loopback alone
        does not: a page elsewhere could have such a name lead there.
        """
        listen = self.server.listen.rpartition(":")[0]
        hosts = {"localhost", "127.0.0.1", "[::1]", "agenthub.local"}
        if not is_everywhere(listen):
            hosts.add(listen)
        if not is_loopback(listen):
            hosts |= own_hosts()
        if self.server.public_url:
            hosts.add(bracketed(urlsplit(self.server.public_url).hostname or ""))
        return sorted(hosts - {""})

    @property
    def operator_socket(self) -> Path:
        return self.home / "hub.sock"


def expand(path: str | Path) -> Path:
    """``~`` and relative parts made absolute; links are resolved where a path is used, not here."""
    return Path(os.path.abspath(os.path.expanduser(path)))


def find_config(explicit: str | None, home: Path, environ: Mapping[str, str] = os.environ) -> Path | None:
    """``-c``, then ``AGENTHUB_CONFIG``, then the home, then ``/etc/agenthub/``. A named file must exist."""
    named = explicit or environ.get("AGENTHUB_CONFIG")
    if named:
        path = expand(named)
        try:
            is_there = path.is_file()
        except OSError as error:  # in a directory that is closed to this account
            raise ConfigError(f"{path} cannot be read: {error.strerror}", path=str(path)) from error
        if not is_there:
            raise ConfigError(f"There is no configuration file at {path}.", path=str(path))
        return path
    return next((p for p in (home / "config.toml", SYSTEM_CONFIG) if _is_file(p)), None)


def _is_file(path: Path) -> bool:
    """False too for what is in a directory that is closed to this account: it is not meant for it."""
    try:
        return path.is_file()
    except PermissionError:
        return False


def load_config(explicit: str | None = None, environ: Mapping[str, str] = os.environ) -> Config:
    """The configuration, with absolute paths. Raises ``ConfigError`` that names key and remedy."""
    home = expand(environ.get("AGENTHUB_HOME") or DEFAULT_HOME)
    path = find_config(explicit, home, environ)
    values: dict[str, Any] = {}
    if path:
        try:
            values = tomllib.loads(path.read_text("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} is not valid TOML: {error}", path=str(path)) from error
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}", path=str(path)) from error
    values.setdefault("home", home)
    _check_variables(environ)
    try:
        config = Config(**values)
    except ValidationError as error:
        raise ConfigError(_explain(error, path), keys=[_key(e["loc"]) for e in error.errors()]) from error
    except ValueError as error:  # pydantic-settings: a variable for a list or table that is not JSON
        raise ConfigError(
            f"A variable in the environment cannot be read: {error}. A table is JSON, such as "
            """AGENTHUB_NODE__LABELS='{"gpu": "yes"}'."""
        ) from error
    config.home = expand(config.home)
    return config


def _check_variables(environ: Mapping[str, str]) -> None:
    """Refuse a variable of ours that sets nothing: a slip of the pen would pass unnoticed otherwise."""
    known = {variable_of(key) for key in keys_of(Config)}
    for name in sorted(environ):
        if not name.upper().startswith(ENV_PREFIX) or "__" not in name or name.upper() in known:
            continue
        if any(name.upper().startswith(f"{variable}__") for variable in known):
            continue  # a part of a table
        close = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.7)
        hint = f" Did you mean {close[0]}?" if close else " docs/configuration.md lists them all."
        raise ConfigError(f"{name} in the environment: there is no such setting.{hint}", variable=name)


def keys_of(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every key, such as ``server.listen``."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from keys_of(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name


def variable_of(key: str) -> str:
    return ENV_PREFIX + key.replace(".", "__").upper()


def _key(loc: tuple[str | int, ...]) -> str:
    return ".".join(str(part) for part in loc if isinstance(part, str))


def _explain(error: ValidationError, path: Path | None) -> str:
    lines = []
    for item in error.errors():
        key = _key(item["loc"])
        if item["type"] == "extra_forbidden":
            close = difflib.get_close_matches(key, keys_of(Config), n=1, cutoff=0.7)
            lines.append(f"{key}: there is no such setting" + (f"; did you mean {close[0]}?" if close else ""))
        else:
            holds_secret = any(f"{secret}.".startswith(f"{key}.") for secret in SECRET_KEYS)
            is_told = not isinstance(item["input"], dict) and not holds_secret
            got = f", got {item['input']!r}" if is_told else ""
            lines.append(f"{key} (or {variable_of(key)}): {item['msg'].removeprefix('Value error, ')}{got}")
    where = f" in {path}" if path else ""
    return f"Bad configuration{where}: " + "; ".join(lines)
