"""Who writes and who is written to: ``agent:018f…``, ``user:018f…``, ``webhook:018f…``."""

from dataclasses import dataclass
from typing import Final, Self
from uuid import UUID

from nodes.contract.errors import Invalid

KINDS: Final = frozenset({"user", "agent", "node", "integration", "system", "webhook"})
ID_CHARS: Final = 64


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """An actor, or something else with an inbox. Raises ``Invalid`` for a kind that does not exist."""

    kind: str
    id: str

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            message = f"There is no kind of address {self.kind[:32]!r}; there are {', '.join(sorted(KINDS))}."
            raise Invalid(message, fields={"kind": [message]})
        if not (0 < len(self.id) <= ID_CHARS and self.id.isprintable()):
            raise Invalid(f"The id of an address has 1 to {ID_CHARS} printable characters.")

    @classmethod
    def of(cls, kind: str, id_: UUID | str) -> Self:
        return cls(str(kind), str(id_))

    @classmethod
    def parse(cls, text: str) -> Self:
        """``kind:id``. Raises ``Invalid``."""
        kind, colon, id_ = text.partition(":")
        if not colon:
            raise Invalid(f"An address is kind:id, such as agent:018f3a52-…: {text[:80]!r} is none.")
        return cls(kind, id_)

    @property
    def stream(self) -> str:
        """The name under which the bell rings for its inbox."""
        return f"mail:{self}"

    def __str__(self) -> str:
        return f"{self.kind}:{self.id}"
