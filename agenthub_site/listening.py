"""Where the hub listens: chosen once by the parent, so that a hub that starts again has the same address."""

import errno
import socket

from integrations.cli.where import Where
from nodes.contract.errors import ConfigError

DEFAULT_LISTEN = "127.0.0.1:8080"
REMEDY = "Set another with [server] listen in config.toml, or AGENTHUB_SERVER__LISTEN=127.0.0.1:0 for any free one."


class BadListen(ConfigError):
    """The address cannot be listened on; the message says what to do."""

    code = "cannot_listen"


def choose_address(where: Where, remedy: str = REMEDY) -> str:
    """``host:port`` with a real port, tested to be free. Raises ``BadListen``, which ends with the ``remedy``."""
    listen = where.server("listen", DEFAULT_LISTEN)
    host, _, port = listen.rpartition(":")
    if not (host and port.isdecimal() and int(port) <= 65535):
        raise BadListen(f"server.listen must be host:port, such as {DEFAULT_LISTEN}, got {listen!r}.")
    bare = host.strip("[]")
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(bare, int(port), type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(target)
            probe.listen()  # two may bind with SO_REUSEADDR; only one may listen
            return f"{host}:{probe.getsockname()[1]}"
    except OSError as error:
        raise BadListen(f"{_explain(error, listen, port)} {remedy}") from error


def _explain(error: OSError, listen: str, port: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} is taken: another program listens on {listen}."
    if error.errno == errno.EACCES:
        return f"This account may not listen on {listen}."
    return f"Cannot listen on {listen}: {error.strerror}."
