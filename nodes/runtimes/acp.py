"""Any agent that speaks the Agent Client Protocol over stdio. The node is the client.

The rules it follows were learned from real agents; ``docs/runtimes.md`` has them.
"""

import asyncio
import contextlib
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import structlog
from acp import schema
from acp.exceptions import RequestError
from pydantic import ValidationError

from nodes.contract.reasons import Reason
from nodes.contract.runtime import AgentProcess, Host, Preset, RuntimeFailed, RuntimeInfo, TurnEnd

from .acp_client import AcpClient, Choices, ResumedBy
from .acp_tools import clip
from .lines import Faults, Lines
from .presets import PRESETS

logger = structlog.get_logger(__name__)

AUTH_REQUIRED: Final = -32000
CANCEL_SECONDS = 5.0
"""An agent that does not read its pipe gets no longer to take a cancel."""
LEAVE_SECONDS = 2.0
"""After its input was closed, an agent gets so long to leave."""
EXIT_SECONDS = 1.0
"""A closed pipe is mostly the first sign of an exit; so long to see which it is."""
MESSAGE_BYTES = 4_000
INCOMPLETE = {
    "refusal": "The agent refused to go on.",
    "max_tokens": "The model's limit of tokens was reached before the turn was done.",
    "max_turn_requests": "The agent's limit of model requests was reached before the turn was done.",
}
"""Stop reasons that leave the work undone."""


class AcpRuntime:
    """One agent process with one session, for one run."""

    def __init__(self) -> None:
        self._is_prompting = False
        self._was_interrupted = False

    async def start(self, host: Host) -> RuntimeInfo:
        """Start the agent, shake hands, open a session. ``RuntimeFailed`` says what keeps it from that."""
        self._host = host
        self._preset = PRESETS.get(host.spec.runtime.preset)
        speaks_acp = self._preset is not None and self._preset.kind == "acp"
        command = host.spec.runtime.command or (list(self._preset.command) if self._preset and speaks_acp else [])
        if not command:
            known = ", ".join(sorted(name for name, preset in PRESETS.items() if preset.kind == "acp"))
            named = host.spec.runtime.preset or "(none)"
            message = f"There is no preset {named} that speaks ACP. Give a command, or one of: {known}."
            raise RuntimeFailed(Reason.RUNTIME_NOT_INSTALLED, message)
        environment = {**(self._preset.environment if self._preset else {}), **host.spec.runtime.environment}
        self._process: AgentProcess = await host.spawn(command, environment)
        faults = Faults(host.emit)
        self._lines = Lines(self._process, faults)
        self._client = AcpClient(host, self._lines, faults)
        return await self._shake_hands()

    async def prompt(self, text: str) -> TurnEnd:
        translator = self._client.translator
        translator.begin_turn()
        self._is_prompting, self._was_interrupted = True, False
        try:
            answer = await self._client.prompt(text)
        except ConnectionError:
            raise await self._gone("in the middle of a turn") from None
        except RequestError as error:
            if self._was_interrupted:
                return TurnEnd("cancelled")
            if error.code == AUTH_REQUIRED:
                raise self._login_required(error) from error
            return TurnEnd("error", is_failure=True, message=_message_of(error))
        finally:
            self._is_prompting = False
            translator.end_turn()
        return self._ended(answer)

    async def interrupt(self) -> None:
        """Cancel the present turn, if there is one. Bounded; an agent that does not listen is the host's to end."""
        if not self._is_prompting:
            return
        self._was_interrupted = True
        try:
            async with asyncio.timeout(CANCEL_SECONDS):
                await self._client.cancel()
        except (ConnectionError, TimeoutError) as error:
            logger.info("cancel_undelivered", error=str(error) or "the agent does not read")

    async def close(self) -> None:
        """Close the agent's input and give it a moment to leave."""
        if not hasattr(self, "_client"):
            return
        self._process.stdin.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._process.exited), LEAVE_SECONDS)
        self._client.translator.end_turn()
        await self._client.close()

    async def _shake_hands(self) -> RuntimeInfo:
        try:
            hello = await self._client.initialize(_own_version())
            way = _way_to_resume(hello.agent_capabilities)
            choices = await self._take_up(way) if way and self._host.spec.session else None
            has_resumed = choices is not None
            await self._choose(choices or await self._client.open_session(str(self._host.workspace)))
        except ConnectionError:
            raise await self._gone("before it was ready") from None
        except RequestError as error:
            if error.code == AUTH_REQUIRED:
                raise self._login_required(error) from error
            message = f"The agent could not open a session: {_message_of(error)}"
            raise RuntimeFailed(Reason.RUNTIME_START_FAILED, message) from error
        except ValidationError as error:
            message = f"The agent's answer is not ACP: {error.errors(include_url=False, include_input=False)[0]['msg']}"
            raise RuntimeFailed(Reason.PROTOCOL_ERROR, message) from error
        about = hello.agent_info
        name = (about.title or about.name) if about else ""
        release = about.version if about else ""
        return RuntimeInfo(name[:200], release[:100], self._client.session_id[:200], way is not None, has_resumed)

    async def _take_up(self, way: ResumedBy) -> Choices | None:
        """The earlier session; None if the agent does not have it any more."""
        try:
            return await self._client.resume_session(self._host.spec.session, str(self._host.workspace), by=way)
        except RequestError as error:
            if error.code == AUTH_REQUIRED:
                raise
            logger.info("session_not_resumed", error=_message_of(error))
            return None

    async def _choose(self, session: Choices) -> None:
        """Choose the mode that asks, and the wanted model, among what the session offers."""
        modes = session.modes
        mode = self._preset.mode if self._preset else ""
        if modes and mode and mode != modes.current_mode_id and mode in {each.id for each in modes.available_modes}:
            request = schema.SetSessionModeRequest(session_id=self._client.session_id, mode_id=mode)
            await self._client.request("session_set_mode", request)
        wanted = self._host.spec.runtime.model
        if not wanted:
            return
        for option in session.config_options or []:
            if isinstance(option, schema.SessionConfigOptionSelect) and "model" in {option.category, option.id}:
                choice = schema.SetSessionConfigOptionSelectRequest(
                    session_id=self._client.session_id, config_id=option.id, value=_pick(wanted, option)
                )
                await self._client.request("session_set_config_option", choice)
                return
        message = f"This agent offers no choice of model, so '{wanted}' cannot be used. Leave the agent's model empty."
        raise RuntimeFailed(Reason.RUNTIME_START_FAILED, message)

    def _ended(self, answer: dict[str, Any]) -> TurnEnd:
        if self._was_interrupted:
            return TurnEnd("cancelled")
        translator = self._client.translator
        with contextlib.suppress(ValidationError):
            translator.turn_usage(schema.Usage.model_validate(answer.get("usage")))
        stop_reason = str(answer.get("stopReason", ""))[:100]
        if stop_reason in INCOMPLETE:
            return TurnEnd(stop_reason, is_failure=True, message=INCOMPLETE[stop_reason])
        if not translator.has_spoken and stop_reason != "cancelled":
            message = "The agent ended its turn without a word or a deed; mostly its model could not be reached."
            return TurnEnd(stop_reason, is_failure=True, message=message)
        return TurnEnd(stop_reason)

    async def _gone(self, when: str) -> RuntimeFailed:
        """Why the connection ended: the process did, or it closed its pipe and lives on."""
        await asyncio.wait({self._process.exited}, timeout=EXIT_SECONDS)
        if not self._process.exited.done():
            return RuntimeFailed(Reason.PROTOCOL_ERROR, f"The agent closed its output {when}, but goes on running.")
        status = self._process.exited.result()
        if status < 0:
            return RuntimeFailed(Reason.AGENT_KILLED, f"The agent was ended by signal {-status} {when}.")
        return RuntimeFailed(Reason.AGENT_EXITED, f"The agent exited with status {status} {when}.")

    def _login_required(self, error: RequestError) -> RuntimeFailed:
        name = self._preset.title if self._preset else self._host.spec.runtime.command[0]
        hint = _login_hint(self._preset) or "Log in to it on this node."
        message = f"{name} is not logged in on this node ({_message_of(error)}). {hint}"
        return RuntimeFailed(Reason.LOGIN_REQUIRED, message)


