"""The supervisor of one run: owns its process, its spool, its clocks and its ending. No Django, no gRPC.

It runs in a process of its own, forked by the spawner, and needs neither spawner nor node
server once it has begun. What it owes the world is exactly one ending record, written
last, when nothing of the run is alive any more.
"""

import asyncio
import importlib
import os
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import structlog
from pydantic import ValidationError

from nodes.contract.commands import CancelRun, DecideApproval, SendInput, SetPolicy, StartRun
from nodes.contract.errors import HubError
from nodes.contract.events import RunStarted, StartPhases, StateChanged
from nodes.contract.reasons import Reason
from nodes.contract.runtime import Runtime, RuntimeFailed, RuntimeInfo
from nodes.runtimes.presets import PRESETS

from . import artifacts, other_user
from .actor_calls import actor_directory, actor_environment, needed_for_calls
from .asking import Questions
from .commandlog import Accepted
from .control import ControlServer, Hello
from .conversation import Conversation, interrupt
from .diff import make_diff
from .disconnection import Disconnection
from .endings import Ending, Exit, disconnected, failed, payloads, timed_out
from .environment import base_environment
from .host import RunHost, known_secrets
from .memory import oom_kills
from .node_secrets import NodeSecrets
from .other_user import OtherUser
from .paths import OutsideSafePaths, SafePaths
from .proc import RUN_MARKER
from .process import reap_orphans
from .recorder import Recorder
from .redaction import Redactor
from .rundir import RunDir, RunLocked
from .sandbox import Sandbox, mask
from .spool import SpoolWriter
from .sweep import become_subreaper, sweep
from .turns import Input, SilenceTimer
from .workspace import Prepared, WorkspaceFailed, configured_paths, prepare

logger = structlog.get_logger(__name__)

CLOSE_SECONDS = 5.0
TERM_SECONDS = KILL_SECONDS = 2.0
DIFF_SECONDS = 180.0
REAP_SECONDS = 0.5
FULL_SECONDS = 600.0
"""How long a full spool may hold the agent up before the run ends ``disk_full``."""
RUNTIMES: dict[str, tuple[str, str]] = {
    "acp": ("nodes.runtimes.acp", "AcpRuntime"),
    "command": ("nodes.runtimes.command", "CommandRuntime"),
}


def supervise(run: RunDir, safe: SafePaths) -> int:
    """Be the supervisor of ``run`` until it has ended; returns an exit code. A run that began is never begun again."""
    try:
        lock = run.take_lock()
    except RunLocked:
        logger.warning("run.has_a_supervisor", run=run.run_id)
        return 1
    if run.has_begun():
        logger.warning("run.began_before", run=run.run_id)
        return 1
    lock.sign()
    spec = run.read_spec()
    writer = SpoolWriter(run.path, run.generation())
    become_subreaper()
    with structlog.contextvars.bound_contextvars(run=run.run_id):
        return asyncio.run(_supervise(run, spec, safe, writer))


async def _supervise(run: RunDir, spec: StartRun, safe: SafePaths, writer: SpoolWriter) -> int:
    supervisor = Supervisor(run, spec, safe, writer)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, supervisor.cancel, "The node told the run's supervisor to stop.")
    loop.add_signal_handler(signal.SIGCHLD, supervisor.on_child)
    return await supervisor.run()


