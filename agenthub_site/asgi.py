"""The ASGI application: hot doors, WebSockets, and Django for everything else."""

import os
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "agenthub_site.settings")

from django.core.asgi import get_asgi_application

_django: Any = get_asgi_application()

from agenthub_site import hot, sockets  # noqa: E402  (they need Django's apps to be loaded)
from agenthub_site.accounts.authentication import OPERATOR_EXTENSION  # noqa: E402
from agenthub_site.body_limit import limit_body  # noqa: E402
from agenthub_site.engines import Receive, Scope, Send  # noqa: E402

_limited_django = limit_body(_django)


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """What is served over TCP. Nobody who comes this way is the local operator, whatever the server says."""
    extensions = scope.get("extensions")
    if extensions and OPERATOR_EXTENSION in extensions:
        kept = {name: value for name, value in extensions.items() if name != OPERATOR_EXTENSION}
        scope = {**scope, "extensions": kept}
    await dispatch(scope, receive, send)


async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
    """What is served by the operator's socket as well."""
    if scope["type"] == "websocket":
        await sockets.serve(scope, receive, send)
    elif scope["type"] == "http":
        if found := hot.match(scope["path"]):
            await hot.serve(*found, scope, receive, send)
        else:
            await _limited_django(scope, receive, send)
