""" "Always allow this": from one question to standing answers as narrow as can be, shown before they are stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.utils import timezone
from pydantic import ValidationError

from agenthub_site.accounts.actors import Actor
from agenthub_site.accounts.permissions import Can, require
from nodes.contract.errors import Conflict, Invalid
from nodes.contract.events import JudgedAction
from nodes.contract.judged import SHOWN_ACTIONS, action_of, narrowest
from nodes.contract.patterns import literal
from nodes.contract.policy import Matcher

from ..models import Agent, Approval
from ..rules import PolicyGrant
from .approvals import decide_approval
from .policies import GRANT_DAYS, author_of, begin_change, store_grants, tell_runs

LOOKED_BACK: Final = timedelta(days=30)
MOST_LOOKED_AT: Final = 1_000
MOST_EXAMPLES: Final = 5
_REDACTED: Final = ("[secret]", "[path]")
_NAMES: Final = ("kind", "tool", "path", "command", "host")


class CannotAlwaysAllow(Conflict):
    code = "cannot_always_allow"
    message = "No standing answer can be given to this; answer it this once."


@dataclass(frozen=True, slots=True)
class Example:
    """An earlier question that a grant would have answered."""

    approval: UUID
    title: str
    state: str


@dataclass(frozen=True, slots=True)
class Proposal:
    """For one action of a question: matchers to choose from, the narrowest first."""

    offered: list[Matcher]
    matched: list[int]
    """By each of ``offered``: of how many recent questions of the project it would have matched an action."""
    examples: list[Example]
    """Of what the narrowest would have matched."""


def propose_grants(approval: Approval, *, by: Actor) -> tuple[list[Proposal], int]:
    """What "always allow this" would store, one proposal for each action that was asked, and how many questions of the
    last 30 days were looked at. Raises ``CannotAlwaysAllow``. Nothing is written.
    """
    require(by, Can.ANSWER_APPROVAL, approval)
    require(by, Can.EDIT_POLICY, approval)
    offers = _offers(approval)
    recent = Approval.objects.filter(project=approval.project_id, requested_at__gte=timezone.now() - LOOKED_BACK)
    rows = list(recent.order_by("-id").values_list("pk", "title", "state", "request__actions")[:MOST_LOOKED_AT])
    asked = [(Example(pk, title, state), [action_of(each) for each in _shown(told)]) for pk, title, state, told in rows]
    return [_held_against(offered, asked) for offered in offers], len(rows)


def _held_against(offered: list[Matcher], asked: Sequence[tuple[Example, Sequence[Any]]]) -> Proposal:
    found = [[shown for shown, actions in asked if any(matcher.allows(a) for a in actions)] for matcher in offered]
    return Proposal(offered, [len(each) for each in found], found[0][:MOST_EXAMPLES])


def may_stand(approval: Approval) -> bool:
    """Whether a standing answer can be given to it. No query."""
    try:
        _offers(approval)
    except CannotAlwaysAllow:
        return False
    return True


@transaction.atomic
def always_allow(
    approval: Approval, *, by: Actor, choices: Sequence[int] = (), level: str = "agent", days: int = GRANT_DAYS
) -> tuple[Approval, list[PolicyGrant]]:
    """Answer with the option that allows this once, and store the chosen of what is offered, both or neither.

    ``choices`` say for each action which of its offered matchers is meant (the narrowest, where left out). The grants
    are the agent's, or with ``level`` the project's. Raises ``CannotAlwaysAllow``, and as ``decide_approval`` does.
    """
    require(by, Can.ANSWER_APPROVAL, approval)
    require(by, Can.EDIT_POLICY, approval)
    if level not in ("agent", "project"):
        raise Invalid("level is 'agent' or 'project'.", fields={"level": ["is 'agent' or 'project'"]})
    offers = _offers(approval)
    chosen = _chosen(offers, choices)
    agent = Agent.objects.get(runs=approval.run_id) if level == "agent" else None
    runs = begin_change(approval.project_id, agent.pk if agent else None, but_first=approval.run_id)
    # The answer is sent before the policy, which would otherwise withdraw the question.
    decided = decide_approval(approval, by=by, option_id=_once(approval))
    grants = [
        PolicyGrant(
            project_id=approval.project_id, agent=agent, approval=approval, note=approval.title[:1_000],
            **author_of(by), **{name: getattr(matcher, name) or "" for name in _NAMES},
        )
        for matcher in chosen
    ]  # fmt: skip
    store_grants(grants, by=by, days=days)
    tell_runs(runs)
    return decided, grants


def _once(approval: Approval) -> str:
    for option in approval.request["options"]:
        if option["kind"] == "allow_once":
            return str(option["option_id"])
    raise CannotAlwaysAllow("The runtime offers no way to allow this once.")


def _chosen(offers: Sequence[list[Matcher]], choices: Sequence[int]) -> list[Matcher]:
    if len(choices) > len(offers):
        raise Invalid("There are more choices than actions.", fields={"choices": [f"{len(offers)} at most"]})
    picked: list[Matcher] = []
    for number, offered in enumerate(offers):
        choice = choices[number] if number < len(choices) else 0
        if not 0 <= choice < len(offered):
            raise Invalid("That is not among what is offered.", fields={"choices": [f"0 to {len(offered) - 1}"]})
        if offered[choice] not in picked:
            picked.append(offered[choice])
    return picked


def _offers(approval: Approval) -> list[list[Matcher]]:
    """For each action that is asked, what may be granted; the whole question or nothing."""
    request: Mapping[str, Any] = approval.request
    shown = _shown(request.get("actions"))
    if not shown or len(shown) >= SHOWN_ACTIONS or request.get("is_strict"):
        raise CannotAlwaysAllow(_why(request, shown))
    offers: list[list[Matcher]] = []
    for action in shown:
        if action.verdict == "allow":
            continue
        matcher = narrowest(action)
        is_redacted = any(mark in text for mark in _REDACTED for text in (action.command, action.path, action.host))
        if matcher is None or is_redacted or action.kind == "publish":
            raise CannotAlwaysAllow(_why(request, [action], is_redacted=is_redacted))
        offers.append([matcher, *_wider(matcher, action)])
    if not offers:
        raise CannotAlwaysAllow()
    _once(approval)
    return offers


def _why(request: Mapping[str, Any], shown: Sequence[JudgedAction], *, is_redacted: bool = False) -> str:
    if not shown:
        return "The node did not say what this comes down to, so no standing answer can be given to it."
    if any(action.is_opaque for action in shown):
        return "This could not be wholly understood, so it is asked each time."
    if request.get("is_strict") or any(action.is_strict for action in shown):
        return (
            "A rule of the policy says to ask for this each time, or a pipe, file or here-document says what it does, "
            "or only the shell knows in which directory."
        )
    if any(action.kind == "publish" for action in shown):
        return "What is published is asked each time. A maintainer may write a rule for it."
    if is_redacted:
        return "Parts of it are not told to the hub (a secret, or a path elsewhere): no pattern can be made of it."
    return "No narrow pattern can be made of this; answer it this once, or write a rule."


def _wider(matcher: Matcher, action: JudgedAction) -> list[Matcher]:
    """One step wider, for files: their directory, unless it is a hidden one or lies outside of the workspace, as a
    home does with all that is hidden in it. Commands have none: what follows ``env A=b``, ``ssh host`` or ``npm exec``
    may be anything.
    """
    folder = action.path.rpartition("/")[0]
    is_file = not (action.command or action.host) and action.kind in ("read", "write")
    if (
        not (is_file and folder)
        or folder.startswith(("/", "~"))
        or any(part.startswith(".") for part in folder.split("/"))
    ):
        return []
    return [matcher.model_copy(update={"path": f"{literal(folder)}/**"})]


def _shown(told: Any) -> list[JudgedAction]:
    """What a node told of a question's actions; nothing for what an earlier one asked."""
    try:
        return [JudgedAction.model_validate(each) for each in told or ()]
    except (ValidationError, TypeError):
        return []
