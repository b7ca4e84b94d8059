"""Any program as a runtime: the prompt goes in, what it prints is the run's output, its exit status decides.

One turn per run. The prompt replaces ``{prompt}`` in the command's arguments (there is no
shell); if it stands nowhere there, it is written to the program's standard input. A prompt
that is an argument of its own and begins with ``-`` gets a space before it, unless a ``--``
stands before it: the program must not take it for an option.
"""

import asyncio
import codecs
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from nodes.contract.reasons import Reason
from nodes.contract.runtime import AgentProcess, Host, RuntimeFailed, RuntimeInfo, TurnEnd

from .presets import PRESETS

PLACE: Final = "{prompt}"
READ_BYTES: Final = 64 * 1024
DRAIN_SECONDS: Final = 2.0
"""How long output is still read once the program has ended: a child of it may hold the pipe open for ever."""


class CommandRuntime:
    """The adapter of ``runtime: command``."""

    def __init__(self) -> None:
        self._host: Host
        self._process: AgentProcess
        self._takes_stdin = True

    async def start(self, host: Host) -> RuntimeInfo:
        """Start the program with the run's prompt in its arguments, where it has a place there."""
        self._host = host
        spec = host.spec.runtime
        preset = PRESETS.get(spec.preset)
        command = list(spec.command or (preset.command if preset and preset.kind == "command" else ()))
        if not command:
            raise RuntimeFailed(Reason.RUNTIME_NOT_INSTALLED, "The agent has no command. Give it one.")
        self._takes_stdin = not any(PLACE in part for part in command)
        environment = {**(preset.environment if preset else {}), **spec.environment}
        self._process = await host.spawn(_with_prompt(command, host.spec.prompt), environment)
        return RuntimeInfo(name=command[0].rpartition("/")[2])

    async def prompt(self, text: str) -> TurnEnd:
        """Hand over the prompt, pass on all output, and wait for the end of the program."""
        feeding = asyncio.create_task(self._feed(text if self._takes_stdin else ""))
        reading = asyncio.create_task(self._read())
        try:
            status = await asyncio.shield(self._process.exited)
            await asyncio.wait((reading,), timeout=DRAIN_SECONDS)
        finally:
            for task in (feeding, reading):
                task.cancel()
            await asyncio.gather(feeding, reading, return_exceptions=True)
        if status == 0:
            return TurnEnd("end_turn")
        name = signal.Signals(-status).name if status < 0 else ""
        return TurnEnd("exited", is_failure=True, message=f"killed by {name}" if name else f"exit status {status}")

    async def interrupt(self) -> None:
        """What Ctrl-C does: SIGINT to the program's group. The supervisor's stronger signals follow."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGINT)

    async def close(self) -> None:
        self._process.stdin.close()

    async def _feed(self, text: str) -> None:
        """A program need not read its input: a closed pipe is no fault of the run."""
        with suppress(OSError):
            self._process.stdin.write(text.encode("utf-8", "replace"))
            await self._process.stdin.drain()
        self._process.stdin.close()

    async def _read(self) -> None:
        """Output as it comes, in pieces of any size; bytes that are no UTF-8 are replaced."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        while data := await self._process.stdout.read(READ_BYTES):
            if text := decoder.decode(data):
                self._host.emit_text("stdout", text)
        if text := decoder.decode(b"", final=True):
            self._host.emit_text("stdout", text)


def _with_prompt(command: Sequence[str], prompt: str) -> list[str]:
    filled = []
    for at, part in enumerate(command):
        is_exposed = part.startswith(PLACE) and prompt.startswith("-") and "--" not in command[:at]
        filled.append((" " if is_exposed else "") + part.replace(PLACE, prompt))
    return filled
