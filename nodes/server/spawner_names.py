"""What a spawner and its client call things: importing the one must not warm up the other."""

from typing import Final

SOCKET: Final = "spawner.sock"
LOCK: Final = "spawner.lock"
LINE_BYTES: Final = 64 * 1024
"""A request or an answer at most."""
