"""Make, name, fill and delete teams. By the project's row they take turns with changes of the project's members."""

from collections.abc import Iterable, Sequence
from typing import Any, Final
from uuid import UUID

from django.db import transaction

from agenthub_site.accounts.actors import Actor
from agenthub_site.accounts.models import Membership, Project
from agenthub_site.accounts.permissions import Can, require
from audit.services import record
from mailboxes.addresses import Address
from nodes.contract.errors import Conflict, Invalid, NotFound

from ..mail.addressing import Names
from ..models import Agent
from .models import ALL, SLUG, TAKEN, Team, TeamMember

MOST: Final = 50
"""Teams of a project."""
MOST_MEMBERS: Final = 200
"""Of a team."""
AT_ONCE: Final = 100
"""Members that are named in one call."""
NAME_CHARS: Final = 128


class TeamExists(Conflict):
    code = "team_exists"


class TooManyTeams(Conflict):
    code, grpc = "too_many_teams", "RESOURCE_EXHAUSTED"
    message = f"A project has at most {MOST} teams. Delete some."


class TeamFull(Conflict):
    code, grpc = "team_full", "RESOURCE_EXHAUSTED"
    message = f"A team has at most {MOST_MEMBERS} members. Make another, or remove some."


class UnknownMember(NotFound):
    code = "unknown_member"


@transaction.atomic
def create_team(project: Project, *, slug: str, by: Actor, name: str = "", members: Sequence[str] = ()) -> Team:
    """A team, called like its slug where it has no name. ``members`` as ``add_to_team`` has them.

    Raises ``Invalid``, ``TeamExists``, ``TooManyTeams``.
    """
    require(by, Can.MANAGE_TEAMS, project.pk)
    if slug == ALL:
        raise _unfit("slug", TAKEN)
    if not SLUG.fullmatch(slug):
        raise _unfit("slug", "A team's slug has a-z, 0-9, _ . and -, up to 64.")
    team = Team(project=project, slug=slug, name=_fit(name or slug))
    _lock(project.pk)
    here = Team.objects.filter(project=project)
    if here.filter(slug=slug).exists():
        raise TeamExists(f"This project has a team {slug!r} already.", slug=slug)
    if here.count() >= MOST:
        raise TooManyTeams(limit=MOST)
    team.save(force_insert=True)
    added = _add(team, members) if members else []
    _record(team, "created", by, title=team.name, members=_names(added))
    return team


@transaction.atomic
def edit_team(team: Team, *, name: str, by: Actor) -> Team:
    """Call it otherwise. Its slug stays. Raises ``Invalid``."""
    require(by, Can.MANAGE_TEAMS, team)
    name = _fit(name)
    if Team.objects.filter(pk=team.pk).exclude(name=name).update(name=name):
        _record(team, "edited", by, title=name)
    team.name = name
    return team


@transaction.atomic
def add_to_team(team: Team, members: Sequence[str], *, by: Actor) -> None:
    """Agents and people of the project, as messages name them: ``mender``, ``agent:ID``, ``user:bob``.

    Who is in it already stays. What was written to the team before is not theirs. All are added or none. Raises
    ``UnknownMember``, ``Invalid`` for a service account, ``TeamFull``.
    """
    require(by, Can.MANAGE_TEAMS, team)
    _lock(team.project_id)
    if added := _add(team, members):
        _record(team, "members_added", by, members=_names(added))


@transaction.atomic
def remove_from_team(team: Team, members: Sequence[str], *, by: Actor) -> None:
    """What was written to them stays theirs. All are removed or none. Raises ``UnknownMember`` for who is not in it."""
    require(by, Can.MANAGE_TEAMS, team)
    _lock(team.project_id)
    rows = {member.address: member for member in team.members.select_related("agent", "membership__user")}
    gone = []
    for word, address in _find(team, members):
        if address not in rows:
            raise UnknownMember(f"{word[:100]!r} is not in the team {team.slug!r}.", member=word[:100])
        gone.append(rows[address])
    TeamMember.objects.filter(pk__in=[member.pk for member in gone]).delete()
    _record(team, "members_removed", by, members=_names(gone))


@transaction.atomic
def delete_team(team: Team, *, by: Actor) -> None:
    """Nobody can write to it any more. What was written stays."""
    require(by, Can.MANAGE_TEAMS, team)
    _lock(team.project_id)
    _still_there(team)
    count = team.members.count()
    Team.objects.filter(pk=team.pk).delete()
    _record(team, "deleted", by, members=count)


def _add(team: Team, words: Sequence[str]) -> list[TeamMember]:
    """Those who were not in it before."""
    _still_there(team)
    found = {address: word for word, address in _find(team, words)}
    ids = {kind: [UUID(each.id) for each in found if each.kind == kind] for kind in ("agent", "user")}
    # Locked, so that one who is archived meanwhile is either not found here, or taken out of the team after this.
    locked = Agent.objects.select_for_update(no_key=True).filter(pk__in=ids["agent"], archived_at=None)
    agents = {agent.pk: agent for agent in locked.order_by("pk").only("pk", "name")}
    people = Membership.objects.filter(project=team.project_id, user__in=ids["user"]).select_related("user")
    memberships = {each.user_id: each for each in people}
    rows = []
    for address, word in found.items():
        agent, membership = agents.get(UUID(address.id)), memberships.get(UUID(address.id))
        if agent is None and membership is None:  # it was archived just now
            raise _unknown(word)
        if membership is not None and membership.user.service_of_id:
            raise _unfit("members", f"{membership.user.username} is a service account. A team has agents and people.")
        rows.append(TeamMember(team=team, agent=agent, membership=membership))
    present = set(team.members.values_list("agent", "membership"))
    fresh = [row for row in rows if (row.agent_id, row.membership_id) not in present]
    if len(present) + len(fresh) > MOST_MEMBERS:
        raise TeamFull(limit=MOST_MEMBERS)
    return TeamMember.objects.bulk_create(fresh)


def _find(team: Team, words: Sequence[str]) -> list[tuple[str, Address]]:
    """Whom each names. Raises ``UnknownMember``, with the first that is nobody."""
    if not 0 < len(words) <= AT_ONCE:
        raise _unfit("members", f"Name 1 to {AT_ONCE} members.")
    names = Names(team.project_id, words)
    found = []
    for word in words:
        address = names.find(word)
        if address is None:
            raise _unknown(word)
        found.append((word, address))
    return found


def _unknown(word: str) -> UnknownMember:
    return UnknownMember(f"There is no agent or member {word[:100]!r} in this project.", member=word[:100])


def _lock(project_id: UUID) -> None:
    Project.objects.select_for_update(no_key=True).get(pk=project_id)


def _still_there(team: Team) -> None:
    if not Team.objects.filter(pk=team.pk).exists():
        raise NotFound(f"The team {team.slug!r} was deleted.")


def _fit(name: str) -> str:
    if not 0 < len(name) <= NAME_CHARS or not name.isprintable():
        raise _unfit("name", f"A team's name has 1 to {NAME_CHARS} printable characters.")
    return name


def _unfit(field: str, problem: str) -> Invalid:
    return Invalid(problem, fields={field: [problem]})


def _names(members: Iterable[TeamMember]) -> list[str]:
    return [f"{member.address.kind}:{member.name}" for member in members]


def _record(team: Team, what: str, by: Actor, **data: Any) -> None:
    record(team.project_id, f"team.{what}", by=by, of=("team", team.pk), team=team.slug, **data)
