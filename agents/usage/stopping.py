"""The loop that ends what a spent budget no longer pays for."""

from datetime import datetime
from functools import reduce
from operator import or_
from typing import Final

from django.db.models import Q

from agenthub_site.accounts.actors import SYSTEM
from nodes.contract.errors import WrongState
from nodes.contract.reasons import Reason

from ..models import Run
from ..services.runs import cancel_run
from ..states import LIVE, State
from .budgets import judge
from .models import Budget

_AT_ONCE: Final = 200


def tick(now: datetime) -> int:
    """Queued runs of a spent budget end, as new ones are refused; live ones too where it says so. How many did."""
    spent = judge(now)
    if not spent:
        return 0
    wanted = reduce(or_, (_runs_of(budget) for budget in spent))
    ended = 0
    for run in Run.objects.filter(wanted, ended_at=None).exclude(state=State.STOPPING).order_by("pk")[:_AT_ONCE]:
        try:
            cancel_run(run, by=SYSTEM, reason=Reason.BUDGET_EXCEEDED)
            ended += 1
        except WrongState:  # it ended meanwhile
            continue
    return ended


def _runs_of(budget: Budget) -> Q:
    states = LIVE if budget.on_exceeded == Budget.OnExceeded.STOP else {State.QUEUED}
    mine = Q(state__in=states)
    if budget.user_id:
        return mine & Q(user=budget.user_id)
    if budget.agent_id:
        return mine & Q(agent=budget.agent_id)
    return mine & Q(project=budget.project_id) if budget.project_id else mine
