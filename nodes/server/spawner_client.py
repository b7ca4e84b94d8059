"""The node server's end of the spawner: find one that is alive, or start one; ask it for supervisors."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import structlog

from nodes.contract.config import Config
from nodes.contract.errors import Unavailable

from . import unixsocket
from .files import PRIVATE_DIR, PRIVATE_FILE
from .paths import SafePaths
from .rundir import RunDir
from .settle import settle
from .spawner_names import LINE_BYTES, SOCKET
from .version import spawner_version

logger = structlog.get_logger(__name__)

READY_SECONDS = 60.0
"""A spawner imports a lot before it answers; on a busy machine that takes its time."""
ANSWER_SECONDS = 30.0
PAUSE_SECONDS = 0.05


class NoSpawner(Unavailable):
    """The spawner cannot be reached or started: no run can be started at present."""

    code = "no_spawner"
    message = "The node's spawner does not answer; its log is spawner.log in the home's logs."


class SpawnerClient:
    """A ``Starter`` for the node server. One connection, one request at a time; all of it on the event loop."""

    def __init__(self, node_dir: Path, log: Path, safe: SafePaths) -> None:
        self._node_dir = node_dir
        self._log = log
        self._safe = safe
        self._lock = asyncio.Lock()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._started: list[subprocess.Popen[bytes]] = []

    @classmethod
    def from_config(cls, config: Config) -> "SpawnerClient":
        return cls(config.node_dir, config.home / "logs" / "spawner.log", SafePaths.from_config(config))

    async def ensure(self) -> int:
        """A spawner of our version is there and warm; returns its pid. Raises ``NoSpawner``."""
        async with self._lock:
            return await self._ensure()

    async def start(self, run_id: str) -> None:
        """Fork the run's supervisor; a run that has one, or had one, gets no second. Raises ``NoSpawner``."""
        await self._request({"do": "start", "run": run_id, "safe": self._safe.as_json()})

    async def settle(self, run_id: str) -> None:
        """End a run that lost its supervisor. What the spawner's own children left it can end best."""
        answer = await self._request({"do": "settle", "run": run_id})
        if not answer.get("settled"):
            await asyncio.to_thread(settle, RunDir(self._node_dir / "runs", run_id))

    async def aclose(self) -> None:
        """Leave the spawner to itself: it stays for its runs, and else leaves soon."""
        async with self._lock:
            self._disconnect()
            for process in self._started:
                if process.poll() is None:
                    process.returncode = 0  # it outlives us, and is not ours to wait for

    async def _request(self, request: dict[str, Any]) -> dict[str, Any]:
        async with self._lock:
            await self._ensure()
            answer = await self._ask(request)
        if not answer.get("ok"):
            raise NoSpawner(f"The spawner refused: {answer.get('error', 'no reason given')}")
        return answer

    async def _ensure(self) -> int:
        try:
            hello = await self._hello()
            if hello["version"] == spawner_version():
                return int(hello["pid"])
            logger.info("spawner.replaced", old=hello["version"], new=spawner_version(), runs=hello["runs"])
            await self._ask({"do": "retire"})
        except NoSpawner:
            pass
        self._disconnect()
        return await self._launch()

    async def _launch(self) -> int:
        process = await asyncio.to_thread(self._start_process)
        self._started = [*(old for old in self._started if old.poll() is None), process]
        end = asyncio.get_running_loop().time() + READY_SECONDS
        while asyncio.get_running_loop().time() < end:
            try:
                return int((await self._hello())["pid"])
            except NoSpawner:
                if process.poll() not in (None, 3):  # 3: another one was faster
                    raise
            await asyncio.sleep(PAUSE_SECONDS)
        raise NoSpawner(f"The spawner was not ready within {READY_SECONDS:g} s; see {self._log}.")

    def _start_process(self) -> "subprocess.Popen[bytes]":
        self._log.parent.mkdir(PRIVATE_DIR, parents=True, exist_ok=True)
        self._node_dir.mkdir(PRIVATE_DIR, parents=True, exist_ok=True)
        ours = str(Path(__file__).parents[2])
        path = os.pathsep.join(filter(None, (ours, os.environ.get("PYTHONPATH"))))
        log = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, PRIVATE_FILE)
        try:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "nodes.server.spawner", str(self._node_dir)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={**os.environ, "PYTHONPATH": path, "AGENTHUB_SPAWNER": "1"},
                start_new_session=True,
            )
        finally:
            os.close(log)

    async def _hello(self) -> dict[str, Any]:
        return await self._ask({"do": "hello"})

    async def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                if self._streams is None:
                    connection = unixsocket.connect(self._node_dir / SOCKET)
                    connection.setblocking(False)
                    self._streams = await asyncio.open_unix_connection(sock=connection, limit=LINE_BYTES)
                reader, writer = self._streams
                writer.write(json.dumps(request).encode() + b"\n")
                await writer.drain()
                answer = json.loads(await reader.readline() or b"null")
        except (OSError, ValueError) as error:
            self._disconnect()
            raise NoSpawner() from error
        except asyncio.CancelledError:
            self._disconnect()  # its answer would be taken for that of the next request
            raise
        if not isinstance(answer, dict):
            self._disconnect()
            raise NoSpawner()
        return answer

    def _disconnect(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None
