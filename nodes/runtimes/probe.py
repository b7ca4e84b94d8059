"""Which runtimes this machine has. Looking costs nothing; asking for versions starts programs, and leaves none."""

import asyncio
import os
import re
import secrets
import select
import shutil
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic

import structlog

from nodes.contract.runtime import Preset

from .presets import PRESETS

logger = structlog.get_logger(__name__)

PROBE_SECONDS = 10.0
"""A program gets so long to say its version; some take seconds on a busy machine."""
AT_ONCE = 4
OUTPUT_BYTES = 4096
SWEEPS = 50
"""A program that forks as fast as it is killed is swept so often at most."""
_OURS = "AGENTHUB_"
"""Names of our own settings, some of them secret: no program is given those."""
MARKER = f"{_OURS}PROBE"
_PROC = Path("/proc")
_VERSION = re.compile(r"\d+(\.\d+)+[\w.+-]*")


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of one preset on this machine. ``detail`` says what is missing, for people."""

    name: str
    title: str
    hint: str
    path: str = ""
    version: str = ""
    is_logged_in: bool = False
    detail: str = ""

    @property
    def is_installed(self) -> bool:
        return bool(self.path)


def find_runtimes(
    environ: Mapping[str, str] = os.environ, home: Path | None = None, presets: Iterable[Preset] = PRESETS.values()
) -> list[Found]:
    """Every preset, installed or not, without its version: no program is started."""
    return [_look(preset, environ, home or Path.home()) for preset in presets]


async def probe(
    environ: Mapping[str, str] = os.environ, home: Path | None = None, presets: Iterable[Preset] = PRESETS.values()
) -> list[Found]:
    """Every preset, with versions. A few programs at a time, each bounded; no process of theirs stays."""
    presets = list(presets)
    gate = asyncio.Semaphore(AT_ONCE)

    async def look(preset: Preset, found: Found) -> Found:
        if not found.is_installed or not preset.version_command:
            return found
        async with gate:
            theirs = {name: value for name, value in environ.items() if not name.startswith(_OURS)}
            env = {**theirs, **preset.environment}
            version, problem = await asyncio.to_thread(ask_version, preset.version_command, env)
        return replace(found, version=version, detail=problem or found.detail)

    known = find_runtimes(environ, home, presets)
    return await asyncio.gather(*(look(preset, found) for preset, found in zip(presets, known, strict=True)))


def ask_version(command: Sequence[str], environ: Mapping[str, str], seconds: float = PROBE_SECONDS) -> tuple[str, str]:
    """The version that ``command`` prints, and what went wrong otherwise. Blocks ``seconds`` at most, and a little."""
    mark = secrets.token_hex(8)
    reading, writing = os.pipe()
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=writing, stderr=subprocess.DEVNULL,
            env={**environ, MARKER: mark}, start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        os.close(reading)
        return "", f"'{command[0]}' cannot be started: {error.strerror}"
    finally:
        os.close(writing)
    try:
        text = _read(process, reading, monotonic() + seconds)
    finally:
        os.close(reading)
        is_done = process.poll() is not None
        _end(process, mark)
    if version := _VERSION.search(text):
        return version[0][:64], ""
    if not is_done:
        return "", f"'{' '.join(command)}' did not answer within {seconds:g} s"
    return "", f"'{' '.join(command)}' named no version (exit status {process.returncode})"


def _look(preset: Preset, environ: Mapping[str, str], home: Path) -> Found:
    path = shutil.which(preset.command[0], path=environ.get("PATH")) or ""
    has_key = any(environ.get(name) for name in preset.secret_names)
    has_login = any((home / login).exists() for login in preset.login_paths)
    is_logged_in = has_key or has_login or not (preset.secret_names or preset.login_paths)
    detail = "" if path and is_logged_in else ("not logged in" if path else "not installed")
    return Found(preset.name, preset.title, preset.install_hint, path, is_logged_in=is_logged_in, detail=detail)


def _read(process: "subprocess.Popen[bytes]", reading: int, deadline: float) -> str:
    """What the process printed until it ended. A child of it may hold the pipe, so its end is not waited for."""
    output = b""
    while len(output) < OUTPUT_BYTES and (left := deadline - monotonic()) > 0:
        if select.select([reading], [], [], min(0.05, left))[0]:
            data = os.read(reading, OUTPUT_BYTES)
            if not data:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, deadline - monotonic()))
                break
            output += data
        elif process.poll() is not None:
            break
    return output.decode("utf-8", "replace")


def _end(process: "subprocess.Popen[bytes]", mark: str) -> None:
    """Kill the group, then whatever left it for a session of its own; reap what is ours."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for _ in range(SWEEPS):
        marked = _marked(mark)
        if not marked:
            return
        for pid in marked:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
    logger.warning("probe_left_processes", pids=sorted(marked))


def _marked(mark: str) -> list[int]:
    """Living processes that inherited this probe's mark."""
    wanted = f"{MARKER}={mark}".encode()
    found = []
    for entry in _PROC.glob("[0-9]*"):
        with suppress(OSError):
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found
