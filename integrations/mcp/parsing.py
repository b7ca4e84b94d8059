"""JSON texts inside of arguments: plans, handoffs, lists."""

import json
from typing import Any, Final, TypeGuard
from uuid import UUID

from agents.coordination.queries import find_colleagues
from agents.coordination.services.assignments import Work
from agents.coordination.services.rounds import Planned
from nodes.contract.errors import Invalid, TooLarge

JSON_BYTES: Final = 512 * 1024
DEPTH: Final = 32
MOST_PLANNED: Final = 100
_TEXTS: Final = ("branch", "commit_hash", "risks", "next_steps", "notes")


def read_json(field: str, text: str) -> Any:
    """What the text says. ``Invalid`` for what is no JSON, or too deep; ``TooLarge``."""
    if len(text) > JSON_BYTES:
        raise TooLarge(f"{field} has at most {JSON_BYTES // 1024} KiB.", limit_bytes=JSON_BYTES)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        why = "It is nested too deeply." if isinstance(error, RecursionError) else f"It is not valid JSON: {error}."
        raise wrong(field, why) from error
    if not _is_shallow(value, DEPTH):
        raise wrong(field, f"It is nested too deeply; {DEPTH} levels are allowed.")
    if not _is_text(value):
        raise wrong(field, "It has half of a surrogate pair (\\ud800 to \\udfff by itself), which is no character.")
    return value


def read_object(field: str, text: str) -> dict[str, Any]:
    value = read_json(field, text)
    if not isinstance(value, dict):
        raise wrong(field, "It must be a JSON object.")
    return value


def read_plan(project_id: UUID, text: str) -> list[Planned]:
    """``{"assignments": [{"agent_id", "goal"}]}``; an ``agent_id`` of null is for whoever claims it first.

    What else is in it is not read.
    """
    listed = read_object("plan_json", text).get("assignments")
    if not isinstance(listed, list):
        raise wrong("plan_json", 'It must have "assignments", a list of {"agent_id", "goal"}.')
    if len(listed) > MOST_PLANNED:
        raise wrong("plan_json", f"It has {len(listed)} assignments; at most {MOST_PLANNED} are read.")
    said = [item.get("agent_id") for item in listed if isinstance(item, dict)]
    colleagues = find_colleagues(project_id, {name for name in said if _is_name(name)})
    planned = []
    for number, item in enumerate(listed, 1):
        where = f"assignment {number}"
        if not isinstance(item, dict) or "agent_id" not in item:
            raise wrong("plan_json", f'{where} must have "agent_id" and "goal"; an agent_id of null is for anyone.')
        name, goal = item["agent_id"], item.get("goal")
        if not isinstance(goal, str) or not goal.strip():
            raise wrong("plan_json", f"{where} needs a goal, as a text.")
        agent = colleagues.get(name) if _is_name(name) else None
        if name is not None and agent is None:
            raise wrong("plan_json", f"{where}: there is no agent {str(name)[:80]!r} in the project.")
        planned.append(Planned(goal, agent))
    return planned


def _is_name(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and "\x00" not in value


def read_handoff(text: str) -> Work:
    """All fields may be left out; ``changed_files`` and ``tests_run`` are lists, or JSON texts of lists."""
    said = read_object("handoff_json", text)
    texts: dict[str, Any] = {name: said.get(name) or "" for name in _TEXTS}
    for name, value in texts.items():
        if not isinstance(value, str):
            raise wrong("handoff_json", f"{name} is a text.")
    files, tests = (read_list(f"handoff_json.{name}", said.get(name)) for name in ("changed_files", "tests_run"))
    return Work(**texts, changed_files=files, tests_run=tests)


def read_list(field: str, value: Any) -> list[str]:
    """A list of texts: given as one, as JSON of one, or as lines."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = read_json(field, value)
    elif isinstance(value, str):
        value = [line.strip() for line in value.splitlines() if line.strip()]
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise wrong(field, "It must be a list of texts.")
    return value


def wrong(field: str, why: str) -> Invalid:
    return Invalid(f"{field}: {why}", fields={field: [why]})


def _is_text(value: Any) -> bool:
    """Whether a database can keep what it says: half of a surrogate pair has no bytes."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_shallow(value: Any, depth: int) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return True
    return depth > 0 and all(_is_shallow(item, depth - 1) for item in value)
