"""What every page shares: a signed-in person as an actor, and services' refusals beside the fields they concern."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django_htmx.middleware import HtmxDetails

from agenthub_site.accounts.actors import Actor
from agenthub_site.accounts.authentication import request_actor
from agenthub_site.accounts.models import Project, User
from nodes.contract.errors import HubError

P = ParamSpec("P")


class PageRequest(HttpRequest):
    """A request of somebody who is signed in."""

    user: User
    actor: Actor
    htmx: HtmxDetails


def page(
    view: Callable[Concatenate[PageRequest, P], HttpResponse],
) -> Callable[Concatenate[HttpRequest, P], HttpResponse]:
    """Sign in first; then ``request.actor`` is who asks. What a view lets through, ``hub_errors`` answers."""

    @login_required
    @wraps(view)
    def door(request: PageRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        request.actor = request_actor(request)
        return view(request, *args, **kwargs)

    return door  # type: ignore[return-value]


def storable(text: str) -> str:
    """Without NUL, which PostgreSQL takes in no text, not even to look for it."""
    return text.replace("\x00", "")


def named_project(request: PageRequest) -> Project | None:
    """The project that ``?project=`` names, if the person sees it."""
    slug = storable(request.GET.get("project", ""))
    found: Project | None = Project.objects.visible_to(request.actor).filter(slug=slug).first()
    return found


def show_in_form(form: Form, error: HubError) -> None:
    """A service's refusal beside the fields it names, or above the form."""
    fields = error.data.get("fields")
    named = {name: why for name, why in fields.items() if name in form.fields} if isinstance(fields, dict) else {}
    for name, why in named.items():
        form.add_error(name, why)
    if not named:
        form.add_error(None, error.text)


def tell(request: HttpRequest, error: HubError) -> None:
    """A service's refusal as a message on the next page."""
    messages.error(request, error.text)
