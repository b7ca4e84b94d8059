"""A management command that is one of ours: its arguments are read by its own parser, as under ``agenthub``."""

import sys
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from django.core.management.base import BaseCommand

from agenthub_site.summary import tell_failure
from nodes.contract.errors import HubError


class HandingOver(BaseCommand):
    """Hands the command line over to ``main``, whose result is the exit code."""

    @abstractmethod
    def main(self, arguments: Sequence[str]) -> int: ...

    def run_from_argv(self, argv: list[str]) -> None:
        try:
            sys.exit(self.main(argv[2:]))
        except HubError as error:
            sys.exit(tell_failure(error, as_json="--json" in argv))

    def handle(self, *args: Any, **options: Any) -> None:
        """For ``call_command``."""
        self.main([str(argument) for argument in args])