class Supervisor:
    """One run, from its workspace to its ending."""

    def __init__(self, run: RunDir, spec: StartRun, safe: SafePaths, writer: SpoolWriter) -> None:
        self._dir = run
        self._spec = spec
        self._safe = safe
        self._disconnection = Disconnection(spec.stop_after_seconds, self._on_disconnected)
        self._control = ControlServer(
            self._hello, self._on_command, self._on_acked, self._on_hold, self._disconnection.told
        )
        # Until the workspace is there only this node has spoken: of the directory that the agent was configured with.
        redactor = Redactor(known_secrets(spec), configured=configured_paths(spec.workspace))
        self._recorder = Recorder(writer, redactor, self._control.announce, self._on_full)
        self._generation = writer.generation
        self._questions = Questions(spec, self._recorder.emit, self._on_questions)
        self._silence = SilenceTimer(
            spec.stall_seconds,
            lambda: self._say_state("running", Reason.STALLED, f"Silent for {spec.stall_seconds:g} seconds."),
            lambda: self._say_state("running", Reason.NONE),
        )
        self._talk = Conversation(
            spec,
            self._recorder,
            self._questions,
            self._silence,
            say_state=self._say_state,
            say_at_work=self._say_at_work,
        )
        self._marker = {RUN_MARKER: spec.run}
        self._actor_directory = actor_directory(run.path.parent.parent)
        self._state: tuple[str, Reason] = ("starting", Reason.NONE)
        self._applied: set[str] = set()
        self._asked_to_stop = asyncio.Event()
        self._stop_as = (Reason.NONE, Ending("cancelled"))
        """Why it stops, and how it will have ended, once it is asked to."""
        self._gave_up = asyncio.Event()
        self._full_timer: asyncio.TimerHandle | None = None
        self._reap_timer: asyncio.TimerHandle | None = None
        self._prepared: Prepared | None = None
        self._secrets: dict[str, str] = {}
        self._host: RunHost | None = None
        self._runtime: Runtime | None = None
        self._info = RuntimeInfo()
        self._oom_kills = oom_kills()

    async def run(self) -> int:
        """The whole run. Zero if its ending is on the disk."""
        await self._control.start(self._dir.control_socket)
        self._disconnection.start()
        for command in self._dir.commands.pending():
            self._on_command(command)
        ending = await self._live()
        try:
            exit_ = await self._wind_up()
            ending = await self._look_back(ending)
            await self._keep_artifacts()
        except Exception:
            logger.exception("run.wind_up_failed")
            exit_ = Exit()
            await sweep(self._spec.run, os.getpid())
        return await self._end(ending, exit_)

    def cancel(self, message: str = "") -> None:
        """End the run soon; the first call counts."""
        self._stop(Reason.CANCEL_REQUESTED, Ending("cancelled", Reason.CANCELLED, message))

    def _on_disconnected(self) -> None:
        seconds = self._spec.stop_after_seconds or 0.0
        logger.warning("run.disconnected", seconds=seconds)
        self._stop(Reason.DISCONNECTED, disconnected(seconds))

    def _stop(self, reason: Reason, ending: Ending) -> None:
        if not self._asked_to_stop.is_set():
            self._stop_as = reason, ending
            self._asked_to_stop.set()

    def on_child(self) -> None:
        """Some child has died; orphans among them are reaped soon, many at a time."""
        if self._reap_timer is None:
            self._reap_timer = asyncio.get_running_loop().call_later(REAP_SECONDS, self._reap)

    def _reap(self) -> None:
        self._reap_timer = None
        reap_orphans()

    # Living.

    async def _live(self) -> Ending:
        """Work until it ends by itself, is told to stop, or the disk stays full."""
        work = asyncio.create_task(self._work())
        stop = asyncio.create_task(self._asked_to_stop.wait())
        give_up = asyncio.create_task(self._gave_up.wait())
        await asyncio.wait((work, stop, give_up), return_when=asyncio.FIRST_COMPLETED)
        try:
            if work.done():
                return _ending_of(work)
            if give_up.done():
                return failed(Reason.DISK_FULL, "The node's spool was full, and the hub took no records for too long.")
            reason, ending = self._stop_as
            self._say_state("stopping", reason)
            await self._stop_turn(work)
            return ending
        finally:
            for task in (work, stop, give_up):
                task.cancel()
            await asyncio.wait((work, stop, give_up), timeout=CLOSE_SECONDS)
            self._silence.stop()
            self._disconnection.stop()

    async def _work(self) -> Ending:
        began = time.monotonic()
        self._prepared = await prepare(self._spec, self._safe, self._marker, self._become())
        prepared = time.monotonic()
        workspace = self._prepared.path
        same = [path for path in configured_paths(self._spec.workspace) if Path(path).resolve() == workspace]
        kept = NodeSecrets(self._dir.path.parent.parent / "secrets")
        self._secrets = kept.resolve(self._spec.runtime.environment, self._spec.project_slug)
        token = self._dir.make_actor_token()
        known = known_secrets(self._spec) | set(self._secrets.values()) | {token}
        self._recorder.redactor = Redactor(known, workspace, configured=same)
        user = self._become()
        self._dir.make_artifacts()
        if user is not None:
            user.own(self._dir.artifacts)
        ours = actor_environment(self._actor_directory, self._spec.agent, token)
        self._host = RunHost(
            self._spec,
            workspace,
            self._recorder,
            self._questions,
            self._silence.touch,
            secrets=self._secrets,
            ours={**ours, artifacts.VARIABLE: str(self._dir.artifacts)},
            tools=str(self._actor_directory / "bin"),
            isolate=self._isolate,
            user=user,
        )
        self._runtime = _adapter(self._spec.runtime.kind)
        try:
            async with asyncio.timeout(self._spec.start_seconds) as bound:
                self._info = await self._runtime.start(self._host)
        except TimeoutError:
            if not bound.expired():
                raise
            return timed_out("start", self._spec.start_seconds)
        if self._host.process is None:
            raise RuntimeFailed(Reason.RUNTIME_START_FAILED, "The runtime started no process.")
        spawn, rest = self._host.spawn_seconds, time.monotonic() - prepared
        phases = StartPhases(
            workspace_s=round(prepared - began, 3), spawn_s=round(spawn, 3), handshake_s=round(rest - spawn, 3)
        )
        self._say_started(self._prepared, self._info, phases)
        return await self._talk.run(self._runtime, self._host.process)

    def _say_started(self, prepared: Prepared, info: RuntimeInfo, phases: StartPhases) -> None:
        self._recorder.emit(
            RunStarted(
                runtime=self._spec.runtime.kind,
                preset=self._spec.runtime.preset,
                runtime_name=info.name,
                runtime_version=info.version,
                workspace=str(prepared.path),
                base_commit=prepared.base_commit,
                branch=prepared.branch,
                isolation=self._spec.isolation,
                network=self._spec.network,
                secrets=sorted(self._secrets),
                session_id=info.session_id,
                has_resumed=info.has_resumed,
                phases=phases,
            )
        )
        self._state = ("running", Reason.NONE)
        if self._host:
            self._host.let_through()

    def _isolate(self, command: Sequence[str]) -> Sandbox | None:
        """What the agent is kept within; None if within nothing. ``RuntimeFailed`` if this node has no such thing."""
        if self._prepared is None:
            return None
        if self._spec.isolation == "none":
            if self._spec.network == "none":
                raise RuntimeFailed(Reason.ISOLATION_UNAVAILABLE, "The network is kept from masked agents only.")
            return None
        own = (self._dir.path.parent.parent, *self._safe.fence.hidden)
        sandbox = mask(
            self._prepared.path,
            replace(self._safe.fence, hidden=own),
            others=(self._safe.worktree_root, *self._safe.roots),
            command=command,
            preset=PRESETS.get(self._spec.runtime.preset),
            environment=base_environment(os.environ),
            network=self._spec.network,
            user=self._become(),
        )
        return sandbox.with_readable(*needed_for_calls(self._actor_directory)).with_writable(self._dir.artifacts)

    def _become(self) -> OtherUser | None:
        """Whom the agent is to be, if not whom the node is. ``RuntimeFailed`` where that cannot be."""
        if self._spec.isolation != "user":
            return None
        name = self._safe.fence.run_as
        if why := other_user.why_not(name):
            text = f"This node cannot run agents with isolation 'user': {why}"
            raise RuntimeFailed(Reason.ISOLATION_UNAVAILABLE, text)
        return OtherUser.named(name)

    async def _stop_turn(self, work: "asyncio.Task[Ending]") -> None:
        """Give the present turn its grace. What is not in a turn has nothing to finish."""
        self._talk.is_stopping = True
        self._questions.withdraw(for_good=True)
        if self._talk.is_in_turn and self._runtime is not None:
            await interrupt(self._runtime)
            await asyncio.wait((work,), timeout=self._spec.stop_grace_seconds)

    # Ending.

    async def _wind_up(self) -> Exit:
        """Nothing of the run is alive when this returns."""
        self._questions.withdraw(for_good=True)
        host = self._host
        process = host.process if host else None
        if host is None or process is None:
            await sweep(self._spec.run, os.getpid())
            return Exit()
        host.let_through()
        if self._runtime is not None and not process.exited.done():
            closing = asyncio.create_task(self._runtime.close())
            await asyncio.wait((closing, process.exited), timeout=CLOSE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            closing.cancel()
            await asyncio.gather(closing, return_exceptions=True)
        by_itself = process.exited.done()
        await process.stop([(signal.SIGTERM, TERM_SECONDS), (signal.SIGKILL, KILL_SECONDS)])
        status = process.exited.result() if process.exited.done() else None
        await sweep(self._spec.run, os.getpid())
        await host.last_words()
        self._recorder.end_texts()  # before what we ourselves say of diff and artifacts
        await process.release()
        was_oom = by_itself and status == -signal.SIGKILL and self._oom_kills != oom_kills()
        return Exit(status if by_itself or self._asked_to_stop.is_set() else None, was_oom)

    async def _look_back(self, ending: Ending) -> Ending:
        """What became of the workspace: its diff, or that it is gone."""
        if self._prepared is None or self._host is None:
            return ending
        if not self._prepared.path.is_dir():
            gone = "The workspace was removed while the run was at work in it."
            return failed(Reason.WORKSPACE_MISSING, gone) if ending.how == "completed" else ending
        try:
            # What the agent left for git to start is kept within as well.
            sandbox = self._isolate(("git",))
            async with asyncio.timeout(DIFF_SECONDS):
                diff = await make_diff(
                    self._prepared.path, self._prepared.base_commit, self._marker, self._dir.write_blob,
                    self._recorder.redactor.long_excerpt, sandbox=sandbox.without_network() if sandbox else None,
                )  # fmt: skip
        except (HubError, OSError) as error:  # a time-out is an OSError
            logger.warning("run.diff_failed", error=str(error))
            why = str(error) or f"git took longer than {DIFF_SECONDS:.0f} s."
            self._recorder.emit_text("stderr", f"AgentHub could not make this run's diff: {why}\n")
            return ending
        finally:
            await sweep(self._spec.run, os.getpid())  # a filter of the repository may have started something
        if diff is not None:
            self._recorder.emit(diff)
        return ending

    async def _keep_artifacts(self) -> None:
        """What the agent left to be looked at, and why some of it stays behind."""
        left = artifacts.Left(self._dir.artifacts, self._recorder.redactor, self._dir.write_blob)
        await left.collect()
        for artifact in left.kept:
            self._recorder.emit(artifact)
        for problem in left.problems[: artifacts.MOST]:
            self._recorder.emit_text("stderr", f"AgentHub did not keep the artifact {problem}.\n")
        await asyncio.to_thread(shutil.rmtree, self._dir.artifacts, ignore_errors=True)

    async def _end(self, ending: Ending, exit_: Exit) -> int:
        """The last records, on stable storage; then everyone may know."""
        if self._host:
            self._host.let_through()
        may_resume = self._info.may_resume
        runtime = self._spec.runtime.preset or self._spec.runtime.kind
        for payload in payloads(ending, exit_, runtime, may_resume=may_resume):
            self._recorder.emit(payload)
        patience = asyncio.get_running_loop().time() + FULL_SECONDS
        while not self._recorder.flush():
            if asyncio.get_running_loop().time() > patience:
                logger.error("run.ending_not_written", how=ending.how, reason=ending.reason.value)
                return 1
            await asyncio.sleep(1.0)
        last = self._recorder.spooled.origin_seq
        self._recorder.close()
        self._dir.write_ended(last)
        logger.info("run.ended", how=ending.how, reason=ending.reason.value, origin_seq=last)
        await self._control.ended(last)
        await self._control.aclose()
        self._dir.control_socket.unlink(missing_ok=True)
        return 0

    # What is heard.

    def _hello(self) -> Hello:
        return Hello(
            self._spec.run, os.getpid(), self._generation, self._recorder.spooled,
            asks_link=self._disconnection.is_watched,
        )  # fmt: skip

    def _on_acked(self, origin_seq: int) -> None:
        self._recorder.acknowledge(origin_seq)

    def _on_hold(self, is_held: bool) -> None:
        self._recorder.hold(is_held)

    def _on_command(self, command: Accepted) -> None:
        """Apply a command once, however often it comes."""
        if command.id in self._applied:
            return
        self._applied.add(command.id)
        try:
            code = self._apply(command)
        except ValidationError as error:
            logger.warning("command.does_not_fit", kind=command.kind, problems=error.error_count())
            code = "bad_command"
        self._dir.commands.mark_applied(command.id, code)
        self._control.applied(command.id, code)

    def _apply(self, command: Accepted) -> str:
        match command.kind:
            case CancelRun.KIND:
                by = CancelRun.model_validate(command.body).by
                self.cancel(f"Cancelled by {by.label or by.kind}." if by else "")
            case SendInput.KIND:
                input_ = SendInput.model_validate(command.body)
                if self._spec.runtime.kind == "command":
                    return "single_turn"
                return self._talk.queue.add(Input(input_.input_id, input_.text), input_.mode)
            case DecideApproval.KIND:
                return self._questions.decide(DecideApproval.model_validate(command.body))
            case SetPolicy.KIND:
                self._questions.set_policy(SetPolicy.model_validate(command.body).policy)
            case _:
                return "unknown_command"
        return ""

    def _on_questions(self) -> None:
        """A question was opened or closed."""
        if self._questions.are_open:
            self._silence.stop()
            self._say_state("waiting", Reason.APPROVAL)
        elif self._state == ("waiting", Reason.APPROVAL):
            self._say_at_work()

    def _on_full(self, is_full: bool) -> None:
        if self._host:
            self._host.hold_output(is_full)
        if is_full:
            self._full_timer = asyncio.get_running_loop().call_later(FULL_SECONDS, self._gave_up.set)
        elif self._full_timer:
            self._full_timer.cancel()
            self._full_timer = None
        if self._state[0] == "running":  # one that waits for people goes on doing that
            self._say_at_work()

    def _say_at_work(self) -> None:
        """The agent has the word: it runs, or is kept from it by a full disk and owes us no sound meanwhile."""
        if self._recorder.is_full:
            self._silence.stop()
            text = "The node's disk or this run's share of it is full; the agent waits until the hub has taken records."
            self._say_state("running", Reason.DISK_FULL, text)
        else:
            if self._talk.is_in_turn:
                self._silence.start()
            self._say_state("running", Reason.NONE)

    def _say_state(self, state: str, reason: Reason, message: str = "") -> None:
        """Tell the readers, if it is news. A run that is stopping stays so; one that starts says so itself."""
        is_held = self._state[0] == "stopping" or (self._state[0] == "starting" and state != "stopping")
        if is_held or self._state == (state, reason):
            return
        self._state = (state, reason)
        self._recorder.emit(StateChanged(state=state, reason=reason.value, message=message))


def _ending_of(work: "asyncio.Task[Ending]") -> Ending:
    error = work.exception()
    match error:
        case None:
            return work.result()
        case RuntimeFailed() | WorkspaceFailed() | OutsideSafePaths():
            return failed(error.reason, error.text)
        case HubError():
            return failed(Reason.WORKSPACE_FAILED, error.text)
    logger.error("run.broke", exc_info=error)
    return failed(Reason.INTERNAL, "Something went wrong in the run's supervisor; the node's log has the details.")


def _adapter(kind: str) -> Runtime:
    module, name = RUNTIMES[kind]
    adapter: Callable[[], Runtime] = getattr(importlib.import_module(module), name)
    return adapter()
