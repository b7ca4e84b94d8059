"""From the words in which people and agents name each other to addresses, and back."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.db.models import Q

from agenthub_site.accounts.actors import Actor
from agenthub_site.accounts.models import Membership, User
from mailboxes.addresses import Address
from nodes.contract.errors import Conflict, Invalid, NotFound

from ..models import Agent, Run
from ..teams.models import ALL, SLUG, Team
from ..teams.queries import addresses_in
from ..webhooks.models import Webhook

TEAM: Final = "team:"
TEAM_ALL: Final = f"{TEAM}{ALL}"
WEBHOOK: Final = "webhook:"
STARTER: Final = "user"
"""Whoever started the run at hand."""
_MOST_WORDS: Final = 100
_ID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class UnknownRecipient(NotFound):
    code = "unknown_recipient"


class WebhookOff(Conflict):
    code, grpc = "webhook_off", "FAILED_PRECONDITION"


@dataclass(frozen=True, slots=True)
class Recipients:
    """Whom a message goes to; ``audience`` is the team that was named, if one was."""

    addresses: tuple[Address, ...]
    audience: str = ""


def address_of(actor: Actor) -> Address:
    """Whose inbox is the actor's own."""
    return Address.of(actor.kind, actor.id)


def resolve(project_id: UUID, words: Sequence[str], *, sender: Address, run: Run | None = None) -> Recipients:
    """Whom ``words`` name in the project: two queries, however many they are; one more each for webhooks
    and ``user``.

    ``agent:NAME`` or ``agent:ID``, ``user:NAME`` or ``user:ID``, a bare name or id of an agent, ``PROJECT/NAME``
    (of this project), ``user`` (who started the run), ``webhook:NAME``, ``team:SLUG`` (its members but the sender;
    ``team:all`` is everybody). Raises ``UnknownRecipient``, with the first that is nobody.
    """
    if not 0 < len(words) <= _MOST_WORDS:
        raise Invalid(f"Name 1 to {_MOST_WORDS} recipients.", fields={"to": ["1 to 100 of them"]})
    teams = [word for word in words if word == ALL or word.startswith(TEAM)]
    if teams:
        if len(words) > 1:
            raise Invalid("A team is written to by itself, with nobody beside it.", fields={"to": ["a team alone"]})
        slug = teams[0].removeprefix(TEAM)
        others = tuple(address for address in members_of(project_id, slug) if address != sender)
        if not others:
            raise UnknownRecipient(f"There is nobody else in the team {slug!r}.", to=f"{TEAM}{slug}")
        return Recipients(others, f"{TEAM}{slug}")
    starter = _starter_of(run) if run is not None and STARTER in words else None
    names = Names(project_id, words)
    webhooks = _webhooks(project_id, words)
    return Recipients(tuple(_one(word, names, webhooks, starter) for word in words))


def _starter_of(run: Run) -> Address | None:
    """Who started it, if they still read the project's mail: one of its people, or a root operator."""
    reads = Q(is_superuser=True) | Q(pk__in=Membership.objects.filter(project=run.project_id).values("user"))
    is_here = run.user_id is not None and User.objects.filter(reads, pk=run.user_id, is_active=True).exists()
    return Address.of("user", run.user_id) if is_here and run.user_id else None


def _webhooks(project_id: UUID, words: Sequence[str]) -> "_Named":
    """Those of the project that are named. Raises ``WebhookOff`` for one that is switched off."""
    found = _Named()
    names = {word.removeprefix(WEBHOOK) for word in words if word.startswith(WEBHOOK) and word.isprintable()}
    if not names:
        return found
    ids = [UUID(name) for name in names if _ID.fullmatch(name)]
    here = Webhook.objects.filter(Q(pk__in=ids) | Q(name__in=names), project=project_id)
    for pk, name, is_enabled in here.values_list("pk", "name", "is_enabled"):
        if not is_enabled:
            raise WebhookOff(f"The webhook {name!r} is switched off.", to=name)
        found.add(pk, name)
    return found


class _Named:
    """Some of a kind in a project, by id and by name."""

    def __init__(self) -> None:
        self._ids: set[str] = set()
        self._by_name: dict[str, str] = {}

    def add(self, id_: UUID, *names: str) -> None:
        self._ids.add(str(id_))
        self._by_name.update(dict.fromkeys(names, str(id_)))

    def find(self, word: str) -> str | None:
        """By id first: whoever takes another's id for a name does not get the other's mail."""
        id_ = word.lower()
        return id_ if id_ in self._ids else self._by_name.get(word)


