"""Run within a sandbox: tries what an agent should not be able to do, and prints what worked, as JSON."""

import json
import os
import pathlib
import socket
import sys

targets = json.loads(sys.argv[1])
read, connected, written, killed = [], [], [], []
for name, target in targets.items():
    try:
        with open(target, "rb") as file:
            file.read(1)
        read.append(name)
    except OSError:
        pass
    try:
        if target.startswith("127."):
            host, _, port = target.partition(":")
            socket.create_connection((host, int(port)), 2).close()
        else:
            socket.socket(socket.AF_UNIX).connect(target)
        connected.append(name)
    except OSError:
        pass
for name, path in json.loads(sys.argv[2]).items():
    try:
        with open(path, "r+b" if pathlib.Path(path).exists() else "wb") as file:
            file.write(b"")  # opening is enough
        written.append(name)
    except OSError:
        pass
processes = [int(entry.name) for entry in pathlib.Path("/proc").iterdir() if entry.name.isdecimal()]
for pid in set(range(2, 5_000)) - {os.getpid()}:
    try:
        os.kill(pid, 0)
        killed.append(pid)
    except OSError:
        pass
status = dict(
    line.split(":\t", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines() if ":\t" in line
)
found: dict[str, object] = {
    "read": read,
    "connected": connected,
    "written": written,
    "killed": killed,
    "processes": len(processes),
    "capabilities": int(status["CapEff"], 16),
    "no_new_privileges": int(status["NoNewPrivs"]),
    "first_command_line": pathlib.Path("/proc/1/cmdline").read_text().replace("\0", " "),
}
print(json.dumps(found))
