"""A run's turns: prompts go to the runtime one after the other, under a clock, a watch and interruptions."""

import asyncio
from collections.abc import Callable

from nodes.contract.commands import StartRun
from nodes.contract.events import TurnCompleted, TurnStarted
from nodes.contract.reasons import Reason
from nodes.contract.runtime import Runtime, RuntimeFailed, TurnEnd

from .asking import Questions
from .endings import Ending, Exit, by_turn, timed_out
from .process import Process
from .recorder import Recorder
from .turns import Input, SilenceTimer, TurnQueue

SHOWN_CHARS = 16_000
EXIT_SECONDS = 10.0
"""After the process has ended: how long its adapter may take to read what it left."""
INTERRUPT_SECONDS = 10.0
"""How long the runtime may take to hear an interruption; how long to obey it says the run's grace."""


class TurnTimedOut(Exception):
    """The present turn took longer than the run allows."""


class Conversation:
    """Runs turns until there is no more to do. Cancelling ``run`` leaves the process to the supervisor."""

    def __init__(
        self,
        spec: StartRun,
        recorder: Recorder,
        questions: Questions,
        silence: SilenceTimer,
        *,
        say_state: Callable[[str, Reason, str], None],
        say_at_work: Callable[[], None],
    ) -> None:
        self._spec = spec
        self._recorder = recorder
        self._questions = questions
        self._silence = silence
        self._say_state = say_state
        self._say_at_work = say_at_work
        self._turn = 0
        self.queue = TurnQueue(Input(spec.input_id, spec.prompt))
        self.is_in_turn = False
        self.is_stopping = False
        """Set by the supervisor: the present turn is the last."""

    async def run(self, runtime: Runtime, process: Process) -> Ending:
        """All turns; how the run is to end. No input is taken after it."""
        try:
            return await self._run_turns(runtime, process)
        finally:
            self.queue.close()

    async def _run_turns(self, runtime: Runtime, process: Process) -> Ending:
        while True:
            input_ = await self._next(process)
            if input_ is None:
                raise RuntimeFailed(Reason.AGENT_EXITED, "The agent ended while it waited for input.")
            try:
                end = await self._run_turn(runtime, process, input_)
            except TurnTimedOut:
                return timed_out("turn", self._spec.turn_seconds or 0.0)
            if process.exited.done() or self.is_stopping:
                return by_turn(end, Exit(process.exited.result() if process.exited.done() else None))
            if not self._spec.keep_open and (end.is_failure or self.queue.is_empty):
                return by_turn(end, Exit())

    async def _next(self, process: Process) -> Input | None:
        """The next input; None if the process ends first."""
        if self.queue.is_empty:
            self._say_state("waiting", Reason.INPUT, "")
        coming = asyncio.create_task(self.queue.next())
        await asyncio.wait((coming, process.exited), return_when=asyncio.FIRST_COMPLETED)
        if not coming.done():
            await _drop(coming)
            return None
        self._say_at_work()
        return coming.result()

    async def _run_turn(self, runtime: Runtime, process: Process, input_: Input) -> TurnEnd:
        self._turn += 1
        shown = input_.text[:SHOWN_CHARS]
        self._recorder.emit(
            TurnStarted(turn=self._turn, input_id=input_.id, text=shown, truncated=len(shown) < len(input_.text))
        )
        self._silence.start()
        self.is_in_turn = True
        prompt = asyncio.create_task(runtime.prompt(input_.text))
        try:
            end = await self._attend(prompt, runtime, process)
        finally:
            self.is_in_turn = False
            self._silence.stop()
            await _drop(prompt)
            self._questions.withdraw()
        self._recorder.emit(TurnCompleted(turn=self._turn, stop_reason=end.stop_reason))
        return end

    async def _attend(self, prompt: "asyncio.Task[TurnEnd]", runtime: Runtime, process: Process) -> TurnEnd:
        """Until the turn ends, is interrupted, its process ends, or its time is up."""
        interruption = asyncio.create_task(self.queue.interruption.wait())
        try:
            await asyncio.wait(
                (prompt, interruption, process.exited),
                timeout=self._spec.turn_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if prompt.done():
                return prompt.result()
            if interruption.done():
                return await self._interrupt(prompt, runtime)
            if not process.exited.done():
                raise TurnTimedOut
            await asyncio.wait((prompt,), timeout=EXIT_SECONDS)
            if prompt.done():
                return prompt.result()
            raise _gone(process.exited.result())
        finally:
            await _drop(interruption)

    async def _interrupt(self, prompt: "asyncio.Task[TurnEnd]", runtime: Runtime) -> TurnEnd:
        self._questions.withdraw()
        await interrupt(runtime)
        await asyncio.wait((prompt,), timeout=self._spec.stop_grace_seconds)
        if prompt.done():
            return prompt.result()
        grace = f"{self._spec.stop_grace_seconds:g}"
        raise RuntimeFailed(Reason.PROTOCOL_ERROR, f"The agent did not end its turn within {grace} s of being told to.")


async def interrupt(runtime: Runtime) -> None:
    """Tell the runtime, and do not wait for ever for it to take the message."""
    telling = asyncio.create_task(runtime.interrupt())
    await asyncio.wait((telling,), timeout=INTERRUPT_SECONDS)
    await _drop(telling)


async def _drop(task: "asyncio.Task[object]") -> None:
    """Cancel a task whose result is no longer wanted, and see it end. One that is done keeps its result."""
    if not task.done():
        task.cancel()
    await asyncio.wait((task,))
    if not task.cancelled():
        task.exception()  # it was looked at: nothing to complain about


def _gone(status: int) -> RuntimeFailed:
    if status < 0:
        return RuntimeFailed(Reason.AGENT_KILLED, f"The agent was ended by signal {-status}.")
    return RuntimeFailed(Reason.AGENT_EXITED, f"The agent exited with status {status}.")
