"""Where the hub is, read from the environment and ``config.toml`` with the standard library alone.

The full configuration costs an import of pydantic, which a command that only talks to
a hub does not need. This reads the few keys that say where to talk to, by the same
precedence: the environment wins over the file.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nodes.contract.hosts import is_everywhere

DEFAULT_HOME = "~/.agenthub"
SYSTEM_CONFIG = Path("/etc/agenthub/config.toml")


class BadWhere(Exception):
    """The configuration cannot be read; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Where:
    home: Path
    config: Path | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)

    def server(self, key: str, default: str = "") -> str:
        """A text of the section ``[server]``. Raises ``BadWhere`` for what is none, such as a bare port."""
        found = self.environ.get(f"AGENTHUB_SERVER__{key.upper()}")
        if found is None:
            section = self.values.get("server")
            found = section.get(key) if isinstance(section, dict) else None
        if found is not None and not isinstance(found, str):
            raise BadWhere(f"server.{key} in {self.config} must be a text in quotes, got {found!r}.")
        return found or default

    @property
    def url(self) -> str:
        """Another machine's hub, by ``AGENTHUB_URL``; empty means the home's own socket."""
        return self.environ.get("AGENTHUB_URL", "").rstrip("/")

    @property
    def token(self) -> str:
        return self.environ.get("AGENTHUB_TOKEN", "")

    @property
    def socket(self) -> Path:
        return self.home / "hub.sock"


def _absolute(path: str) -> Path:
    return Path(os.path.abspath(os.path.expanduser(path)))


def find_where(explicit: str | None = None, environ: Mapping[str, str] = os.environ) -> Where:
    """Home, file and raw values. Raises ``BadWhere`` if a named file is missing or unreadable."""
    home = _absolute(environ.get("AGENTHUB_HOME") or DEFAULT_HOME)
    named = explicit or environ.get("AGENTHUB_CONFIG")
    config: Path | None
    if named:
        config = _absolute(named)
        try:
            is_there = config.is_file()
        except OSError as error:  # in a directory that is closed to this account
            raise BadWhere(f"{config} cannot be read: {error.strerror}.") from error
        if not is_there:
            raise BadWhere(f"There is no configuration file at {config}.")
    else:
        candidates = (home / "config.toml", SYSTEM_CONFIG)
        config = next((path for path in candidates if os.access(path, os.R_OK)), None)
    values: dict[str, Any] = {}
    if config:
        try:
            values = tomllib.loads(config.read_text("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise BadWhere(f"{config} is not valid TOML: {error}") from error
        except OSError as error:
            raise BadWhere(f"{config} cannot be read: {error.strerror}.") from error
    if "AGENTHUB_HOME" not in environ and isinstance(values.get("home"), str):
        home = _absolute(values["home"])
    return Where(home, config, values, dict(environ))


def url_of(where: Where, address: str) -> str:
    """What to open in a browser, where the web door is bound to ``address``."""
    if public := where.server("public_url"):
        return public.rstrip("/")
    host, _, port = address.rpartition(":")
    scheme = "https" if where.server("tls_cert") else "http"
    return f"{scheme}://{'127.0.0.1' if is_everywhere(host) else host}:{port}"


def web_door(where: Where) -> str:
    """What to open in a browser for the home's hub, which writes down where it listens; empty if it did not."""
    try:
        return url_of(where, (where.home / "address").read_text("ascii").strip())
    except (OSError, ValueError):
        return ""


def short(path: Path) -> str:
    """A path for people: under their home directory with ``~``."""
    home = os.path.expanduser("~")
    text = str(path)
    return f"~{text.removeprefix(home)}" if text == home or text.startswith(home + os.sep) else text
