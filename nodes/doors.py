"""Where nodes reach this hub: its gRPC door for links, and its web door for joining and renewing."""

from pathlib import Path
from urllib.parse import urlsplit

from nodes.contract.config import Config
from nodes.contract.hosts import bracketed, is_everywhere, is_loopback, own_name


def tunnel_address_file(home: Path) -> Path:
    """Written by the control plane that listens for nodes: host:port, as bound."""
    return home / "grpc-address"


def hub_addresses(config: Config) -> tuple[str, ...]:
    """host:port of the gRPC doors, the best first: as set; else under the host that people use, then as it is bound."""
    if config.internal_grpc.addresses:
        return tuple(config.internal_grpc.addresses)
    bound = _read(tunnel_address_file(config.home)) or config.internal_grpc.listen
    host, _, port = bound.rpartition(":")
    public = urlsplit(config.server.public_url).hostname or ""
    # A hub whose web door is public but whose gRPC door is bound to loopback is reached by loopback alone.
    hosts = [host] if is_loopback(host) else [public, own_name() if is_everywhere(host) else host]
    return tuple(dict.fromkeys(f"{bracketed(name)}:{port}" for name in hosts if name))


def hub_url(config: Config) -> str:
    """The web door, as ``agenthub node join`` is to be given it."""
    if config.server.public_url:
        return config.server.public_url.rstrip("/")
    host, _, port = (_read(config.home / "address") or config.server.listen).rpartition(":")
    name = own_name() if is_everywhere(host) else host
    return f"{'https' if config.server.tls_cert else 'http'}://{bracketed(name)}:{port}"


def join_command(url: str, token: str) -> str:
    """What is to be typed on the machine."""
    return f"agenthub node join {url} --token {token}"


def reach_warning(config: Config) -> str:
    """What keeps other machines from joining; empty if nothing does."""
    setting = config.internal_grpc
    if not setting.addresses and "enabled" in setting.model_fields_set and not setting.enabled:
        return (
            "Nodes cannot dial this hub: internal_grpc.enabled is false. Set it to true and restart the hub; or have "
            "the hub dial the machine: add --listen HOST:PORT to the command."
        )
    if not setting.addresses and not tunnel_address_file(config.home).exists():
        return "This hub does not listen for nodes at present: see internal_grpc.listen and its log."
    doors, web = hub_addresses(config), hub_url(config)
    if all(_is_here(address.rpartition(":")[0]) for address in doors):
        bound = _read(tunnel_address_file(config.home)) or config.internal_grpc.listen
        if not setting.addresses and not is_loopback(bound.rpartition(":")[0]):
            return (
                f"{doors[0]} and {web} work on this machine only: it knows no other name of its own. For others, set "
                "server.public_url to what they reach it by (https://hub.example.com, say), and restart it."
            )
        return (
            "This hub listens for nodes on this machine only. For others, set internal_grpc.listen (0.0.0.0:50051, "
            "say) and server.public_url, and restart it."
        )
    if _is_here(urlsplit(web).hostname or ""):
        return (
            f"{web}, where machines join and renew, works on this machine only. For others, set server.listen "
            "(0.0.0.0:8080, say) or put a proxy before it, set server.public_url to what they open, and restart it."
        )
    return ""


def _is_here(host: str) -> bool:
    """Whether a name leads every machine to itself."""
    return is_loopback(host) or host.rstrip(".").lower() in ("localhost", "localhost.localdomain")


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii").strip()
    except (OSError, ValueError):
        return ""
