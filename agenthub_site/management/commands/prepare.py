from collections.abc import Sequence

from agenthub_site import prepare
from agenthub_site.management.handing_over import HandingOver


class Command(HandingOver):
    help = "Make or migrate the database, certificates and first operator."

    def main(self, arguments: Sequence[str]) -> int:
        return prepare.main(arguments)
