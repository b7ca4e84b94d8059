"""Where a request came from, when proxies stand between."""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network


def client_address(peer: str, forwarded_for: str, trusted_proxies: Sequence[str]) -> str:
    """The peer, or, if it is a trusted proxy, the last address in ``X-Forwarded-For`` that is not one.

    ``trusted_proxies`` holds addresses and networks. An empty peer is a Unix socket's.
    """
    if not trusted_proxies or not forwarded_for or not _is_in(peer, tuple(trusted_proxies)):
        return peer
    address = peer
    for hop in reversed(forwarded_for.split(",")):
        address = hop.strip()
        if not _is_in(address, tuple(trusted_proxies)):
            break
    return address if _is_address(address) else peer


def _is_in(address: str, networks: tuple[str, ...]) -> bool:
    return _is_address(address) and any(ip_address(address) in network for network in _networks(networks))


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=4)
def _networks(networks: tuple[str, ...]) -> list[IPv4Network | IPv6Network]:
    return [ip_network(network, strict=False) for network in networks]
