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
from ..webhooks.models import Webhook

TEAM_ALL: Final = "team:all"
WEBHOOK: Final = "webhook:"
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
    """Whom ``words`` name in the project: two queries, however many they are.

    ``agent:NAME`` or ``agent:ID``, ``user:NAME`` or ``user:ID``, a bare name or id of an agent, ``PROJECT/NAME``
    (of this project), ``user`` (who started the run), ``webhook:NAME``, ``team:all`` (everybody but the sender).
    Raises ``UnknownRecipient``, with the first that is nobody.
    """
    if not 0 < len(words) <= _MOST_WORDS:
        raise Invalid(f"Name 1 to {_MOST_WORDS} recipients.", fields={"to": ["1 to 100 of them"]})
    team = [word for word in words if word in (TEAM_ALL, "all")]
    if team:
        if len(words) > 1:
            raise Invalid("A team is written to by itself: it holds everybody.", fields={"to": ["team:all alone"]})
        others = tuple(address for address in members_of(project_id) if address != sender)
        if not others:
            raise UnknownRecipient("There is nobody else in the team.", to=TEAM_ALL)
        return Recipients(others, TEAM_ALL)
    names = {word.partition(":")[2] or word for word in words} | {word.rpartition("/")[2] for word in words}
    ids = [UUID(name) for name in names if _ID.fullmatch(name)]
    if run is not None and run.user_id:
        ids.append(run.user_id)
    here = Agent.objects.filter(Q(pk__in=ids) | Q(name__in=names), project=project_id, archived_at=None)
    members = Membership.objects.filter(Q(user__in=ids) | Q(user__username__in=names), project=project_id)
    agents = _Named()
    for pk, name, slug in here.values_list("pk", "name", "project__slug"):
        agents.add(pk, name, f"{slug}/{name}")
    people = _Named()
    for pk, name in members.values_list("user_id", "user__username"):
        people.add(pk, name)
    webhooks = _webhooks(project_id, words)
    return Recipients(tuple(_one(word, agents, people, webhooks, run) for word in words))


def _webhooks(project_id: UUID, words: Sequence[str]) -> "_Named":
    """Those of the project that are named. Raises ``WebhookOff`` for one that is switched off."""
    found = _Named()
    names = {word.removeprefix(WEBHOOK) for word in words if word.startswith(WEBHOOK)}
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


def _one(word: str, agents: _Named, people: _Named, webhooks: _Named, run: Run | None) -> Address:
    kind, colon, name = word.partition(":")
    if word == "user" and run is not None and run.user_id:
        found, kind = people.find(str(run.user_id)), "user"
    elif colon and kind in ("agent", "user"):
        found = (agents if kind == "agent" else people).find(name)
    elif word.startswith(WEBHOOK):
        found = webhooks.find(name)
    else:
        found, kind = agents.find(word), "agent"
        if found is None:
            found, kind = people.find(word), "user"
    if found is None:
        raise UnknownRecipient(
            f"There is no {word[:100]!r} in this project to write to. 'agenthub actor team-members' lists who is.",
            to=word[:100],
        )
    return Address(kind, found)


def members_of(project_id: UUID) -> list[Address]:
    """The team ``all`` of a project: its agents and its people, service accounts left out."""
    agents = Agent.objects.filter(project=project_id, archived_at=None).order_by("name").values_list("pk", flat=True)
    people = Membership.objects.filter(project=project_id, user__service_of=None, user__is_active=True)
    users = people.order_by("user__username").values_list("user_id", flat=True)
    return [*(Address.of("agent", pk) for pk in agents), *(Address.of("user", pk) for pk in users)]


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
