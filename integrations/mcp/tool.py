"""What a tool is: an `async def` of who asks, described by its signature, answering with a dict."""

import inspect
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial, wraps
from typing import Any, Final
from uuid import UUID

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from agenthub_site.accounts.actors import Actor
from agenthub_site.accounts.permissions import Can
from nodes.contract.errors import HubError, Invalid

from .repeating import at_most_once

Json = dict[str, Any]
InThread = Callable[..., Awaitable[Any]]
"""Runs a synchronous function on a thread that may use the database."""


@dataclass(frozen=True, slots=True)
class Within:
    """In which run a tool is called; in none, by a token."""

    run_id: UUID | None = None
    """What is sent belongs to it."""
    apart: frozenset[UUID] = frozenset()
    """The agent's other live runs, whose mail is theirs."""
    key: str = ""
    """Of this call: asked again with it, since the answer was lost, it is the same call."""


@dataclass(frozen=True, slots=True)
class Asking:
    """Who calls a tool, where it may ask the database, and from within which run."""

    actor: Actor
    in_thread: InThread
    within: Within = Within()


Answer = Callable[..., Awaitable[Json]]


def in_database(work: Callable[..., Json]) -> Answer:
    """``work(actor, …)`` as an `async def` that waits for a thread of the database, and holds nobody else up."""

    @wraps(work)
    async def answer(asking: Asking, **given: Any) -> Json:
        result: Json = await asking.in_thread(work, asking.actor, **given)
        return result

    return answer


class UnknownTool(HubError):
    code, http, grpc = "unknown_tool", 404, "NOT_FOUND"
    message = "There is no such tool, or not for this token."


@dataclass(frozen=True)
class Tool:
    """One tool. Its ``schema`` is made from the parameters of ``answer`` that follow who asks."""

    name: str
    answer: Answer
    needs: Can
    """Shown to, and callable by, those whose token has it in its scope."""
    is_reading: bool = False
    is_repeatable: bool = False
    is_destructive: bool = False
    _model: type[BaseModel] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        fields: dict[str, Any] = {}
        for parameter in list(inspect.signature(self.answer).parameters.values())[1:]:
            default = ... if parameter.default is inspect.Parameter.empty else parameter.default
            fields[parameter.name] = (parameter.annotation, default)
        model: type[BaseModel] = create_model(self.name, __config__=ConfigDict(extra="forbid"), **fields)
        object.__setattr__(self, "_model", model)

    @property
    def description(self) -> str:
        return inspect.cleandoc(self.answer.__doc__ or "")

    @cached_property
    def schema(self) -> Json:
        """JSON Schema of the arguments. What it does not name is refused."""
        schema: Json = _without_titles(self._model.model_json_schema())
        schema.setdefault("properties", {})
        return schema

    async def call(self, asking: Asking, arguments: Mapping[str, Any]) -> Json:
        """The result. Raises ``HubError``, ``Invalid`` among them for arguments that do not fit."""
        try:
            given = self._model.model_validate(dict(arguments))
        except ValidationError as error:
            raise _invalid(error) from error
        values = {name: getattr(given, name) for name in type(given).model_fields}
        if asking.within.key and not self.is_reading:
            once = at_most_once(asking.actor, self.name, asking.within.key, arguments)
            asking = replace(asking, in_thread=partial(asking.in_thread, once))
        return {"ok": True, **await self.answer(asking, **values)}


_TOOLS: Final[dict[str, Tool]] = {}


def tool(needs: Can, **hints: bool) -> Callable[[Answer], Answer]:
    """The function is a tool of its name. ``hints`` are ``Tool``'s ``is_…``."""

    def register(answer: Answer) -> Answer:
        _TOOLS[answer.__name__] = Tool(answer.__name__, answer, needs, **hints)
        return answer

    return register


@cache
def all_tools() -> tuple[Tool, ...]:
    """Every tool, in the order in which they are told."""
    from . import coordination, hub, messages  # noqa: F401  (they register themselves)

    return tuple(_TOOLS.values())


def tools_for(actor: Actor) -> list[Tool]:
    """Those that the actor's token covers."""
    return [tool for tool in all_tools() if actor.is_within_scope(tool.needs)]


def find_tool(actor: Actor, name: str) -> Tool:
    """``UnknownTool`` for one that does not exist, or not for this token."""
    all_tools()
    found = _TOOLS.get(name)
    if found is None or not actor.is_within_scope(found.needs):
        raise UnknownTool(f"There is no tool {name[:100]!r}, or not for this token.")
    return found


_OLD_CODES: Final = {
    "dedupe_conflict": "DUPLICATE_MESSAGE", "already_exists": "TASK_EXISTS", "unknown_recipient": "NOT_FOUND",
}  # fmt: skip


def told(error: HubError) -> Json:
    """A refusal as tools answer it: the hub's code, in capitals."""
    code = _OLD_CODES.get(error.code, error.code.upper())
    return {"ok": False, "error": code, "message": error.text, **({"data": error.data} if error.data else {})}


def as_text(result: Json) -> str:
    return json.dumps(result, ensure_ascii=False, default=str)


def _invalid(error: ValidationError) -> Invalid:
    fields: dict[str, list[str]] = {}
    for problem in error.errors(include_url=False, include_input=False, include_context=False)[:20]:
        name = str(problem["loc"][0]) if problem["loc"] else "arguments"
        message = "There is no such argument." if problem["type"] == "extra_forbidden" else problem["msg"]
        fields.setdefault(name[:100], []).append(message)
    words = "; ".join(f"{name}: {' '.join(why)}" for name, why in fields.items())
    return Invalid(f"The arguments do not fit: {words}", fields=fields)


def _without_titles(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_titles(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: {key: _without_titles(value) for key, value in inner.items()}
        if name == "properties"
        else _without_titles(inner)
        for name, inner in schema.items()
        if not (name == "title" and isinstance(inner, str))
    }
