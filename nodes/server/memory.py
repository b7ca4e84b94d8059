"""Whether the kernel killed for want of memory: its counters before and after are all it leaves."""

from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


def oom_kills() -> int | None:
    """Processes killed for want of memory so far, in our cgroup or else on the machine; None where nobody counts."""
    for path, key in (*_cgroup_files(), (Path("/proc/vmstat"), "oom_kill")):
        try:
            lines = path.read_text("ascii").splitlines()
        except OSError:
            continue
        for line in lines:
            name, _, value = line.partition(" ")
            if name == key and value.isdecimal():
                return int(value)
    return None


def _cgroup_files() -> list[tuple[Path, str]]:
    """The counters of our cgroup, for either version of cgroups."""
    try:
        lines = Path("/proc/self/cgroup").read_text("ascii").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            found.append((_ROOT / path.lstrip("/") / "memory.events", "oom_kill"))
        elif "memory" in controllers.split(","):
            found.append((_ROOT / "memory" / path.lstrip("/") / "memory.oom_control", "oom_kill"))
    return found
