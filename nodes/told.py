"""What a node says of itself, as columns of its row: bounded, and nothing in it that a database or JSON refuses."""

import math
from typing import Any, Final

from .pb import link_pb2 as pb

_MOST: Final = 100
_LABEL: Final = 64
_PATH: Final = 1_024
_DETAIL: Final = 300


def told_in(hello: pb.Hello) -> dict[str, Any]:
    """From its hello."""
    return {
        "version": _text(hello.version, _LABEL),
        "boot_id": _text(hello.boot_id, _LABEL),
        "allowed_roots": [_text(root, _PATH) for root in hello.allowed_roots[:_MOST]],
        "runtimes": [
            {
                "preset": _text(runtime.preset, _LABEL),
                "version": _text(runtime.version, _LABEL),
                "found": runtime.found,
                "logged_in": runtime.logged_in,
                "detail": _text(runtime.detail, _DETAIL),
            }
            for runtime in hello.runtimes[:_MOST]
        ],
        "facts": {
            "git_version": _text(hello.git_version, _LABEL),
            "capacity": hello.capacity,
            "worktree_modes": [_text(mode, _LABEL) for mode in hello.worktree_modes[:_MOST]],
            "cpus": hello.cpus,
            "isolations": [_text(level, _LABEL) for level in hello.isolations[:_MOST]],
            "trust": hello.trust.hex()[:_LABEL],
            "versions": {
                _text(name, _LABEL): _text(version, _LABEL) for name, version in sorted(hello.versions.items())[:_MOST]
            },
        },
    }


def vitals_in(beat: pb.Heartbeat) -> dict[str, Any]:
    """From a heartbeat."""
    return {
        "load": round(beat.load, 2) if math.isfinite(beat.load) else None,
        "live_runs": beat.live_runs,
        "memory_free": beat.memory_free,
        "memory_total": beat.memory_total,
        "disk_free": beat.disk_free,
        "disk_total": beat.disk_total,
    }


def _text(said: str, most: int) -> str:
    return said.replace("\x00", "\ufffd")[:most]
