"""What stands between an actor and what it asked for."""

from typing import Any

from .exits import Exit


class Refused(Exception):
    """The hub, or what stands before it, said no: ``error`` as in the API's shape."""

    def __init__(self, error: dict[str, Any], exit_code: Exit = Exit.REFUSED) -> None:
        super().__init__(error["message"])
        self.error = error
        self.exit = exit_code
