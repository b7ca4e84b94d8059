"""Liveness, readiness, metrics. Parts of the process say whether they are ready by ``register``."""

from collections.abc import Callable
from ipaddress import ip_address
from typing import Final

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from agenthub_site.accounts.authentication import actor_of_token, bearer_of, find_operator
from agenthub_site.accounts.tokens import find_token
from agenthub_site.metrics import REGISTRY
from nodes.contract.errors import Forbidden
from nodes.contract.ids import iso, now_us

Check = Callable[[], str]
"""Says what is wrong; an empty text is ready. Quick, and without waiting."""

_CHECKS: Final[dict[str, Check]] = {}


def register(name: str, check: Check) -> None:
    """Make ``/readyz`` ask ``check`` as well; whoever runs a controlplane or a bell registers it."""
    _CHECKS[name] = check


def unregister(name: str) -> None:
    _CHECKS.pop(name, None)


@require_safe
@never_cache
async def healthz(request: HttpRequest) -> JsonResponse:
    """This process answers, and what its clock says. Nothing else is asked: a slow database restarts nobody."""
    return JsonResponse({"status": "ok", "time": iso(now_us())})


@require_safe
@never_cache
def readyz(request: HttpRequest) -> JsonResponse:
    """Whether requests can be served; 503 names what is not ready."""
    checks = {"database": _database, "migrations": _migrations, **_CHECKS}
    problems = {name: problem for name, check in checks.items() if (problem := check())}
    status = "ready" if not problems else "not ready"
    return JsonResponse(
        {"status": status, "not_ready": problems, "checked": sorted(checks)}, status=503 if problems else 200
    )


def _database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchall()
    except DatabaseError:
        return "The database does not answer."
    return ""


_is_migrated = False


def _migrations() -> str:
    """Asked of the database until it is up to date once; from then on this code's migrations do not change."""
    global _is_migrated
    if not _is_migrated:
        try:
            executor = MigrationExecutor(connection)
            missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
        except DatabaseError:
            return "The database does not answer."
        if missing:
            return f"{len(missing)} migrations are not applied. Run 'agenthub prepare', or start with 'agenthub up'."
        _is_migrated = True
    return ""


@require_safe
@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """For this machine's own scraper, the operator's socket, or a root operator's token: it counts all projects."""
    if not (_is_local(request) or find_operator(getattr(request, "scope", {}))):
        secret = bearer_of(request.headers.get("Authorization", ""))
        if secret is None or not actor_of_token(find_token(secret)).is_root:
            raise Forbidden("Metrics are for this machine, or for a root operator's token.")
    return HttpResponse(generate_latest(REGISTRY), content_type=CONTENT_TYPE_LATEST)


def _is_local(request: HttpRequest) -> bool:
    """Straight from loopback, and not through a proxy that lives there."""
    peer = request.META.get("REMOTE_ADDR") or ""
    is_forwarded = any(name in request.headers for name in ("X-Forwarded-For", "Forwarded", "Via"))
    try:
        return not is_forwarded and ip_address(peer).is_loopback and not settings.CONFIG.server.public_url
    except ValueError:
        return False
