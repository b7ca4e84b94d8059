"""Start, steer and stop runs."""

import re
from typing import Any, Final

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from agenthub_site.accounts.actors import Actor
from agenthub_site.accounts.permissions import Can, require
from audit.services import record
from nodes import outbox
from nodes.contract.commands import CancelRun, SendInput, SetPolicy, StartRun
from nodes.contract.errors import Conflict, Invalid, TooLarge, WrongState
from nodes.contract.events import RunCancelled, StateChanged
from nodes.contract.ids import new_id
from nodes.contract.limits import PROMPT_BYTES
from nodes.contract.reasons import Reason
from nodes.models import Command, Node
from nodes.peering import require_peer

from ..isolation import require_isolation
from ..models import Agent, Run
from ..placement import Wait
from ..states import ON_NODE, State
from ..usage.budgets import require_budget
from .compiling import terms_of
from .events import append_event
from .left_off import left_off
from .moves import KEPT, lock_run, move_run
from .placing import find_place, hand_over, start_command
from .policies import share_policy
from .routing import missing_route, ticket_of

_INPUT_ID: Final = re.compile(r"[\w.\-]{1,64}", re.ASCII)


class PromptTooLarge(TooLarge):
    code = "prompt_too_large"
    message = f"A prompt has at most {PROMPT_BYTES // 1024} KiB. Put long material into a file of the workspace."


class AlreadyResumed(Conflict):
    code = "already_resumed"
    message = "The run was resumed before. Resume the one that went on from it."


class InputConflict(Conflict):
    code = "input_conflict"
    message = "Another input was sent to this run under that input_id. Use a new id for a new input."


@transaction.atomic
def start_run(agent: Agent, *, by: Actor, prompt: str, keep_open: bool = False, resumes: Run | None = None) -> Run:
    """Queue a run, and hand it to a node at once if one can take it and nobody waits for it.

    ``resumes``: an ended run of the agent, in whose session and worktree this one goes on, if it comes to the same
    node and the runtime can; an empty prompt then is that run's own.

    Raises ``Invalid`` for an empty prompt, a command that should be kept open, an agent that no node could start or a
    resumed run of another agent, ``AlreadyResumed``, ``PromptTooLarge``, ``WrongState`` for an archived agent or a
    resumed run that is not over, ``RouteMissing`` where whoever starts it may not use any
    of the agent's nodes, ``PeerNotConfigured`` for a node that this hub could not dial, ``IsolationUnavailable`` for
    one that cannot isolate the run as is demanded.
    """
    require(by, Can.START_RUN, agent)
    if resumes is not None:
        _check_resumed(resumes, agent)
        prompt = prompt or resumes.prompt
    prompt = _checked_prompt(prompt)
    if agent.archived_at:
        raise WrongState(f"The agent {agent.name} is archived; it starts no more runs.")
    if agent.is_external:
        raise WrongState(f"{agent.name} is started elsewhere: it comes by MCP, and has no runs here.")
    if keep_open and agent.runtime != Agent.Runtime.ACP:
        problem = "A command takes its prompt once, at the start; it cannot be kept open."
        raise Invalid(problem, fields={"keep_open": [problem]})
    require_isolation(agent)
    run_id, now = new_id(), timezone.now()
    require_budget(agent, by.user_id, now)
    share_policy()
    found = find_place(agent, run_id, now, ticket_of(agent, by))
    if isinstance(found, Wait) and found.reason is Reason.ROUTE_MISSING:
        raise missing_route(agent, by)
    node = found if isinstance(found, Node) else agent.node
    if node:
        require_peer(settings.CONFIG, node)
    waits_for = found if isinstance(found, Wait) else Wait(Reason.QUEUED)
    try:
        with transaction.atomic():
            run = Run.objects.create(
                id=run_id,
                project_id=agent.project_id,
                agent=agent,
                node_id=agent.node_id,
                user_id=by.user_id,
                entry=by.entry,
                reason=waits_for.reason,
                message=waits_for.message,
                prompt=prompt,
                keep_open=keep_open,
                resumes=resumes,
            )
    except IntegrityError as error:
        if resumes is None:
            raise
        raise AlreadyResumed from error
    command = start_command(
        run, found if isinstance(found, Node) else None, terms_of([agent])[agent.pk], left_off([run]).get(run.pk)
    )
    told: dict[str, Any] = {"resumes": str(resumes.pk)} if resumes else {}
    record(agent.project_id, "run.queued", by=by, of=("run", run.pk), run=run.pk, node=agent.node_id, **told)
    if isinstance(found, Node):
        run.node = found
        hand_over([(run, command)], now)
    return run