class Names:
    """The agents and people of a project whom some words may name: two queries, however many they are."""

    def __init__(self, project_id: UUID, words: Sequence[str]) -> None:
        clean = [word for word in words if word.isprintable()]  # nobody's name is otherwise, and no database takes NUL
        names = {word.partition(":")[2] or word for word in clean} | {word.rpartition("/")[2] for word in clean}
        ids = [UUID(name) for name in names if _ID.fullmatch(name)]
        agents = Agent.objects.filter(Q(pk__in=ids) | Q(name__in=names), project=project_id, archived_at=None)
        people = Membership.objects.filter(Q(user__in=ids) | Q(user__username__in=names), project=project_id)
        self._agents, self._people = _Named(), _Named()
        for pk, name, slug in agents.values_list("pk", "name", "project__slug"):
            self._agents.add(pk, name, f"{slug}/{name}")
        for pk, name in people.values_list("user_id", "user__username"):
            self._people.add(pk, name)

    def find(self, word: str) -> Address | None:
        """``agent:NAME``, ``user:NAME`` or a bare name, which is an agent's before it is a person's."""
        kind, colon, name = word.partition(":")
        if not colon or kind not in ("agent", "user"):
            return self.find(f"agent:{word}") or self.find(f"user:{word}")
        found = (self._agents if kind == "agent" else self._people).find(name)
        return Address(kind, found) if found is not None else None


def _one(word: str, names: Names, webhooks: _Named, starter: Address | None) -> Address:
    if word == STARTER and starter is not None:
        found: Address | None = starter
    elif word.startswith(WEBHOOK):
        id_ = webhooks.find(word.removeprefix(WEBHOOK))
        found = Address("webhook", id_) if id_ is not None else None
    else:
        found = names.find(word)
    if found is None:
        raise UnknownRecipient(_why_none(word), to=word[:100])
    return found


def _why_none(word: str) -> str:
    if word == STARTER:
        return "'user' is who started the run at hand. Name the run, or write to user:NAME."
    if word.startswith(WEBHOOK):
        return f"There is no {word[:100]!r} in this project to write to. Its maintainers make webhooks."
    return f"There is no {word[:100]!r} in this project to write to. 'agenthub actor team-members' lists who is."


def members_of(project_id: UUID, slug: str = ALL) -> list[Address]:
    """Who is in a team: of ``all`` the project's agents and people, service accounts left out.

    Raises ``UnknownRecipient`` for a team that the project does not have.
    """
    if slug == ALL:
        return _everybody(project_id)
    if SLUG.fullmatch(slug):
        found = addresses_in(project_id, slug)
        if found or Team.objects.filter(project=project_id, slug=slug).exists():
            return found
    raise UnknownRecipient(
        f"There is no team {slug[:100]!r} in this project to write to. 'agenthub actor team-members' lists its teams.",
        to=f"{TEAM}{slug[:100]}",
    )


def _everybody(project_id: UUID) -> list[Address]:
    agents = Agent.objects.filter(project=project_id, archived_at=None).order_by("name").values_list("pk", flat=True)
    people = Membership.objects.filter(project=project_id, user__service_of=None, user__is_active=True)
    users = people.order_by("user__username").values_list("user_id", flat=True)
    return [*(Address.of("agent", pk) for pk in agents), *(Address.of("user", pk) for pk in users)]


def teams_of(project_id: UUID) -> list[str]:
    """The slugs of a project's teams: ``all`` first, then the others by name."""
    return [ALL, *Team.objects.filter(project=project_id).order_by("slug").values_list("slug", flat=True)]


def names_of(addresses: Collection[Address]) -> dict[Address, str]:
    """What each is called: ``harbour/mender``, ``bob``; empty for who is gone. A query for each kind."""
    names = {address: "AgentHub" if address.kind == "system" else "" for address in addresses}
    agents = [address.id for address in names if address.kind == "agent"]
    users = [address.id for address in names if address.kind == "user"]
    if agents:
        for pk, project, name in Agent.objects.filter(pk__in=agents).values_list("pk", "project__slug", "name"):
            names[Address.of("agent", pk)] = f"{project}/{name}"
    if users:
        for pk, username in User.objects.filter(pk__in=users).values_list("pk", "username"):
            names[Address.of("user", pk)] = username
    webhooks = [address.id for address in names if address.kind == "webhook"]
    if webhooks:
        for pk, name in Webhook.objects.filter(pk__in=webhooks).values_list("pk", "name"):
            names[Address.of("webhook", pk)] = f"{WEBHOOK}{name}"
    return names
