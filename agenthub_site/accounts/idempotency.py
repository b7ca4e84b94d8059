"""``Idempotency-Key``: the same request twice is done once, and answered twice.

The key is unique per actor and route. Claim, work and answer are one transaction, so
that there is an answer exactly where the work was done: a refusal keeps none, and may be tried again.
Doors that are no REST have keys of their own, and keep answers the same way.
"""

import hashlib
import json
import re
from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from http import HTTPStatus
from typing import Any, Concatenate, Final, ParamSpec, TypeVar, cast

from django.db import transaction
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.encoders import JSONEncoder

from nodes.contract.errors import Invalid

from .actors import Actor
from .authentication import request_actor
from .errors import IdempotencyConflict
from .models import IdempotentAnswer

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotent-Replay"
KEPT_FOR: Final = timedelta(hours=24)
_KEY: Final = re.compile(r"[\x21-\x7e]{1,200}")

View = TypeVar("View")
P = ParamSpec("P")
Handler = Callable[Concatenate[View, Request, P], Response]


def idempotent(*, untold: tuple[str, ...] = ()) -> Callable[[Handler[View, P]], Handler[View, P]]:
    """A DRF handler that honours ``Idempotency-Key``, where one is sent.

    ``untold`` fields are told once and not kept: a repeat has null there.
    """

    def decorate(handler: Handler[View, P]) -> Handler[View, P]:
        @wraps(handler)
        def handle(view: View, request: Request, *args: P.args, **kwargs: P.kwargs) -> Response:
            key = request.headers.get(HEADER)
            if key is None:
                return handler(view, request, *args, **kwargs)
            with transaction.atomic():
                kept, is_new = _claim(request, key)
                if not is_new:
                    return Response(kept.body, status=kept.status, headers={REPLAYED: "true"})
                response = handler(view, request, *args, **kwargs)
                _keep(kept, response, untold)
                return response

        return cast("Handler[View, P]", handle)

    return decorate


def _claim(request: Request, key: str) -> tuple[IdempotentAnswer, bool]:
    return claim_key(request_actor(request), f"{request.method} {request.path}", key, request.data)


def claim_key(actor: Actor, route: str, key: str, said: Any) -> tuple[IdempotentAnswer, bool]:
    """The key's row, and whether this request is the first. A second one waits here for the first to end.

    Within the transaction in which the work is done. ``Invalid`` for what is no key, ``IdempotencyConflict`` for one
    under which something else was ``said``.
    """
    if not _KEY.fullmatch(key):
        raise Invalid(f"{HEADER} has 1 to 200 visible ASCII characters.", header=HEADER)
    IdempotentAnswer.objects.filter(created_at__lt=timezone.now() - KEPT_FOR).delete()
    digest = _digest(said)
    kept, is_new = IdempotentAnswer.objects.get_or_create(
        actor_kind=actor.kind,
        actor_id=actor.id,
        route=route[:200],
        key=key,
        defaults={"request_digest": digest, "status": 0, "body": {}},
    )
    if kept.request_digest != digest:
        raise IdempotencyConflict(key=key)
    return kept, is_new


def _digest(said: Any) -> str:
    """Of what a body says, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _keep(kept: IdempotentAnswer, response: Response, untold: tuple[str, ...]) -> None:
    body: Any = json.loads(json.dumps(response.data, cls=JSONEncoder))
    for field in untold:
        body[field] = None
    keep_answer(kept, body, response.status_code)


def keep_answer(kept: IdempotentAnswer, body: Any, status: int = HTTPStatus.OK) -> None:
    """What was claimed is done, in this transaction, and came to ``body``."""
    kept.status, kept.body = status, body
    kept.save(update_fields=["status", "body"])
