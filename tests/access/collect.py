"""What doors the hub has, asked of itself: Django's resolver, the hot doors, the sockets, the registry, the protos."""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import ModelAdmin
from django.urls import URLPattern, URLResolver, get_resolver
from django.views.generic.edit import ProcessFormView

import nodes.pb
from agenthub_site import hot, sockets

METHODS = ("get", "post", "put", "patch", "delete")


def routes() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every address of Django's, with ``{names}``, and its view."""
    yield from _walk(get_resolver().url_patterns, "/")


def _walk(patterns: list[URLPattern | URLResolver], prefix: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _walk(pattern.url_patterns, route)
        else:
            yield _plain(route), pattern.callback


def _plain(route: str) -> str:
    """As OpenAPI writes it: ``/api/v1/runs/{pk}/``."""
    route = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route)
    named = re.compile(r"\(\?P\{(\w+)\}(?:[^()\[\]]|\[[^\]]*\])*\)")
    return named.sub(r"{\1}", route).replace("^", "").replace("$", "").replace("\\", "").replace("//", "/")


def methods_of(view: Callable[..., Any]) -> list[str]:
    """The methods that a view answers, but for HEAD and OPTIONS."""
    actions = getattr(view, "actions", None)
    if actions:
        found = list(actions)
    elif cls := getattr(view, "cls", None) or getattr(view, "view_class", None):
        found = [name for name in METHODS if hasattr(cls, name) and name in cls.http_method_names]
        if issubclass(cls, ProcessFormView):
            found.remove("put")  # Django's other name for POST
    else:
        found = _allowed(view) or ["get", "post"]
    return [name.upper() for name in found if name in METHODS]


def _allowed(view: Any) -> list[str]:
    """What ``require_http_methods`` and its like were given."""
    while view is not None:
        given = inspect.getclosurevars(view).nonlocals.get("request_method_list") if inspect.isfunction(view) else None
        if given:
            return [name.lower() for name in given]
        view = getattr(view, "__wrapped__", None)
    return []


def django_doors() -> list[str]:
    return [f"{method} {route}" for route, view in routes() if not _is_registry(route) for method in methods_of(view)]


def registry_doors() -> list[str]:
    return [f"{method} {route}" for route, _ in routes() if _is_registry(route) for method in ("GET", "POST")]


def _is_registry(route: str) -> bool:
    return route.startswith("/admin/")


def live_doors() -> list[str]:
    return [
        *(f"{route.method} {route.path}" for route in hot.ROUTES),
        *(f"WS /ws/{kind}/{'' if kind in sockets._WITHOUT_ID else '{id}/'}" for kind in sockets._CONSUMERS),
    ]


def registry_actions() -> list[tuple[str, str]]:
    """(address of the list, action) of every model in the registry."""
    found = []
    for model, model_admin in admin.site._registry.items():
        assert isinstance(model_admin, ModelAdmin)
        address = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
        actions = model_admin._get_base_actions()  # type: ignore[attr-defined]
        found += [(address, name) for _, name, _ in actions]
    return found


def grpc_methods() -> list[str]:
    """Of all services of our protos."""
    modules = [importlib.import_module(f"nodes.pb.{m.name}") for m in pkgutil.iter_modules(nodes.pb.__path__)]
    described = [module.DESCRIPTOR for module in modules if hasattr(module, "DESCRIPTOR")]
    return [
        f"/{service.full_name}/{method.name}"
        for file in described
        for service in file.services_by_name.values()
        for method in service.methods
    ]
