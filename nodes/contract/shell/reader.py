"""A place in a text, and what was found on the way to it: what reading words and reading commands share."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from .tree import Simple, Unreadable

COMMANDS = 200
DEPTH = 12

_BLANK = " \t"
META = " \t\n;&|<>()"


class Reader(ABC):
    """One pass over a text. ``found`` collects commands, ``known`` the variables whose values were literal."""

    def __init__(self, text: str, depth: int, known: dict[str, str] | None = None) -> None:
        if depth > DEPTH:
            raise Unreadable("It is nested too deeply.")
        self.text = text
        self.at = 0
        self.depth = depth
        self.known = {} if known is None else known
        self.found: list[Simple] = []
        self.loops = 0
        self.has_functions = False
        self.pending: list[tuple[str, bool, bool, Simple]] = []
        """Here-documents whose bodies begin at the next newline: end, without tabs, literal, for whom."""

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > DEPTH:
            raise Unreadable("It is nested too deeply.")

    @abstractmethod
    def script(self, end: str) -> None:
        """Read commands up to ``end`` (a closing parenthesis), or to the end of the text."""

    def peek(self, count: int = 1) -> str:
        return self.text[self.at : self.at + count]

    def skip_blanks(self) -> None:
        while self.at < len(self.text):
            if self.text[self.at] in _BLANK:
                self.at += 1
            elif self.text.startswith("\\\n", self.at):
                self.at += 2
            elif self.text[self.at] == "#" and (self.at == 0 or self.text[self.at - 1] in META):
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            else:
                return

    def add(self, simple: Simple) -> Simple:
        simple.is_repeated |= self.loops > 0
        self.found.append(simple)
        if len(self.found) > COMMANDS:
            raise Unreadable("It holds too many commands.")
        return simple

    def take(self, inner: "Reader") -> None:
        """Add what was found in a text within this one."""
        self.has_functions |= inner.has_functions
        self.add_all(inner.found)

    def add_all(self, commands: Sequence[Simple]) -> None:
        for command in commands:
            self.add(command)
