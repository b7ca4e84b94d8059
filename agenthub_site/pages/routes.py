"""All routes in one list: which project may use which nodes. Changed in the registry, by root operators."""

from typing import Final

from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from agenthub_site.accounts.permissions import Can, may
from nodes.models import Route

from .doors import PageRequest, page

PAGE_SIZE: Final = 100


@require_GET
@page
def routes(request: PageRequest) -> HttpResponse:
    """Of the projects that one sees; for root of all."""
    seen = Route.objects.visible_to(request.actor).select_related("project", "node", "user")
    ordered = seen.order_by("project__slug", "-is_enabled", "node__slug", "id")
    part = Paginator(ordered, PAGE_SIZE).get_page(request.GET.get("page"))
    context = {"part": part, "may_route": may(request.actor, Can.MANAGE_ROUTES)}
    return render(request, "pages/nodes/routes.html", context)
