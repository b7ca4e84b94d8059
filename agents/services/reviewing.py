"""Who is asked before an action, and when: what the policy says of a run's questions."""

from dataclasses import dataclass
from uuid import UUID

from ..models import Run


@dataclass(frozen=True, slots=True)
class Review:
    """``roles``: of the project; none of them means all that may answer. ``agent_id`` is asked first, people after
    ``people_after_seconds``; ``expires_seconds``: how long there is to answer."""

    roles: tuple[str, ...] = ()
    agent_id: UUID | None = None
    people_after_seconds: float | None = None
    expires_seconds: float | None = None


def review_of(run: Run) -> Review:
    """Everybody whose role may answer, at once."""
    return Review()
