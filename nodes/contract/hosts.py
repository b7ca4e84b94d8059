"""By which names and addresses this machine is known."""

import re
import socket
from contextlib import suppress
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Final

EVERYWHERE: Final = ("0.0.0.0", "::", "")  # noqa: S104 - compared with, not bound
_PROC: Final = Path("/proc/net")
_SOMEWHERE: Final = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
"""Addresses for examples, of which the system says by which address of ours it would go there; nothing is sent."""


def is_everywhere(host: str) -> bool:
    """Whether who listens there listens on every address of this machine."""
    return host.strip("[]") in EVERYWHERE


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def bracketed(host: str) -> str:
    """As it stands before a port, and in a ``Host`` header."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def own_name() -> str:
    """What this machine is called where it says of itself how others reach it."""
    return socket.getfqdn()


def own_hosts() -> set[str]:
    """Names and addresses of this machine, as a ``Host`` header has them: IPv6 in brackets."""
    return {own_name(), socket.gethostname(), *map(bracketed, _own_addresses())} - {""}


def _own_addresses() -> set[str]:
    """Of all interfaces where Linux tells; elsewhere those by which this machine goes to others."""
    found: set[str] = set()
    with suppress(OSError):
        found.update(re.findall(r"\|-- (\S+)\n\s+/32 host LOCAL", (_PROC / "fib_trie").read_text("ascii")))
    with suppress(OSError):
        lines = (_PROC / "if_inet6").read_text("ascii").splitlines()
        found.update(str(IPv6Address(int(line.split()[0], 16))) for line in lines)
    for family, there in _SOMEWHERE:
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((there, 9))
            found.add(str(probe.getsockname()[0]))
    return found
