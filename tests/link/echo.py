"""A node in a process of its own for the tests of the link: says hello, and listens."""

import asyncio
import sys
from pathlib import Path

from nodes import pki
from nodes.link.credentials import Credentials
from nodes.link.link import NodeEnd
from nodes.link.serve import node_server
from tests.link.parts import hello_of, until_cut


async def main(directory: Path) -> None:
    credentials = Credentials.load(directory, "local")
    node = pki.identity_of(credentials.certificate)
    assert node is not None

    async def greet(link: NodeEnd) -> None:
        await link.send(hello_of(node))
        await until_cut(link)

    server = node_server(credentials, greet)
    await server.start("127.0.0.1:0")
    (directory / "port.new").write_text(str(server.port))
    (directory / "port.new").rename(directory / "port")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
