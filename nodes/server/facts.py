"""What the node says of itself and of its machine."""

import asyncio
import contextlib
import os
import platform
import re
import secrets
import shutil
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import structlog

from nodes.contract.config import Config, expand
from nodes.contract.ids import now_us
from nodes.link.versions import SPOKEN, Spoken
from nodes.pb import link_pb2 as pb
from nodes.runtimes.probe import Found, ask_version, find_runtimes, probe

from . import other_user, proc
from .environment import base_environment
from .joining import trust_of
from .sandbox import why_not

logger = structlog.get_logger(__name__)

REFRESH_SECONDS = 600.0
GIT_SECONDS = 5.0
FIRST_LOOK_SECONDS = 2.0
_MEMORY = {name: re.compile(rb"^%s:\s+(\d+) kB" % name, re.MULTILINE) for name in (b"MemAvailable", b"MemTotal")}


class Facts:
    """Cached, since asking the runtimes for their versions takes seconds."""

    def __init__(self, config: Config, node_id: str) -> None:
        self._config = config
        self._node_id = node_id
        self._runtimes: list[Found] = find_runtimes()
        self._git = ""
        self._isolations: list[str] = []
        self._version = _software_version()
        self._looked = asyncio.Event()
        self._instance = secrets.token_hex(16)

    async def refresh(self) -> bool:
        """Look again; whether anything is different."""
        isolations = await asyncio.to_thread(_isolations, self._config.isolation.run_as)
        runtimes = await probe()
        git, _ = await asyncio.to_thread(ask_version, ("git", "--version"), base_environment(os.environ), GIT_SECONDS)
        is_new = (runtimes, git, isolations) != (self._runtimes, self._git, self._isolations)
        self._runtimes, self._git, self._isolations = runtimes, git, isolations
        self._looked.set()
        return is_new

    async def wait_for_first_look(self) -> None:
        """Until the versions are known, within reason: a slow program must not keep the hub waiting."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_LOOK_SECONDS):
                await self._looked.wait()

    def hello(self, runs: Sequence[pb.HeldRun], epoch: int, speaks: Spoken = SPOKEN) -> pb.Hello:
        roots = [*(expand(path) for path in self._config.safe_paths), self._config.worktree_root]
        return pb.Hello(
            protocol=speaks.newest,
            oldest_protocol=speaks.oldest,
            node_id=self._node_id,
            version=self._version,
            boot_id=proc.boot_id(),
            capacity=self._config.node.capacity,
            labels=self._config.node.labels,
            allowed_roots=[str(root) for root in roots],
            runtimes=[
                pb.Runtime(
                    preset=found.name,
                    version=found.version,
                    found=found.is_installed,
                    logged_in=found.is_logged_in,
                    detail=found.detail,
                )
                for found in self._runtimes
            ],
            runs=runs,
            clock_us=now_us(),
            git_version=self._git,
            epoch=epoch,
            instance=self._instance,
            worktree_modes=self._worktree_modes,
            cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0,
            versions={"python": platform.python_version(), "os": f"{platform.system()} {platform.release()}"},
            trust=trust_of(self._config.pki_dir),
            isolations=self._isolations,
        )

    @property
    def _worktree_modes(self) -> list[str]:
        """Worktrees are git's; a directory that is there needs nothing."""
        return ["use_existing", *(["create_worktree", "reuse_worktree"] if self._git else [])]

    def heartbeat(self, number: int, live_runs: int) -> pb.Heartbeat:
        free, total = _disk(self._config.worktree_root)
        memory_free, memory_total = _memory()
        return pb.Heartbeat(
            number=number,
            clock_us=now_us(),
            live_runs=live_runs,
            load=os.getloadavg()[0],
            memory_free=memory_free,
            memory_total=memory_total,
            disk_free=free,
            disk_total=total,
        )


def _isolations(run_as: str) -> list[str]:
    """Tried, really."""
    masked = [] if why_not() else ["masked"]
    return [*masked, *([] if other_user.why_not(run_as) else ["user"])]


def _software_version() -> str:
    try:
        return version("agenthub")
    except PackageNotFoundError:
        return "unknown"


def _memory() -> tuple[int, int]:
    """Bytes that could be had, and all; 0 where the system does not say."""
    try:
        said = Path("/proc/meminfo").read_bytes()
    except OSError:
        return 0, 0
    free, total = (int(found[1]) * 1024 if (found := line.search(said)) else 0 for line in _MEMORY.values())
    return free, total


def _disk(path: Path) -> tuple[int, int]:
    """Free and total bytes where the worktrees are, or will be."""
    while not path.exists() and path != path.parent:
        path = path.parent
    try:
        usage = shutil.disk_usage(path)
    except OSError:
        return 0, 0
    return usage.free, usage.total
