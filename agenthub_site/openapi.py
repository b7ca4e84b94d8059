"""What the generated description cannot know: how we authenticate, how we refuse, examples, and the live doors."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema

from agenthub_site.hot import ROUTES, Route
from agenthub_site.openapi_examples import show


class BearerScheme(OpenApiAuthenticationExtension):
    target_class = "agenthub_site.accounts.authentication.TokenAuthentication"
    name = "bearer"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "A token, `aht_…`."}


class SessionScheme(OpenApiAuthenticationExtension):
    target_class = "agenthub_site.accounts.authentication.SessionAuthentication"
    name = "session"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, str]:
        why = "The session of a signed-in browser; writing needs the header `X-CSRFToken` as well."
        return {"type": "apiKey", "in": "cookie", "name": "agenthub_session", "description": why}


class OperatorScheme(OpenApiAuthenticationExtension):
    """No credential at all: being let in by the socket in the home is the proof."""

    target_class = "agenthub_site.accounts.authentication.LocalOperatorAuthentication"
    name: list[str] = []

    def get_security_definition(self, auto_schema: AutoSchema) -> list[dict[str, str]]:
        return []

    def get_security_requirement(self, auto_schema: AutoSchema) -> list[dict[str, list[str]]]:
        return []


def complete(result: dict[str, Any], generator: Any, request: Any, public: Any) -> dict[str, Any]:
    """Post-processing hook: the one error shape for every refusal, and the doors that are not Django's."""
    result["components"]["schemas"] |= {"Error": _ERROR, "Event": _EVENT, "Events": _EVENTS}
    for route in ROUTES:
        if route.shape:
            continue
        result["paths"].setdefault(route.path, {})[route.method.lower()] = _described(route)
    for path in result["paths"].values():
        for operation in path.values():
            show(operation)
            operation["responses"].setdefault("default", _REFUSAL)
    return result


_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "data"],
            "properties": {
                "code": {"type": "string", "description": "Stable; for programs.", "example": "wrong_state"},
                "message": {"type": "string", "description": "What happened and what to do; for people."},
                "data": {"type": "object", "additionalProperties": {}, "description": "Facts beside the code."},
            },
        }
    },
}
_REFUSAL: dict[str, Any] = {
    "description": "Refused; programs go by `code`.",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
}
_TEXT, _NUMBER = {"type": "string"}, {"type": "integer"}
_EVENT: dict[str, Any] = {
    "type": "object",
    "description": "One numbered fact of a run's stream. The payload's shape goes by `type` and `version`.",
    "required": [
        "id",
        "type",
        "version",
        "project",
        "user",
        "agent",
        "run",
        "seq",
        "occurred_at",
        "recorded_at",
        "payload",
    ],
    "properties": {
        **dict.fromkeys(("id", "type", "project", "agent", "run"), _TEXT),
        "user": {"type": "string", "nullable": True},
        **dict.fromkeys(("version", "seq"), _NUMBER),
        "occurred_at": {"type": "string", "format": "date-time", "description": "By the clock of who wrote it."},
        "recorded_at": {"type": "string", "format": "date-time", "description": "By the hub's clock."},
        "payload": {"type": "object", "additionalProperties": {}},
    },
}
_EVENTS: dict[str, Any] = {
    "type": "object",
    "required": ["results", "next", "last_seq", "state"],
    "properties": {
        "results": {"type": "array", "items": {"$ref": "#/components/schemas/Event"}},
        "next": {
            "type": "integer",
            "nullable": True,
            "description": "The next `after`; null at the end.",
        },
        "last_seq": _NUMBER,
        "state": _TEXT,
    },
}


_PARAMETERS: dict[str, dict[str, Any]] = {
    "after": {"type": "integer", "minimum": 0, "default": 0},
    "limit": {"type": "integer", "minimum": 1, "maximum": 5000, "default": 500},
    "Last-Event-ID": _NUMBER,
}
"""Shapes of the live doors' parameters; any other is a text."""
_ID: dict[str, Any] = {
    "name": "id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "format": "uuid"},
}
_PAGE: dict[str, Any] = {
    "description": "A page of the stream, oldest first.",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Events"}}},
}
_OBJECT: dict[str, Any] = {
    "description": "Done.",
    "content": {"application/json": {"schema": {"type": "object", "additionalProperties": {}}}},
}
_STREAM: dict[str, Any] = {
    "description": "Endless, with a heartbeat; it may be cut at any moment and taken up again.",
    "content": {"text/event-stream": {"schema": {"type": "string"}}},
}


def _described(route: Route) -> dict[str, Any]:
    """A live door as an operation: what the table of routes says of it."""
    parameters = [
        {"name": name, "in": where, "required": False, "schema": _PARAMETERS.get(name, _TEXT), "description": why}
        for name, where, why in route.parameters
    ]
    is_page = route.path.endswith("/events")
    described: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "tags": [route.path.split("/")[3]],
        "parameters": [*([_ID] if "{id}" in route.path else []), *parameters],
        "security": [{"bearer": []}] if route.body else [{"bearer": []}, {"session": []}],
        "responses": {"200": _STREAM if route.is_stream else _PAGE if is_page else _OBJECT},
    }
    if route.body:
        shapes = {name: {"description": why} for name, why in route.body}
        schema = {"type": "object", "properties": shapes, "additionalProperties": False}
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return described