def _way_to_resume(can: schema.AgentCapabilities | None) -> ResumedBy | None:
    """``session/resume`` before ``session/load``, which tells the whole conversation again."""
    if can is None:
        return None
    if can.session_capabilities and can.session_capabilities.resume:
        return "session_resume"
    return "session_load" if can.load_session else None


def _own_version() -> str:
    try:
        return version("agenthub")
    except PackageNotFoundError:
        return "unknown"


def _login_hint(preset: Preset | None) -> str:
    if preset is None or not preset.secret_names:
        return ""
    return f"Log in there as the node's user, or set {' or '.join(preset.secret_names)} in the node's environment."


def _message_of(error: RequestError) -> str:
    """What the agent said of its error; several put the cause into ``data``."""
    data = error.data
    details = data.get("details") or data.get("message") if isinstance(data, dict) else data
    text = f"{error}: {details}" if isinstance(details, str) and details not in str(error) else str(error)
    return clip(text, MESSAGE_BYTES)


def _pick(wanted: str, option: schema.SessionConfigOptionSelect) -> str:
    """The offered value that is ``wanted``. ``RuntimeFailed`` names what is offered."""
    offered = [
        each.value
        for entry in option.options
        for each in (entry.options if isinstance(entry, schema.SessionConfigSelectGroup) else [entry])
    ]
    if wanted in offered:
        return wanted
    some = ", ".join(offered[:20]) or "none"
    message = f"This agent does not offer the model '{wanted}'. It offers: {some}."
    raise RuntimeFailed(Reason.RUNTIME_START_FAILED, clip(message, MESSAGE_BYTES))
