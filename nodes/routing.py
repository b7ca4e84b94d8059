"""Which nodes the runs of a project may go to: pure rules, made of the rows once and asked of many nodes.

Deny is the default. The local node is everybody's.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

Labels = frozenset[tuple[str, str]]
LOCAL: Final = "local"


@dataclass(frozen=True, slots=True)
class Asker:
    """Who wants a run to go somewhere, and by which entry it came.

    ``rank`` is that of the role in the project, 0 without one. Root operators are asked for their entry alone.
    """

    entry: str = ""
    user: UUID | None = None
    rank: int = 0
    is_root: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """A project's runs may go to one ``node``, or to those of the ``pool`` that have the ``labels``."""

    node: UUID | None = None
    pool: str = ""
    labels: Labels = frozenset()
    entries: frozenset[str] = frozenset()
    """Empty: by every entry."""
    rank: int = 0
    user: UUID | None = None

    def admits(self, asker: Asker) -> bool:
        if self.entries and asker.entry not in self.entries:
            return False
        return asker.is_root or (asker.rank >= self.rank and self.user in (None, asker.user))

    def covers(self, node: UUID, pool: str, labels: Labels) -> bool:
        if self.node is not None:
            return self.node == node
        return self.pool in ("", pool) and self.labels <= labels


@dataclass(frozen=True, slots=True)
class Ticket:
    """The rules that let somebody's runs go somewhere. ``who`` says in words whose and by which way."""

    rules: frozenset[Rule] = frozenset()
    who: str = ""

    def allows(self, node: UUID, slug: str, pool: str, labels: Labels) -> bool:
        return slug == LOCAL or any(rule.covers(node, pool, labels) for rule in self.rules)


@dataclass(frozen=True, slots=True)
class Routes:
    """All rules that are in force, by project."""

    rules: Mapping[UUID, Sequence[Rule]] = field(default_factory=dict)

    def ticket(self, project: UUID, asker: Asker | None, who: str = "") -> Ticket:
        """What this asker may use in the project; without one, what anybody at all may by any entry."""
        rules: Iterable[Rule] = self.rules.get(project, ())
        return Ticket(frozenset(rule for rule in rules if asker is None or rule.admits(asker)), who)
