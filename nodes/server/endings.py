"""How runs end: one reason each, and what the process said."""

from dataclasses import dataclass
from typing import Literal

from nodes.contract.events import Payload, RunCancelled, RunCompleted, RunFailed, RuntimeTimeout, RuntimeUnavailable
from nodes.contract.reasons import Reason
from nodes.contract.runtime import TurnEnd

_UNAVAILABLE = frozenset({Reason.RUNTIME_NOT_INSTALLED, Reason.LOGIN_REQUIRED})
_BY_THE_PROCESS = frozenset({Reason.AGENT_EXITED, Reason.AGENT_KILLED, Reason.AGENT_FAILED, Reason.PROTOCOL_ERROR})
_MAY_RESUME = frozenset({
    Reason.AGENT_EXITED, Reason.AGENT_KILLED, Reason.OUT_OF_MEMORY, Reason.TURN_TIMEOUT, Reason.DISCONNECTED,
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ending:
    """Decided before everything is wound up, said after."""

    how: Literal["completed", "failed", "cancelled"]
    reason: Reason = Reason.FINISHED
    message: str = ""
    stop_reason: str = ""
    timeout: RuntimeTimeout | None = None


@dataclass(frozen=True, slots=True)
class Exit:
    """How the agent's process ended, if there was one and it did."""

    status: int | None = None
    was_out_of_memory: bool = False

    @property
    def code(self) -> int | None:
        return self.status if self.status is not None and self.status >= 0 else None

    @property
    def signal(self) -> int | None:
        return -self.status if self.status is not None and self.status < 0 else None


def failed(reason: Reason, message: str) -> Ending:
    return Ending("failed", reason, message)


def timed_out(what: Literal["start", "turn"], seconds: float) -> Ending:
    """A bound of the run's own ran out."""
    reason, doing = (
        (Reason.START_TIMEOUT, "become ready") if what == "start" else (Reason.TURN_TIMEOUT, "finish its turn")
    )
    message = f"The agent did not {doing} within {seconds:g} seconds."
    return Ending("failed", reason, message, timeout=RuntimeTimeout(what=what, seconds=seconds))


def disconnected(seconds: float) -> Ending:
    """Its agent does not want it to go on without the hub for longer."""
    return failed(Reason.DISCONNECTED, f"Stopped on its node, which was without its hub for {seconds:g} seconds.")


def by_turn(end: TurnEnd, exit_: Exit) -> Ending:
    """The ending of a run whose last turn ended so."""
    if not end.is_failure:
        return Ending("completed", stop_reason=end.stop_reason)
    if exit_.signal is not None:
        return failed(Reason.AGENT_KILLED, f"The agent was ended by signal {exit_.signal}.")
    if exit_.status is not None:
        return failed(Reason.AGENT_EXITED, f"The agent exited with status {exit_.status}.")
    reason = Reason.REFUSED if end.stop_reason == "refusal" else Reason.AGENT_FAILED
    return failed(reason, end.message or f"The turn ended with {end.stop_reason!r}.")


def payloads(ending: Ending, exit_: Exit, runtime: str, *, may_resume: bool) -> list[Payload]:
    """The records that end the run; the last one is its ending."""
    if ending.how == "completed":
        return [RunCompleted(stop_reason=ending.stop_reason, exit_code=exit_.code)]
    if ending.how == "cancelled":
        return [RunCancelled(message=ending.message, exit_code=exit_.code, signal=exit_.signal)]
    reason, message = ending.reason, ending.message
    if exit_.was_out_of_memory and reason in _BY_THE_PROCESS:
        reason, message = Reason.OUT_OF_MEMORY, "The kernel killed the agent, as memory ran out on the node."
    said: list[Payload] = [ending.timeout] if ending.timeout else []
    if reason in _UNAVAILABLE:
        said.append(RuntimeUnavailable(reason=reason.value, message=message, runtime=runtime))
    said.append(
        RunFailed(
            reason=reason.value,
            message=message,
            exit_code=exit_.code,
            signal=exit_.signal,
            may_resume=may_resume and reason in _MAY_RESUME,
        )
    )
    return said
