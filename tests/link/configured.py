"""Both ends of the configured way: their files as operators make them, a node that greets, a hub that dials."""

import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from nodes.contract.config import Config, load_config
from nodes.link.dial import dial_configured
from nodes.link.link import HubEnd, NodeEnd
from nodes.link.peers import HubPeer, NodePeer
from nodes.link.serve import configured_server
from nodes.link.versions import PROTOCOL
from nodes.pb.link_pb2 import Hello, NodeFrame
from nodes.pki import NodeIdentity
from nodes.server.home import NodeHome

from .parts import until_cut

SEED = Path(__file__).with_name("seed")
ROW = NodeIdentity(UUID(int=51), 1)
NAME = "node1.internal"
"""What the seed's commands certify."""


def make_files(directory: Path, script: str) -> None:
    """By a shell script, in the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    subprocess.run(["sh", "-ec", script], cwd=directory, check=True, capture_output=True, timeout=90)


AS_WRITTEN = (SEED / "certificates.sh").read_text()
COMMANDS = AS_WRITTEN.replace("rsa:4096", "rsa:2048")
"""The seed's, with keys that are made sooner."""
CLIENT = """\
openssl req -newkey rsa:2048 -keyout client-key.pem -out client-csr.pem -nodes -subj "/CN=hub.example.com"
openssl x509 -req -in client-csr.pem -CA ca-cert.pem -CAkey ca-key.pem -out client-cert.pem -days 365 -CAcreateserial
"""


@dataclass
class Ends:
    """A hub's home and a node's, each with certificates in ``certs``, as the seed hands them out."""

    root: Path
    made: Path
    changes: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for end, names in {"hub": ["ca-cert.pem"], "node": ["ca-cert.pem", "node-cert.pem", "node-key.pem"]}.items():
            (self.root / end / "certs").mkdir(parents=True)
            for name in names:
                shutil.copy(self.made / name, self.root / end / "certs" / name)

    def config(self, end: str, **variables: str) -> Config:
        """The seed's file for that end; hosts, ports and directories are this machine's, all else stands as it is."""
        home = self.root / end
        text = (SEED / ("hub.toml" if end == "hub" else "gpu-01.toml")).read_text()
        text = re.sub(r'"0\.0\.0\.0:\d+"', '"127.0.0.1:0"', text).replace("/etc/agenthub", str(home))
        (home / "config.toml").write_text(text.replace("/data/agenthub", str(home)))
        variables = {f"AGENTHUB_INTERNAL_GRPC__{name}": value for name, value in (self.changes | variables).items()}
        before = dict(os.environ)
        os.environ.update(variables, AGENTHUB_HOME=str(home))
        try:
            return load_config(str(home / "config.toml"))
        finally:
            os.environ.clear()
            os.environ.update(before)

    @property
    def memory(self) -> NodeHome:
        (self.root / "node/node").mkdir(exist_ok=True)
        return NodeHome(self.root / "node/node")

    def peer(self, **variables: str) -> HubPeer:
        return HubPeer.load(self.config("hub", **variables), "gpu-01")

    @asynccontextmanager
    async def node(self, **variables: str) -> AsyncIterator[str]:
        """A node on loopback that says its own id; its address."""
        peer = NodePeer.prepare(self.config("node", **variables))

        async def greet(link: NodeEnd) -> None:
            await link.send(NodeFrame(hello=Hello(protocol=PROTOCOL, node_id=peer.node_id)))
            await until_cut(link)

        server = configured_server(peer, self.memory, greet)
        await server.start("127.0.0.1:0")
        try:
            yield f"127.0.0.1:{server.port}"
        finally:
            await server.stop(0.1)

    async def connect(self, address: str, row: NodeIdentity = ROW, name: str = NAME, **variables: str) -> None:
        """Dial, hear the node's id, and hang up."""
        link: HubEnd = await dial_configured(address, self.peer(**variables), row, server_name=name)
        try:
            assert (await link.hello()).node_id == "gpu-01"
        finally:
            await link.aclose()
