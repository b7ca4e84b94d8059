"""A run that is followed over SSE from its start, and compared at its end with what else there is of it."""

import json
from collections.abc import Callable
from typing import Any

from tests.journeys.hub import Follower, Hub
from tests.support import eventually

SECONDS = 180.0
Stored = Callable[[str], list[tuple[int, str, str]]]


class Followed:
    """``stored`` reads a run's (seq, type, payload) from the database itself."""

    def __init__(self, hub: Hub, stored: Stored, agent: str, prompt: str, *options: str) -> None:
        self._hub = hub
        self._stored = stored
        self.id = hub.start_run(prompt, agent, *options)
        self.follower: Follower = hub.follow(self.id)

    def steps(self) -> list[int]:
        """The numbers that the agent gave to its updates, as they were seen."""
        return [
            int(event["payload"]["entries"][0]["content"].split()[0])
            for event in self.follower.events
            if event["type"] == "run.plan.updated"
        ]

    def said(self) -> list[str]:
        """The agent's messages."""
        return [event["payload"]["text"] for event in self.follower.events if event["type"] == "run.message.completed"]

    def comes_to(self, step: int) -> None:
        eventually(lambda: self.steps()[-1:] >= [step], SECONDS)

    def waits_for_input(self) -> None:
        eventually(lambda: self._hub.run_of(self.id)["reason"] == "input", SECONDS)

    def ends(self, code: int = 0) -> list[Any]:
        """Its events, which are the database's exactly, numbered from 1 without a gap."""
        assert self.follower.wait(SECONDS) == code, self.follower.said
        seen = [(event["seq"], event["type"], event["payload"]) for event in self.follower.events]
        stored = [(seq, kind, json.loads(payload)) for seq, kind, payload in self._stored(self.id)]
        assert seen == stored
        assert [seq for seq, _, _ in seen] == list(range(1, len(seen) + 1))
        return self.follower.events

    def ends_whole(self, updates: int) -> None:
        """As ``ends``; and it is what the agent wrote, once each."""
        self.ends()
        assert self.steps() == list(range(1, updates + 1))
