"""Live progress on a terminal: finished lines scroll by, the unfinished one and a status stay below. Uses rich."""

import time

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

STYLES = {"": "", "dim": "dim", "bold": "bold", "good": "bold green", "bad": "bold red", "ask": "yellow"}

PARTIAL_CHARS = 2_000
"""An unfinished line longer than this is printed as it is."""


class LiveSink:
    """A ``render.Sink`` with a spinner."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._partial = Text()
        self._status = "starting"
        self._began = time.monotonic()
        self._spinner = Spinner("dots", style="cyan")
        self._live = Live(get_renderable=self._below, console=self._console, refresh_per_second=12, transient=True)
        self._live.start()

    def _below(self) -> Group:
        self._spinner.update(text=Text(f" {self._status} · {time.monotonic() - self._began:.0f} s", style="dim"))
        return Group(self._partial, self._spinner) if self._partial.plain else Group(self._spinner)

    def text(self, text: str, style: str = "") -> None:
        *lines, rest = text.split("\n")
        for line in lines:
            self._add(line, style)
            self._flush()
        self._add(rest, style)
        if len(self._partial) > PARTIAL_CHARS:
            self._flush()

    def _add(self, text: str, style: str) -> None:
        self._partial = Text.assemble(self._partial, (text, STYLES[style]))  # anew: the refresh reads it in a thread

    def line(self, text: str, style: str = "") -> None:
        self.close()
        self._console.print(Text(text, style=STYLES[style]))

    def _flush(self) -> None:
        self._console.print(self._partial)
        self._partial = Text()

    def status(self, text: str) -> None:
        self._status = " ".join(text.split())[:80]

    def close(self) -> None:
        if self._partial.plain:
            self._flush()

    def pause(self) -> None:
        """Leave the terminal to a question."""
        self.close()
        self._live.stop()

    def resume(self) -> None:
        self._live.start()

    def finish(self) -> None:
        self.close()
        self._live.stop()
