"""What templates say with a tag: icons, states, times, sizes."""

import shlex
from datetime import datetime
from typing import Any

from django import template
from django.templatetags.static import static
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from agenthub_site.accounts.actors import Actor
from agenthub_site.accounts.models import Project
from agenthub_site.accounts.permissions import Can, may
from agenthub_site.pages import words
from agenthub_site.pages.questions import answer_of
from agents.models import Agent, Approval, Run
from agents.queries import waiting_for
from agents.states import State
from agents.usage.queries import Spent
from nodes.contract.reasons import Reason

register = template.Library()
MINUTE, HOUR, DAY = 60, 3600, 86_400
_PROJECT_PAGES = (
    ("project", "Overview", Can.VIEW),
    ("policy", "Policy", Can.VIEW),
    ("usage", "Usage", Can.VIEW_USAGE),
    ("people", "People", Can.MANAGE_TEAMS),
    ("webhooks", "Webhooks", Can.MANAGE_WEBHOOKS),
    ("trail", "Audit trail", Can.VIEW_AUDIT),
)
"""By the names of their addresses."""


@register.simple_tag
def icon(name: str, classes: str = "") -> SafeString:
    """An icon of the sprite, hidden from screen readers: the words beside it say what it means."""
    url = static("vendor/tabler-icons/sprite.svg")
    return format_html('<svg class="icon {}" aria-hidden="true"><use href="{}#{}"></use></svg>', classes, url, name)


@register.simple_tag
def state_dot(run: Run) -> SafeString:
    """The state's colour; it pulses while something happens."""
    state = State(run.state)
    pulse = "status-dot-animated" if state in words.MOVING else ""
    return format_html('<span class="status-dot {} status-{}" aria-hidden="true"></span>', pulse, words.COLOURS[state])


@register.simple_tag
def state_badge(run: Run) -> SafeString:
    colour = words.COLOURS[State(run.state)]
    return format_html(
        '<span class="badge state-badge bg-{}-lt" data-state="{}">{}{}</span>',
        colour, run.state, state_dot(run), words.state_name(run.state),
    )  # fmt: skip


@register.simple_tag
def work_dot(state: str) -> SafeString:
    """The colour of a task's, round's or assignment's state, with its name for who does not see it."""
    pulse = "status-dot-animated" if state == "in_progress" else ""
    return format_html(
        '<span class="status-dot {} status-{}" role="img" aria-label="{}"></span>',
        pulse, words.WORK_COLOURS.get(state, "secondary"), words.work_name(state),
    )  # fmt: skip


@register.simple_tag
def work_badge(state: str) -> SafeString:
    colour = words.WORK_COLOURS.get(state, "secondary")
    return format_html('<span class="badge state-badge bg-{}-lt">{}</span>', colour, words.work_name(state))


@register.filter
def work_name(state: str) -> str:
    return words.work_name(state)


@register.filter
def state_name(state: str) -> str:
    return words.state_name(state)


@register.filter
def why(run: Run) -> str:
    """Why the run is where it is, in a sentence; empty where the state says it all."""
    waits = waiting_for(run)
    if waits:
        return f"Waiting for {waits}."
    if run.state in (State.RUNNING, State.SUCCEEDED, State.CANCELLED):
        return ""
    return run.message or words.REASONS[Reason(run.reason)].means if run.reason else run.message


@register.filter
def answered(approval: Approval) -> str:
    return answer_of(approval)


@register.filter
def was_allowed(approval: Approval) -> bool:
    return approval.state == Approval.State.APPLIED and approval.option.get("kind", "").startswith("allow")


@register.filter
def settling(approval: Approval) -> str:
    """How long a decision took to be settled at its node: ``after 40 ms``."""
    if not (approval.resolved_at and approval.decided_at):
        return ""
    seconds = (approval.resolved_at - approval.decided_at).total_seconds()
    return f"after {seconds * 1000:.0f} ms" if seconds < 1 else f"after {duration(seconds)}"


@register.simple_tag
def left(until: datetime) -> SafeString:
    """``09:41 left``; the page's script counts on."""
    seconds = max(0, int((until - timezone.now()).total_seconds()))
    hours = f"{seconds // HOUR}:" if seconds >= HOUR else ""
    text = f"{hours}{seconds % HOUR // MINUTE:02}:{seconds % MINUTE:02} left" if seconds else "time is up"
    return format_html('<span class="tabular" data-left="{}">{}</span>', seconds, text)


@register.simple_tag
def explained(run: Run) -> words.Words | None:
    """What it waits for or why it ended, and what to do next."""
    return words.explain(run, timezone.now())


@register.simple_tag
def ago(moment: datetime | None, never: str = "never") -> SafeString | str:
    """``3 min ago``, kept current by the page's script, with the exact time as title."""
    if moment is None:
        return never
    exact = moment.strftime("%Y-%m-%d %H:%M:%S UTC")
    return format_html(
        '<time datetime="{}" title="{}" data-ago>{}</time>', moment.isoformat(), exact, _distance(moment)
    )


