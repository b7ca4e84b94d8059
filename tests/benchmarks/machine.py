"""What this machine can do, bare."""

import os
import socket
import subprocess
import tempfile
import time
from urllib.parse import urlsplit


def durable_write_ms(directory: str, times: int = 200) -> float:
    """The median of one 4 KiB append with fdatasync, in milliseconds."""
    taken = []
    with tempfile.NamedTemporaryFile(dir=directory) as file:
        for _ in range(times):
            began = time.perf_counter()
            file.write(b"x" * 4096)
            file.flush()
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - began)
    return sorted(taken)[times // 2] * 1000


def spawn_ms(command: list[str], times: int = 50) -> float:
    """The median time to start a program and see it end, in milliseconds."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        subprocess.run(command, check=True)
        taken.append(time.perf_counter() - began)
    return sorted(taken)[times // 2] * 1000


def wait_for(url: str) -> None:
    """Until somebody listens there. ``SystemExit`` after a minute."""
    parts = urlsplit(url)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            socket.create_connection((parts.hostname or "", parts.port or 80), 1).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise SystemExit(f"{url} does not answer")
