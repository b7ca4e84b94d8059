from collections.abc import Sequence

from agenthub_site import controlplane_main
from agenthub_site.management.handing_over import HandingOver


class Command(HandingOver):
    help = "Keep the links to nodes, schedule and ingest; without a web door."

    def main(self, arguments: Sequence[str]) -> int:
        return controlplane_main.main(arguments)
