"""Runs that are started anew, since what carried them died on their node."""

from typing import Final

from agenthub_site.accounts.actors import SYSTEM
from agenthub_site.accounts.authentication import actor_of
from agenthub_site.accounts.permissions import Can, may
from audit.services import record
from nodes.contract.commands import CancelRun
from nodes.contract.reasons import Reason
from nodes.models import Command
from nodes.routes import tickets

from ..models import Run
from ..usage.budgets import BudgetExceeded, require_budget
from .routing import leads_somewhere

RESUMED: Final = frozenset({Reason.NODE_REBOOTED, Reason.SUPERVISOR_LOST})
"""Endings that are nobody's wish and no fault of the agent's, and that the node itself has given."""


def resume_run(run: Run) -> Run | None:
    """Queue a run that begins anew with the prompt of one that ended so, if its agent wants that. Once.

    Not for a run that somebody had cancelled, nor for a person who may start no runs there any more, or whom no route
    lets use the node. It is placed as any other run, and goes on in the session and worktree of ``run`` if it comes to
    the same node and the runtime can. Inside the transaction that ended ``run``.
    """
    agent = run.agent
    if not agent.resume or agent.archived_at or run.resumes_id is not None:
        return None
    if Command.objects.filter(run=run.pk, kind=CancelRun.KIND).exists():
        return None
    if Run.objects.filter(resumes=run).exists():  # somebody went on from it while its node was taken for gone
        return None
    if run.user is not None and not (run.user.is_active and may(actor_of(run.user), Can.START_RUN, run.project_id)):
        return None
    passenger = (run.project_id, run.user_id, run.entry)
    if not leads_somewhere(agent, tickets([passenger])[passenger]):
        return None
    try:
        require_budget(agent, run.user_id)
    except BudgetExceeded:
        return None
    again = Run.objects.create(
        project_id=run.project_id,
        agent=agent,
        node_id=agent.node_id,
        user_id=run.user_id,
        entry=run.entry,
        prompt=run.prompt,
        keep_open=run.keep_open,
        resumes=run,
    )
    record(
        run.project_id, "run.queued", by=SYSTEM, of=("run", again.pk), run=again.pk, node=again.node_id,
        resumes=str(run.pk),
    )  # fmt: skip
    return again
