"""The policy a node applies by itself: what may go on, what must be asked, what is refused.

Until rules per project exist there is one: reading is allowed, all else is asked.
"""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class ActionKind(StrEnum):
    """What an agent wants to do."""

    READ = "read"
    WRITE = "write"
    SHELL = "shell"
    NETWORK = "network"
    PUBLISH = "publish"
    OTHER = "other"


class Verdict(StrEnum):
    ALLOW = "allow"
    ASK = "ask"
    DENY = "deny"


class Policy(BaseModel):
    """Kinds of action that need no question. Travels with StartRun and is applied by the supervisor."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    allow: frozenset[ActionKind] = frozenset({ActionKind.READ})
    deny: frozenset[ActionKind] = frozenset()

    def decide(self, kind: ActionKind) -> Verdict:
        """Deny beats allow; what neither names is asked."""
        if kind in self.deny:
            return Verdict.DENY
        return Verdict.ALLOW if kind in self.allow else Verdict.ASK