@transaction.atomic
def cancel_run(run: Run, *, by: Actor, reason: Reason = Reason.CANCEL_REQUESTED) -> Run:
    """End a run: at once while no node has heard of it, otherwise by asking its node. Cancelling twice is one cancel.

    If the node stays silent, the reconciler ends the run. Raises ``WrongState`` for a run that ended otherwise.
    """
    require(by, Can.CANCEL_RUN, run)
    run = lock_run(run.pk)
    if run.state in (State.CANCELLED, State.STOPPING) or outbox.is_pending(run.pk, CancelRun.KIND):
        return run
    if run.state == State.QUEUED or (run.state == State.STARTING and outbox.withdraw_unsent(run.pk, StartRun.KIND)):
        outbox.withdraw_unsent(run.pk, SetPolicy.KIND)
        move_run(run, State.CANCELLED, by=by, reason=reason if reason in KEPT else Reason.CANCELLED)
        append_event(run, RunCancelled(message=f"Cancelled by {by.label or by.kind} before it was started."))
    else:
        move_run(run, State.STOPPING, by=by, reason=reason)
        append_event(run, StateChanged(state=State.STOPPING, reason=reason, by=by.as_who()))
        outbox.queue_command(run.placed_node_id, CancelRun(run=str(run.pk), by=by.as_who()), run=run.pk)
    return run


@transaction.atomic
def send_input(run: Run, *, by: Actor, text: str, input_id: str | None = None, mode: str = "queue") -> str:
    """Give the agent one more prompt; the same ``input_id`` twice is one input. Returns the input's id.

    ``mode`` is ``queue`` (after the present turn) or ``interrupt`` (in its place). ``WrongState`` for an ended run,
    ``InputConflict`` for an id under which something else was sent, ``BudgetExceeded`` as for a new run.
    """
    require(by, Can.SEND_INPUT, run)
    text = _checked_prompt(text)
    if mode not in ("queue", "interrupt"):
        raise Invalid("mode is 'queue' or 'interrupt'.", fields={"mode": ["is 'queue' or 'interrupt'"]})
    input_id = input_id or str(new_id())
    if not _INPUT_ID.fullmatch(input_id):
        problem = "has 1 to 64 letters, digits, '_', '-' and '.'"
        raise Invalid(f"An input_id {problem}.", fields={"input_id": [problem]})
    body = SendInput.model_validate({"run": str(run.pk), "input_id": input_id, "text": text, "mode": mode})
    run = lock_run(run.pk)
    if _was_sent(run, body):  # whatever became of the run since
        return input_id
    if run.state not in ON_NODE - {State.STOPPING}:
        raise WrongState(f"The run is {run.state}; it takes no input now.", state=run.state)
    if run.agent.runtime != Agent.Runtime.ACP:
        raise WrongState("A command takes its prompt once, at the start; it has no further input.")
    require_budget(run.agent, run.user_id)
    outbox.queue_command(run.placed_node_id, body, run=run.pk, key=input_id)
    record(run.project_id, "run.input_sent", by=by, of=("run", run.pk), run=run.pk, node=run.node_id, input=input_id)
    return input_id


def _check_resumed(run: Run, agent: Agent) -> None:
    """Without a lock, which the node's has to precede: of two that resume one, the database lets one through."""
    if run.agent_id != agent.pk:
        problem = "is a run of another agent"
        raise Invalid(f"The run to resume {problem}.", fields={"resumes": [problem]})
    if not run.is_ended:
        raise WrongState(
            f"The run is {run.state}. It can be resumed once it is over; until then it takes input.", state=run.state
        )
    if again := Run.objects.filter(resumes=run).first():
        raise AlreadyResumed(run=str(again.pk))


def _was_sent(run: Run, body: SendInput) -> bool:
    """Whether this very input was sent before. ``InputConflict`` if its id was another one's."""
    if body.input_id == str(run.pk):  # what the run was started with
        raise InputConflict(input_id=body.input_id)
    sent = Command.objects.filter(run=run.pk, kind=SendInput.KIND, key=body.input_id).first()
    if sent and sent.digest != outbox.digest_of(body.model_dump_json()):
        raise InputConflict(input_id=body.input_id)
    return sent is not None


def _checked_prompt(text: str) -> str:
    text = text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
    if not text.strip():
        raise Invalid("The prompt is empty: say what the agent should do.", fields={"prompt": ["must not be empty"]})
    if len(text.encode()) > PROMPT_BYTES:
        raise PromptTooLarge(limit_bytes=PROMPT_BYTES)
    return text
