"""Where earlier runs left off, so that a run that resumes one goes on there: in its session, in its worktree."""

import json
from collections.abc import Sequence
from typing import Final, NamedTuple
from uuid import UUID

from django.db.models import F

from nodes.contract.commands import Workspace
from nodes.contract.events import RunStarted

from ..models import Run, RunEvent

GO_ON: Final = "You were cut off while you worked on this. See what is done already, then go on.\n\n"
"""What is put before the prompt of a run that begins anew with the prompt of the one that it resumes."""


class LeftOff(NamedTuple):
    """An earlier run, as it was on its node."""

    node: UUID | None
    prompt: str
    session: str
    workspace: str
    branch: str

    def prompt_for(self, run: Run) -> str:
        return GO_ON + run.prompt if run.prompt == self.prompt else run.prompt

    def workspace_for(self, configured: Workspace) -> Workspace:
        """A worktree that was made for the earlier run has its work in it."""
        if configured.mode != "create_worktree" or not (self.branch and self.workspace):
            return configured
        return Workspace(mode="reuse_worktree", workdir=self.workspace, worktree_root=configured.worktree_root)


def left_off(runs: Sequence[Run]) -> dict[UUID, LeftOff]:
    """Of those that resume a run whose session is known, where that one left off, by the new run's id. One query.

    Not of a run that the hub only presumed to be over: its node may still have it at work there.
    """
    resumed = {run.resumes_id: run.pk for run in runs if run.resumes_id}
    if not resumed:
        return {}
    begun = RunEvent.objects.filter(run__in=list(resumed), run__presumed_at=None, type=RunStarted.TYPE).order_by("seq")
    found = {}
    for run_id, node, prompt, payload in begun.values_list("run_id", F("run__node_id"), F("run__prompt"), "payload"):
        told = json.loads(payload)
        if told.get("session_id"):
            place = (told["session_id"], told.get("workspace", ""), told.get("branch", ""))
            found[resumed[run_id]] = LeftOff(node, prompt, *place)
    return found
