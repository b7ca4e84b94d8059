"""Which code a process runs, and with which environment: a spawner outlives the node server that started it.

Neither an upgrade nor a key that was set before a restart must go on with the old one.
"""

import hashlib
import os
from functools import cache
from pathlib import Path

from nodes.runtimes.presets import PRESETS

from .environment import base_environment

_PACKAGE = Path(__file__).parents[1]
_PARTS = ("contract", "runtimes", "server")


@cache
def code_version() -> str:
    """A digest of the node's own source files, as they were when this process first asked."""
    digest = hashlib.sha256()
    for part in _PARTS:
        for path in sorted((_PACKAGE / part).rglob("*.py")):
            digest.update(str(path.relative_to(_PACKAGE)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def spawner_version() -> str:
    """The code's, and a digest of what this process's environment gives to agents."""
    secrets = {name: os.environ.get(name, "") for preset in PRESETS.values() for name in preset.secret_names}
    given = sorted({**base_environment(os.environ), **secrets}.items())
    return f"{code_version()}-{hashlib.sha256(repr(given).encode()).hexdigest()[:16]}"
