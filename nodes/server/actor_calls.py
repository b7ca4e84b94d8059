"""What an agent is given so that it can call ``agenthub actor``: where its node listens, a token, and the command."""

import os
import shlex
import sys
from pathlib import Path
from typing import Final

OPEN_DIR: Final = 0o755
OPEN_SOCKET: Final = 0o666
SOCKET_VARIABLE: Final = "AGENTHUB_ACTOR_SOCKET"
TOKEN_VARIABLE: Final = "AGENTHUB_ACTOR_TOKEN"  # noqa: S105 - the name of a variable
ACTOR_VARIABLE: Final = "AGENTHUB_ACTOR_ID"


def socket_in(directory: Path) -> Path:
    return directory / "sock"


def actor_directory(node_dir: Path) -> Path:
    """Of a node: the socket, and the ``agenthub`` that its agents find last on their PATH."""
    return node_dir / "actor"


def actor_environment(directory: Path, agent_id: str, token: str) -> dict[str, str]:
    """What an agent's processes need to call ``agenthub actor``."""
    return {SOCKET_VARIABLE: str(socket_in(directory)), TOKEN_VARIABLE: token, ACTOR_VARIABLE: agent_id}


def needed_for_calls(directory: Path) -> tuple[Path, ...]:
    """What a masked agent must see to call: the socket's directory, Python, and this package."""
    return (directory, Path(sys.prefix), Path(sys.base_prefix), package_root() / "agenthub_site",
            package_root() / "integrations", package_root() / "nodes")  # fmt: skip


def package_root() -> Path:
    return Path(__file__).resolve().parents[2]


def write_launcher(directory: Path) -> None:
    """``agenthub`` in ``directory/bin``: this very installation, and nothing of the agent's own Python."""
    place = directory / "bin"
    place.mkdir(exist_ok=True)
    place.chmod(OPEN_DIR)
    draft = place / f".agenthub.{os.getpid()}"
    draft.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -I -m agenthub_site.main "$@"\n', "utf-8")
    draft.chmod(OPEN_DIR)
    draft.replace(place / "agenthub")
