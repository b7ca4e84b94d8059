"""What a check yields, and what it is given."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from integrations.cli.client import Client
from integrations.cli.where import Where
from nodes.contract.config import Config


class Level(StrEnum):
    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    PROBLEM = "problem"
    """Makes the exit code 1."""


MARKS = {Level.OK: "✓", Level.NOTE: "·", Level.WARNING: "!", Level.PROBLEM: "✗"}


@dataclass(frozen=True, slots=True)
class Finding:
    level: Level
    what: str
    message: str
    fix: str = ""
    code: str = ""
    """Stable, for programs; empty where nothing is wrong."""


def ok(what: str, message: str) -> Finding:
    return Finding(Level.OK, what, message)


def note(what: str, message: str, fix: str = "", code: str = "") -> Finding:
    return Finding(Level.NOTE, what, message, fix, code)


def warning(what: str, message: str, fix: str = "", code: str = "") -> Finding:
    return Finding(Level.WARNING, what, message, fix, code)


def problem(what: str, message: str, fix: str = "", code: str = "") -> Finding:
    return Finding(Level.PROBLEM, what, message, fix, code)


@dataclass(slots=True)
class Case:
    """What is examined: where we are, its settings if they can be read, and the hub if one answers."""

    where: Where
    config: Config | None = None
    hub: Client | None = None
    has_other_settings: bool = False
    """The hub that answers was started with another configuration than this command reads."""

    @property
    def is_node(self) -> bool:
        """Whether this machine is a node and nothing else."""
        return (self.where.home / "node/hub.json").exists() or bool(self.config and self.config.server.role == "node")


Check = Callable[[Case], Iterator[Finding]]
