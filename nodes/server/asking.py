"""Questions before actions: policy first, then people, and a clock that answers if nobody does."""

import asyncio
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from nodes.contract.commands import DecideApproval, StartRun
from nodes.contract.events import ApprovalRequested, ApprovalResolved, Payload, PolicyDecided
from nodes.contract.ids import new_id
from nodes.contract.judged import judged
from nodes.contract.policy import Action, Decision, Policy, Verdict
from nodes.contract.runtime import Answer, Question

from .standing import StandingPolicy

OPEN_QUESTIONS = 100
"""At once at most; an agent that asks more is answered no."""
CLOSED_KEPT = 1_000
"""What became of so many questions is remembered, for decisions that come too late."""

Result = Literal["applied", "expired", "superseded", "hash_mismatch"]
_NO_SUCH = "unknown_approval"


@dataclass(slots=True)
class _Open:
    question: Question
    action_hash: str
    answer: "asyncio.Future[Answer]"
    timer: asyncio.TimerHandle
    is_strict: bool
    """Asked each time: no answer that the runtime remembers counts."""


class Questions:
    """The open questions of one run. The key of their hashes lives and dies with this process."""

    def __init__(self, spec: StartRun, emit: Callable[[Payload], None], on_change: Callable[[], None]) -> None:
        self._standing = StandingPolicy(spec.policy)
        self._seconds = spec.approval_seconds
        self._emit = emit
        self._on_change = on_change
        self._key = secrets.token_bytes(32)
        self._open: dict[str, _Open] = {}
        self._closed: dict[str, Result] = {}
        self._is_over = False

    @property
    def are_open(self) -> bool:
        """Whether the run waits for an answer."""
        return bool(self._open)

    async def ask(self, question: Question) -> Answer:
        """Policy's answer at once, or a person's. Cancelling it withdraws the question as ``superseded``."""
        decision = self._standing.decide(question.actions or [Action(question.kind)])
        if _is_settled(question, decision):
            return Answer(self._by_policy(question, decision))
        if self._is_over or len(self._open) >= OPEN_QUESTIONS:
            return Answer(_choose(question, "reject"))
        id_ = str(new_id())
        held = self._open_question(id_, question, decision)
        try:
            return await held.answer
        finally:
            self._close(id_, "superseded", Answer(None))  # nothing, if it was answered

    def decide(self, decision: DecideApproval) -> str:
        """Apply what the hub decided: "" if that was in time, else what became of the question before."""
        held = self._open.get(decision.approval_id)
        if held is None:
            return self._closed.get(decision.approval_id, _NO_SUCH)
        known = {
            option.option_id
            for option in held.question.options
            if not (held.is_strict and option.kind == "allow_always")  # the hub refuses that as well
        }
        option = decision.option_id if decision.outcome == "selected" else None
        is_same = hmac.compare_digest(decision.action_hash.encode(), held.action_hash.encode())
        if not is_same or (option is not None and option not in known):
            self._close(decision.approval_id, "hash_mismatch", Answer(_choose(held.question, "reject")))
            return "hash_mismatch"
        self._close(decision.approval_id, "applied", Answer(option))
        return ""

    def set_policy(self, policy: Policy) -> None:
        """Judge by this from now on. What is open and needs nobody any more is answered."""
        self._standing = StandingPolicy(policy)
        for id_, held in list(self._open.items()):
            decision = self._standing.decide(held.question.actions or [Action(held.question.kind)])
            held.is_strict = _is_strict(decision)
            if _is_settled(held.question, decision):
                self._close(id_, "superseded", Answer(self._by_policy(held.question, decision, id_)))

    def withdraw(self, *, for_good: bool = False) -> None:
        """The turn is over or interrupted: nobody needs to answer any more."""
        self._is_over |= for_good
        for id_ in list(self._open):
            self._close(id_, "superseded", Answer(None))

    def _by_policy(self, question: Question, decision: Decision, approval_id: str = "") -> str | None:
        """The option that the policy chose; said, so that everybody can see that and why nobody was asked."""
        is_allowed = decision.verdict is Verdict.ALLOW
        option = _choose(question, "allow" if is_allowed else "reject")
        by = decision.decisive
        self._emit(
            PolicyDecided(
                verdict="allow" if is_allowed else "deny",
                kind=by.action.kind.value,
                title=question.title,
                tool_call_id=question.tool_call_id,
                command=question.command,
                paths=list(question.paths),
                level=by.level,
                rule=by.rule,
                grant=by.grant,
                actions=judged(decision),
                option_id=option or "",
                approval_id=approval_id,
            )
        )
        return option

    def _open_question(self, id_: str, question: Question, decision: Decision) -> _Open:
        action_hash = self._hash(id_, question)
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self._seconds, self._expire, id_)
        held = self._open[id_] = _Open(question, action_hash, loop.create_future(), timer, _is_strict(decision))
        self._emit(
            ApprovalRequested(
                approval_id=id_,
                kind=question.kind.value,
                title=question.title,
                tool_call_id=question.tool_call_id,
                command=question.command,
                paths=list(question.paths),
                content=list(question.content),
                options=list(question.options),
                action_hash=action_hash,
                expires_in_seconds=self._seconds,
                actions=judged(decision),
                level=decision.decisive.level,
                rule=decision.decisive.rule,
                is_strict=held.is_strict,
            )
        )
        self._on_change()
        return held

    def _expire(self, id_: str) -> None:
        self._close(id_, "expired", Answer(_choose(self._open[id_].question, "reject")))

    def _close(self, id_: str, result: Result, answer: Answer) -> None:
        held = self._open.pop(id_, None)
        if held is None:
            return
        held.timer.cancel()
        self._closed[id_] = result
        if len(self._closed) > CLOSED_KEPT:
            del self._closed[next(iter(self._closed))]
        self._emit(
            ApprovalResolved(
                approval_id=id_,
                result=result,
                outcome="cancelled" if answer.option_id is None else "selected",
                option_id=answer.option_id or "",
            )
        )
        if not held.answer.done():
            held.answer.set_result(answer)
        self._on_change()

    def _hash(self, id_: str, question: Question) -> str:
        exact = json.dumps([id_, question.kind.value, question.action, [o.option_id for o in question.options]])
        return hmac.new(self._key, exact.encode(), hashlib.sha256).hexdigest()


def _is_settled(question: Question, decision: Decision) -> bool:
    """Whether the policy answers by itself. Where the runtime offers no way to allow this once, people are asked."""
    is_allowed = decision.verdict is Verdict.ALLOW and _choose(question, "allow") is not None
    return is_allowed or decision.verdict is Verdict.DENY


def _is_strict(decision: Decision) -> bool:
    return any(ruling.is_strict for ruling in decision.rulings)


def _choose(question: Question, wish: Literal["allow", "reject"]) -> str | None:
    """By kind, never by id. None is the runtime's *cancelled*.

    Allowing is for this once: a runtime that was told "always" asks no more, and no later denial would reach it.
    """
    for kind in ("allow_once",) if wish == "allow" else ("reject_once", "reject_always"):
        for option in question.options:
            if option.kind == kind:
                return option.option_id
    return None
