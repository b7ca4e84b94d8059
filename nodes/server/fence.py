"""What this node's agents are kept from, and what they may have in spite of it, as its configuration says."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from nodes.contract.config import Config, expand, find_config


@dataclass(frozen=True, slots=True)
class Fence:
    """``hidden`` is the node's own, and the hub's; ``readable`` and ``writable`` are what operators let through.

    ``run_as`` is the OS user of agents that are to be somebody else than the node.
    """

    hidden: tuple[Path, ...] = ()
    readable: tuple[Path, ...] = ()
    writable: tuple[Path, ...] = ()
    run_as: str = ""

    @classmethod
    def from_config(cls, config: Config) -> Self:
        file = find_config(None, config.home)
        own = [config.home, config.cert_dir, Path("/etc/agenthub"), *([file] if file else [])]
        keys = [expand(path) for path in (config.server.tls_key,) if path]
        given = config.isolation
        return cls(
            tuple(dict.fromkeys([*own, *keys, *(expand(path) for path in given.hidden)])),
            tuple(expand(path) for path in given.readable),
            tuple(expand(path) for path in given.writable),
            given.run_as,
        )

    @classmethod
    def from_json(cls, held: dict[str, Any]) -> Self:
        hidden, readable, writable = (tuple(Path(path) for path in held.get(name, ())) for name in _PATHS)
        return cls(hidden, readable, writable, held.get("run_as", ""))

    def as_json(self) -> dict[str, Any]:
        paths = {name: [os.fspath(path) for path in getattr(self, name)] for name in _PATHS}
        return {**paths, "run_as": self.run_as}


_PATHS: Final = ("hidden", "readable", "writable")
