"""Judged actions as events, doors and dry runs show them; and the narrowest standing answer to one of them."""

from pydantic import BaseModel, ConfigDict

from .actions import Place, Request, actions_of, gravest
from .events import JudgedAction
from .patterns import literal, problem
from .policy import PATTERN_CHARS, Action, ActionKind, Decision, Matcher, Policy, Verdict

SHOWN_ACTIONS = 20
SHOWN_CHARS = 1_000
"""Of an action's command and path, within an event."""
_ORDER = (Verdict.DENY, Verdict.ASK, Verdict.ALLOW)


class Trial(BaseModel):
    """What a policy says to a request, and which rule of which level decided. Empty: the default."""

    model_config = ConfigDict(frozen=True)
    verdict: Verdict
    kind: ActionKind
    level: str = ""
    rule: str = ""
    grant: str = ""
    actions: list[JudgedAction]


_ACP = {"read": "read", "write": "edit", "shell": "execute", "network": "fetch", "publish": "other", "other": "other"}


def imagined(*, command: str = "", path: str = "", kind: str = "", tool: str = "", host: str = "") -> Request:
    """A request for a dry run. With a command that says what it is; a path alone is read, a host alone reached."""
    raw: dict[str, str] = {}
    if command:
        raw["command"] = command
    if path:
        raw["path"] = path
    if host:
        raw["url"] = host if "://" in host else f"https://{host}/"
    claimed = kind or ("shell" if command else "network" if host else "read" if path else "other")
    return Request(kind=_ACP[claimed], title=tool, raw_input=raw or None, tool=tool)


def try_out(policy: Policy, request: Request, place: Place) -> Trial:
    """A dry run: nothing is asked and nothing is done."""
    actions = actions_of(request, place)
    decision = policy.at_home(place.home).decide(actions) if place.home else policy.decide(actions)
    by = decision.decisive
    return Trial(
        verdict=decision.verdict,
        kind=gravest(actions),
        level=by.level,
        rule=by.rule,
        grant=by.grant,
        actions=judged(decision),
    )


def judged(decision: Decision) -> list[JudgedAction]:
    """The actions of a request, the gravest verdicts first, as many as an event holds."""
    rulings = sorted(decision.rulings, key=lambda ruling: _ORDER.index(ruling.verdict))
    return [
        JudgedAction(
            kind=ruling.action.kind.value,
            tool=ruling.action.tool[:SHOWN_CHARS],
            command=ruling.action.placed[:SHOWN_CHARS],
            path=(ruling.action.inside or ruling.action.path)[:SHOWN_CHARS],
            host=ruling.action.host[:SHOWN_CHARS],
            is_opaque=ruling.action.is_opaque,
            verdict=ruling.verdict.value,
            level=ruling.level,
            rule=ruling.rule,
            grant=ruling.grant,
            is_strict=ruling.is_strict,
        )
        for ruling in rulings[:SHOWN_ACTIONS]
    ]


def action_of(shown: JudgedAction) -> Action:
    """The action again, as far as it was shown: enough to see what a rule or grant would have matched."""
    is_absolute = shown.path.startswith("/")
    return Action(
        kind=ActionKind(shown.kind),
        tool=shown.tool,
        command=shown.command,
        essence=shown.command,
        path=shown.path if is_absolute else "",
        inside="" if is_absolute else shown.path,
        host=shown.host,
        is_opaque=shown.is_opaque,
    )


def narrowest(shown: JudgedAction) -> Matcher | None:
    """What "always allow this" proposes: this action and nothing else. None where no standing answer would count."""
    texts = {
        "tool": "" if shown.command else shown.tool,
        "path": shown.path,
        "command": shown.command,
        "host": shown.host,
    }
    if shown.is_opaque or shown.is_strict or shown.verdict != "ask" or not any(texts.values()):
        return None
    if shown.kind != "other" and not (shown.path or shown.command or shown.host):
        return None  # by its tool alone it would be all that this tool reads, writes, runs or reaches
    wanted = {name: literal(text) for name, text in texts.items() if text}
    if any(len(texts[name]) >= SHOWN_CHARS or len(p) > PATTERN_CHARS or problem(p) for name, p in wanted.items()):
        return None
    if "path" in wanted and ("/" not in wanted["path"] or wanted["path"].startswith("~")):
        wanted["path"] = f"./{wanted['path']}"  # this one, rather than any of that name, or one in the home directory
    return Matcher(kind=ActionKind(shown.kind), **wanted)
