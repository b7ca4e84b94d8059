"""The git command line, bounded: no hooks, no prompts, no fetches on the way.

A repository's own filters do run, as large files need theirs. What they start carries the
run's marker like all that the run starts; of a masked run it is masked as well.
"""

import asyncio
import os
import signal
from collections.abc import Mapping
from pathlib import Path

from nodes.contract.errors import HubError

from .environment import base_environment
from .process import READ_BYTES, Process
from .sandbox import Sandbox

GIT_SECONDS = 120.0
OUTPUT_BYTES = 4 * 1024 * 1024
SAID_BYTES = 500
"""Of what git complains of, the end: there it says why it gave up."""
_CONFIG = (
    "core.hooksPath=/dev/null",
    "protocol.ext.allow=never",
    "core.fsmonitor=false",
    "core.quotePath=false",
    "diff.external=",
    "gc.auto=0",
    "maintenance.auto=false",
)
_STOP = ((signal.SIGTERM, 2.0), (signal.SIGKILL, 2.0))


class GitFailed(HubError):
    """git said no, or took too long. ``data["said"]`` is the end of its standard error."""

    code, http, grpc = "git_failed", 502, "FAILED_PRECONDITION"


class Git:
    """git in one directory. ``environment`` comes on top of a bare one, and marks what it starts."""

    def __init__(self, directory: Path, environment: Mapping[str, str], sandbox: Sandbox | None = None) -> None:
        self.directory = directory
        self._sandbox = sandbox
        self._environment = {
            **base_environment(os.environ),
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_NO_LAZY_FETCH": "1",
            "LC_ALL": "C.UTF-8",
            **environment,
        }
        if sandbox is not None and sandbox.user is not None:
            self._environment = sandbox.user.environment(self._environment)

    def within(self, **environment: str) -> "Git":
        """The same with more in its environment."""
        return Git(self.directory, {**self._environment, **environment}, self._sandbox)

    async def text(self, *arguments: str) -> str:
        """What git prints, without the last newline. Raises ``GitFailed``."""
        data, _ = await self.output(*arguments)
        return data.decode("utf-8", "replace").removesuffix("\n")

    async def ask(self, *arguments: str) -> str | None:
        """As ``text``; None where git refuses."""
        try:
            return await self.text(*arguments)
        except GitFailed:
            return None

    async def output(
        self, *arguments: str, limit: int = OUTPUT_BYTES, seconds: float = GIT_SECONDS
    ) -> tuple[bytes, bool]:
        """What git prints, and whether that was more than ``limit`` bytes and is cut. Raises ``GitFailed``."""
        settings = [part for setting in _CONFIG for part in ("-c", setting)]
        process = await Process.start(
            ("git", *settings, *arguments), self.directory, self._environment, sandbox=self._sandbox
        )
        process.stdin.close()
        try:
            async with asyncio.timeout(seconds):
                complaint = asyncio.create_task(_read_end(process.stderr, SAID_BYTES))
                data, is_cut = await _read(process.stdout, limit)
                said = await complaint
                status = await process.exited
        except TimeoutError as error:
            raise GitFailed(f"git {arguments[0]} took longer than {seconds:.0f} s.", said="") from error
        finally:
            await process.stop(_STOP)
            await process.release()
        if status:
            text = said.decode("utf-8", "replace").strip()
            raise GitFailed(f"git {arguments[0]} failed ({status}): {text}", said=text)
        return data, is_cut


async def _read(stream: asyncio.StreamReader, limit: int) -> tuple[bytes, bool]:
    """Everything, of which at most ``limit`` bytes are kept."""
    kept = bytearray()
    is_cut = False
    while piece := await stream.read(READ_BYTES):
        room = limit - len(kept)
        kept += piece[:room]
        is_cut |= len(piece) > room
    return bytes(kept), is_cut


async def _read_end(stream: asyncio.StreamReader, limit: int) -> bytes:
    """Everything, of which the last ``limit`` bytes are kept."""
    kept = b""
    while piece := await stream.read(READ_BYTES):
        kept = (kept + piece)[-limit:]
    return kept