@register.simple_tag
def used(moment: datetime | None) -> SafeString | str:
    """``used 3 min ago``, or ``never used``."""
    return format_html("used {}", ago(moment)) if moment else "never used"


_BROWSERS = (
    ("Edg/", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"), ("Safari/", "Safari"),
    ("curl/", "curl"), ("Python", "Python"),
)  # fmt: skip
_SYSTEMS = (
    ("Android", "Android"), ("iPhone", "iPhone"), ("iPad", "iPad"), ("Windows", "Windows"), ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"), ("Linux", "Linux"),
)  # fmt: skip


@register.filter
def browser(user_agent: str) -> str:
    """``Firefox on Linux``; what is not known is shown as it said itself, cut."""
    name = next((name for mark, name in _BROWSERS if mark in user_agent), "")
    system = next((system for mark, system in _SYSTEMS if mark in user_agent), "")
    return f"{name} on {system}" if name and system else name or system or user_agent[:60] or "Unknown browser"


def _distance(moment: datetime) -> str:
    seconds = (timezone.now() - moment).total_seconds()
    text = duration(abs(seconds))
    if abs(seconds) < 5:
        return "just now"
    return f"{text} ago" if seconds > 0 else f"in {duration(_rounded(-seconds))}"


def _rounded(seconds: float) -> float:
    """What is still to come is told to the nearest unit: a token made for 90 days does not expire in 89."""
    return seconds + max(unit for unit in (0, MINUTE, HOUR, DAY) if unit <= seconds) / 2


def duration(seconds: float) -> str:
    """The two largest units at most: ``42 s``, ``3 min``, ``2 h``, ``5 d``."""
    if seconds < MINUTE:
        return f"{int(seconds)} s"
    if seconds < HOUR:
        return f"{int(seconds // MINUTE)} min"
    return f"{int(seconds // HOUR)} h" if seconds < DAY else f"{int(seconds // DAY)} d"


@register.simple_tag
def elapsed(run: Run) -> SafeString:
    """How long the run took, or has been going on; the page's script counts on."""
    since = run.started_at or run.created_at
    seconds = max(0, int(((run.ended_at or timezone.now()) - since).total_seconds()))
    text = f"{seconds // HOUR}:{seconds % HOUR // MINUTE:02}:{seconds % MINUTE:02}".removeprefix("0:")
    live = "" if run.ended_at else format_html(" data-elapsed-since={}", since.isoformat())
    return format_html('<span class="tabular"{}>{}</span>', live, text)


@register.filter
def may_start(actor: Actor, agent: Agent) -> bool:
    return may(actor, Can.START_RUN, agent.project_id) and not agent.is_external


@register.filter
def command_line(command: Any) -> str:
    return shlex.join(map(str, command)) if isinstance(command, list) else str(command)


@register.filter
def whole(number: int) -> str:
    """``1,234,567``."""
    return f"{number:,}"


@register.filter
def cost(spent: Spent) -> str:
    """``1.50 USD``, each currency by itself, and whether some of it is estimated; nothing known is a dash."""
    parts = [
        f"{micros / 1e6:,.2f} {currency}{' (estimated)' if spent.estimated.get(currency) else ''}"
        for currency, micros in sorted(spent.cost.items())
    ]
    return ", ".join(parts) or "\N{EN DASH}"


@register.filter
def initials(name: str) -> str:
    return name[:2].upper()


@register.simple_tag(takes_context=True)
def here(context: template.Context, *sections: str) -> SafeString | str:
    """Marks the navigation's entry of the present page."""
    if not context["request"].path.startswith(tuple(f"/{section}/" for section in sections)):
        return ""
    return format_html(' aria-current="{}"', "page")


@register.inclusion_tag("parts/project_head.html", takes_context=True)
def project_head(context: template.Context, project: Project, section: str) -> dict[str, Any]:
    """The head of a project's pages: its name, and the pages that one may see."""
    actor = context["request"].actor
    tabs = [
        (name, reverse(name, args=[project.slug]), title)
        for name, title, needed in _PROJECT_PAGES
        if may(actor, needed, project.pk)
    ]
    may_edit = section == "project" and may(actor, Can.EDIT_PROJECT, project.pk)
    return {"project": project, "tabs": tabs, "section": section, "may_edit": may_edit}


@register.simple_tag(takes_context=True)
def with_query(context: template.Context, **changes: Any) -> str:
    """The present address with some parameters changed; an empty value takes one out."""
    query = context["request"].GET.copy()
    query.pop("before", None)
    for name, value in changes.items():
        query.pop(name, None)
        if value:
            query[name] = str(value)
    return f"?{query.urlencode()}"
