"""Callers of the doors that stay open: admitted once, then asked anew on a slow beat."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

from nodes.contract.errors import NotFound, Unauthenticated

from .actors import Actor
from .authentication import OPERATOR_EXTENSION, actor_from_scope, bearer_of, whence

FRESH_SECONDS: Final = 1.5
"""An answer is good for all callers with the same credential for so long."""
MAX_ANSWERS: Final = 5_000

Scope = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Caller:
    """An actor, and the connection it came by."""

    actor: Actor
    scope: Scope

    async def now(self) -> Actor:
        """The actor with the roles of now. Raises ``Unauthenticated`` once the credential is no good."""
        return _come_by(self.scope, await _again.actor(self.scope))

    async def check(self, project_id: UUID) -> Actor:
        """The actor of now. ``Unauthenticated`` once the credential is no good, ``NotFound`` once nothing is seen."""
        actor = await self.now()
        if not (actor.sees_all or project_id in actor.roles):
            raise NotFound()
        return actor


async def admit(scope: Scope) -> Caller:
    """Who is calling. Raises ``Unauthenticated`` or ``InvalidToken``."""
    actor = await actor_from_scope(scope)
    if actor is None:
        raise Unauthenticated()
    return Caller(actor, scope)


async def recall(scope: Scope) -> Caller:
    """As ``admit``, by an answer that may be ``FRESH_SECONDS`` old: for those who come many times a second."""
    return Caller(_come_by(scope, await _again.actor(scope)), scope)


def _come_by(scope: Scope, actor: Actor) -> Actor:
    """An answer is shared by all connections with one credential; where each comes from is its own."""
    address, user_agent = whence(scope)
    return replace(actor, address=address, user_agent=user_agent)


Credential = tuple[str, bytes, bool]


def credential_of(scope: Scope) -> Credential:
    """What the caller shows: a bearer's secret, ``Cookie``, and whether it came by the operator's socket.

    Another kind of ``Authorization`` is nothing: who sends it speaks by the cookie. ``InvalidToken`` for a
    malformed bearer.
    """
    headers = dict(scope.get("headers", ()))
    is_operator = OPERATOR_EXTENSION in (scope.get("extensions") or {})
    secret = bearer_of(headers.get(b"authorization", b"").decode("latin-1"))
    return secret or "", headers.get(b"cookie", b""), is_operator


class _Answers:
    """One question per credential at a time, its answer shared: a thousand sockets of one person are one query."""

    def __init__(self) -> None:
        self._asked: dict[tuple[object, Credential], tuple[float, asyncio.Task[Actor | None]]] = {}

    async def actor(self, scope: Scope) -> Actor:
        key = (asyncio.get_running_loop(), credential_of(scope))
        now = time.monotonic()
        at, task = self._asked.get(key, (0.0, None))
        if task is None or now - at > FRESH_SECONDS:
            if len(self._asked) >= MAX_ANSWERS:
                self._asked.clear()
            task = asyncio.create_task(_ask(scope))
            self._asked[key] = (now, task)
        actor = await asyncio.shield(task)
        if actor is None:
            raise Unauthenticated()
        return actor


async def _ask(scope: Scope) -> Actor | None:
    return await actor_from_scope(scope)


_again = _Answers()
