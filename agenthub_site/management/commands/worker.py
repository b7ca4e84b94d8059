from collections.abc import Sequence

from agenthub_site import worker
from agenthub_site.management.handing_over import HandingOver


class Command(HandingOver):
    help = "Do short tasks that call outside, and retention."

    def main(self, arguments: Sequence[str]) -> int:
        return worker.main(arguments)
