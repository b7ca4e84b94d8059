"""Where a webhook may lead: to the public web by https, and to what the operator has named in the settings.

Whoever may set a webhook must not reach by it what only the hub's machine reaches: loopback, private networks, the
cloud's metadata. A name is looked up once for each delivery, and only an address that was judged is connected to.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import SplitResult, urlsplit

from nodes.contract.errors import HubError, Invalid

from .lookups import Lookups
from .models import URL_CHARS

LOOKUPS: Final = Lookups()
_NAT64: Final = ip_network("64:ff9b::/96")
_NEVER: Final = (
    ip_network("::/96"),  # an IPv4 address in a form that is no longer used
    ip_network("::ffff:0:0:0/96"),  # an IPv4 address for a translator of this network
    ip_network("64:ff9b:1::/48"),  # likewise
    ip_network("fec0::/10"),  # this site alone
)
"""Public by their prefix, and yet led to by nothing but the machine's own network."""


class PlaceRefused(HubError):
    """The address is one that the hub does not post to."""

    code, http, grpc = "webhook_address_refused", 400, "INVALID_ARGUMENT"
    message = "The hub does not post to this address."


def check_url(url: str, allowed: Sequence[str]) -> SplitResult:
    """Its parts. Raises ``Invalid`` for what is no address to post to, or not by https."""
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
    except ValueError:
        parts, port, host = SplitResult("", "", "", "", ""), None, None
    if (
        not host or parts.scheme not in ("http", "https") or parts.fragment or "@" in parts.netloc or port == 0
        or len(url) > URL_CHARS or not (url.isascii() and url.isprintable()) or " " in url
    ):  # fmt: skip
        raise _unfit(f"A webhook's address is https://host/path, without user, password or #, of {URL_CHARS} at most.")
    if parts.scheme == "http" and not is_named(host, allowed):
        raise _unfit("A webhook is posted to by https; by http only where webhooks.allow names its host.")
    return parts


def is_named(host: str, allowed: Sequence[str]) -> bool:
    """Whether the operator has named this host, by its name, its address, or a network that it is in."""
    if host.lower() in {each.lower() for each in allowed}:
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return any(address in network for network in map(_network, allowed) if network is not None)


def find_addresses(host: str, allowed: Sequence[str], lookups: Lookups = LOOKUPS) -> Sequence[str]:
    """Of ``host``, every one judged. Raises ``PlaceRefused``, and ``OSError`` where none is told, or not in time."""
    addresses = lookups.find(host)
    if not is_named(host, allowed):
        for address in addresses:
            if not (is_public(address) or is_named(address, allowed)):
                # Which one it is would tell whoever set the webhook what is where within.
                raise PlaceRefused(
                    f"{host} is no address of the public web. The operator can allow it: webhooks.allow in the hub's "
                    "settings.",
                    host=host,
                )
    return addresses


def is_public(address: str) -> bool:
    """Whether anybody on the internet could be there; what stands for an IPv4 address is judged as that one."""
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address):
        if any(ip in network for network in _NEVER):
            return False
        inner = ip.ipv4_mapped or ip.sixtofour or (IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else None)
        ip = inner or ip
    return ip.is_global and not ip.is_multicast


def _network(text: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def _unfit(message: str) -> Invalid:
    return Invalid(message, fields={"url": [message]})
