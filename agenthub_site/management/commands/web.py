from collections.abc import Sequence

from agenthub_site import web
from agenthub_site.management.handing_over import HandingOver


class Command(HandingOver):
    help = "Serve HTTP, WebSockets and the operator's socket, with the control plane."

    def main(self, arguments: Sequence[str]) -> int:
        return web.main(arguments)
