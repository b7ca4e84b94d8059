"""A hub, a router and a node in network namespaces of their own, the node behind the router's NAT.

    hub 10.77.0.1 ── 10.77.0.2 router 192.168.77.1 ── 192.168.77.2 node

The node reaches the hub; to the hub the node has no address. What the router does to packets, a test may change.
"""

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

HUB = "10.77.0.1"
NODE = "192.168.77.2"
SECONDS = 20.0
LOSS = ("-m", "statistic", "--mode", "random", "--probability")


class Network:
    """Names of the namespaces, and the router's hand."""

    def __init__(self) -> None:
        name = f"ah-{secrets.token_hex(3)}"
        self.hub, self.router, self.node = f"{name}-hub", f"{name}-router", f"{name}-node"

    def make(self) -> None:
        for space in (self.hub, self.router, self.node):
            run("ip", "netns", "add", space)
            run(*inside(space), "ip", "link", "set", "lo", "up")
        for space, near, far, address, gateway in (
            (self.hub, "hub0", "hub1", HUB, "10.77.0.2"),
            (self.node, "node0", "node1", NODE, "192.168.77.1"),
        ):
            pair = ("peer", "name", far, "netns", self.router)
            run("ip", "link", "add", near, "netns", space, "type", "veth", *pair)
            run(*inside(space), "ip", "address", "add", f"{address}/24", "dev", near)
            run(*inside(self.router), "ip", "address", "add", f"{gateway}/24", "dev", far)
            run(*inside(space), "ip", "link", "set", near, "up")
            run(*inside(self.router), "ip", "link", "set", far, "up")
            run(*inside(space), "ip", "route", "add", "default", "via", gateway)
        run(*inside(self.router), "sysctl", "-qw", "net.ipv4.ip_forward=1")
        self.iptables("-t", "nat", "-A", "POSTROUTING", "-o", "hub1", "-j", "MASQUERADE")
        self.iptables("-A", "FORWARD", "-i", "hub1", "-m", "conntrack", "--ctstate", "NEW", "-j", "REJECT")

    def iptables(self, *rule: str) -> None:
        run(*inside(self.router), "iptables", "-w", *rule)

    @contextmanager
    def dropping(self, share: float) -> Iterator[None]:
        """The router loses this share of all packets, in both directions; 1 is all of them, without a word."""
        match = () if share == 1 else (*LOSS, str(share))
        self.iptables("-I", "FORWARD", *match, "-j", "DROP")
        try:
            yield
        finally:
            self.iptables("-D", "FORWARD", *match, "-j", "DROP")

    def dropped(self) -> int:
        """How many packets the router has lost so far."""
        listed = subprocess.run(
            [*inside(self.router), "iptables", "-w", "-nvxL", "FORWARD"],
            capture_output=True, text=True, timeout=SECONDS, check=True,
        )  # fmt: skip
        return sum(int(line.split()[0]) for line in listed.stdout.splitlines() if " DROP " in line)

    def can_connect(self, space: str, address: str, port: int) -> bool:
        """Whether a TCP connection from a namespace comes about."""
        code = f"import socket; socket.create_connection(({address!r}, {port}), 3)"
        done = subprocess.run(
            [*inside(space), "python3", "-c", code], capture_output=True, timeout=SECONDS, check=False
        )
        return done.returncode == 0

    def close(self) -> None:
        for space in (self.hub, self.router, self.node):
            with suppress(subprocess.CalledProcessError):
                run("ip", "netns", "delete", space)


def inside(space: str) -> tuple[str, ...]:
    """What goes before a command that is to run in a namespace."""
    return ("ip", "netns", "exec", space)


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=SECONDS)


@contextmanager
def new_network() -> Iterator[Network]:
    """Skips where namespaces or iptables are not to be had, except in CI."""
    network = Network()
    missing = [program for program in ("ip", "iptables", "sysctl") if shutil.which(program) is None]
    why = f"not installed: {', '.join(missing)}" if missing else "" if os.geteuid() == 0 else "only root may"
    try:
        if why:
            _skip(why)
        try:
            network.make()
        except subprocess.CalledProcessError as error:
            _skip(f"{' '.join(error.cmd)}: {error.stderr.decode().strip()}")
        yield network
    finally:
        if not missing:
            network.close()


def _skip(why: str) -> None:
    if "CI" in os.environ:
        raise AssertionError(f"network namespaces cannot be made here: {why}")
    pytest.skip(f"needs network namespaces and iptables: {why}")
