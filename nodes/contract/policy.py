"""The policy: which actions of an agent are allowed, asked or denied, and by which rule.

Ordered rules stand on levels: instance, project, agent. On a level the first rule that
matches counts. Of the levels that say something the most restrictive counts, so a lower
level can narrow what an upper one said and never widen it. If no level says anything,
reading is allowed and all else is asked. What is asked may have a standing answer, a
``Grant``; what is denied, or asked each time, may not.

It is compiled by the hub, travels with StartRun, and is applied by the supervisor.
``docs/policies.md`` says the same for those who write rules.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from . import patterns

PATTERN_CHARS = 1_000
RULES = 500
"""On one level at most."""
GRANTS = 500
SOMEWHERE = "?"
"""A directory that only the shell will know."""


class ActionKind(StrEnum):
    """What an agent wants to do."""

    READ = "read"
    WRITE = "write"
    SHELL = "shell"
    NETWORK = "network"
    PUBLISH = "publish"
    OTHER = "other"


GRAVITY = (
    ActionKind.READ, ActionKind.OTHER, ActionKind.WRITE, ActionKind.SHELL, ActionKind.NETWORK, ActionKind.PUBLISH,
)  # fmt: skip
"""Kinds from the harmless to the grave: an action of several parts is called by its gravest."""


class Verdict(StrEnum):
    ALLOW = "allow"
    ASK = "ask"
    DENY = "deny"


_SEVERITY = {Verdict.ALLOW: 0, Verdict.ASK: 1, Verdict.DENY: 2}


@dataclass(frozen=True, slots=True)
class Action:
    """One simple thing that a request would do; a shell command does several. Made by ``actions.py``."""

    kind: ActionKind
    tool: str = ""
    """The runtime's own name for its tool, if it told one."""
    command: str = ""
    """The simple command with all of its words, wrappers and settings: ``placed``, it must match what allows it."""
    essence: str = ""
    """What the command comes down to, as ``git push origin``: a restricting pattern matches this as well."""
    path: str = ""
    """Absolute and resolved."""
    inside: str = ""
    """The same path relative to the workspace; empty if it lies outside of it."""
    host: str = ""
    is_tree: bool = False
    """Whether all that lies below ``path`` is touched, too."""
    is_opaque: bool = False
    """Whether some of it could not be understood: it is asked at best, whatever rules and grants say."""
    where: str = ""
    """Of a command: the directory it runs in, if that is not the workspace itself; ``SOMEWHERE`` if
    nobody knows it: no standing answer is for that."""

    is_fed: bool = False
    """Whether a here-document, a pipe or a file says what the command does: its words alone are allowed by no rule
    about commands, and by no standing answer."""
    is_redirected: bool = False
    """Whether the shell opens ``path`` for the command, which does not name it: its words alone do not allow that."""

    @property
    def placed(self) -> str:
        """The command with its directory: ``cd web && npm test`` is another command than ``npm test``."""
        return f"cd {self.where} && {self.command}" if self.where and self.command else self.command


class Matcher(BaseModel):
    """What a rule is about. All that is given must match; nothing given matches everything."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    kind: ActionKind | None = None
    tool: Annotated[str, Field(max_length=PATTERN_CHARS)] = ""
    path: Annotated[str, Field(max_length=PATTERN_CHARS)] = ""
    command: Annotated[str, Field(max_length=PATTERN_CHARS)] = ""
    host: Annotated[str, Field(max_length=PATTERN_CHARS)] = ""

    @field_validator("tool", "path", "command", "host")
    @classmethod
    def _is_pattern(cls, pattern: str) -> str:
        if found := patterns.problem(pattern):
            raise ValueError(found)
        return pattern

    @property
    def is_bare(self) -> bool:
        """Whether it matches everything."""
        return self.kind is None and not (self.tool or self.path or self.command or self.host)

    def allows(self, action: Action) -> bool:
        """Match narrowly, for letting something go on.

        A tool's name is its own claim: by that alone only reading, and what has no other kind, is let through.
        """
        if self.kind is not None and self.kind is not action.kind:
            return False
        if self.tool:
            if not patterns.text_matches(self.tool, action.tool, broad=False):
                return False
            if self.kind is None and action.kind not in (ActionKind.READ, ActionKind.OTHER):
                return False
        if self.command and (action.is_fed or not patterns.text_matches(self.command, action.placed, broad=False)):
            return False
        if self.command and action.is_redirected and not self.path:
            return False
        if self.path and not patterns.path_matches(self.path, action.path, action.inside, broad=False):
            return False
        return not self.host or patterns.host_matches(self.host, action.host, broad=False)

    def restricts(self, action: Action) -> bool:
        """Match broadly, for asking or denying: a command in any clothes, and every command for the kind ``shell``."""
        if self.kind is not None and self.kind is not action.kind:
            is_command = self.kind is ActionKind.SHELL and bool(action.command)
            if not is_command:
                return False
        if self.tool and not patterns.text_matches(self.tool, action.tool, broad=True):
            return False
        if self.command and not self._is_of(action):
            return False
        if self.path and not (action.path and patterns.path_matches(self.path, action.path, action.inside, broad=True)):
            return False
        return not self.host or patterns.host_matches(self.host, action.host, broad=True)

    def _is_of(self, action: Action) -> bool:
        """What was not understood may hold the command anywhere."""
        pattern = f"*{self.command}*" if action.is_opaque else self.command
        texts = {action.command, action.essence, action.placed}
        return any(patterns.text_matches(pattern, text, broad=True) for text in texts if text)

    def may_touch(self, action: Action) -> bool:
        """Whether ``action`` goes through a directory below which something lies that this restricts."""
        if not (action.is_tree and self.path and action.path):
            return False
        if not patterns.may_be_under(self.path, action.path, action.inside):
            return False
        return self.model_copy(update={"path": ""}).restricts(action)


_M = TypeVar("_M", bound=Matcher)


class Rule(Matcher):
    """One line of a level. ``id`` is for telling which rule decided."""

    verdict: Verdict
    id: str = ""
    note: Annotated[str, Field(max_length=PATTERN_CHARS)] = ""
    is_strict: bool = False
    """Of what is asked: ask each time, no standing answer counts."""

    @model_validator(mode="before")
    @classmethod
    def _know_all(cls, given: Any) -> Any:
        """A condition that this version does not know would make an allowing rule wider: it asks instead."""
        if isinstance(given, dict) and given.keys() - cls.model_fields.keys() and given.get("verdict") == "allow":
            return {**given, "verdict": "ask"}
        return given

    @property
    def severity(self) -> tuple[int, bool]:
        return _SEVERITY[self.verdict], self.is_strict and self.verdict is Verdict.ASK

    def matches(self, action: Action) -> bool:
        return self.allows(action) if self.verdict is Verdict.ALLOW else self.restricts(action)


class Level(BaseModel):
    """Ordered rules of one place: the instance, a project, an agent."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    name: str
    rules: Annotated[tuple[Rule, ...], Field(max_length=RULES)] = ()

    def rule_for(self, action: Action) -> Rule | None:
        """The first that matches. Going through a directory with restricted things in it is asked at least."""
        touched: Rule | None = None
        for rule in self.rules:
            if rule.matches(action):
                return touched if touched and touched.severity > rule.severity else rule
            if touched is None and rule.verdict is not Verdict.ALLOW and rule.may_touch(action):
                touched = rule.model_copy(update={"verdict": Verdict.ASK})
        return touched


class Grant(Matcher):
    """A standing answer ("always allow this"): it answers what is asked, never what is denied or asked each time."""

    id: str
    author: str = ""
    expires_at: datetime | None = None
    seconds_left: float | None = None
    """When it was sent. Whoever applies it counts from there by a clock that nobody sets; the earlier end counts."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """What became of one action, and who decided: a rule of a level, a grant, or (both empty) the default."""

    action: Action
    verdict: Verdict
    level: str = ""
    rule: str = ""
    grant: str = ""
    is_strict: bool = False
    """Whether no grant could have answered it."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict on a whole request: the most restrictive of its actions."""

    verdict: Verdict
    rulings: tuple[Ruling, ...]

    @property
    def decisive(self) -> Ruling:
        """The first action with the verdict of the whole."""
        return next(ruling for ruling in self.rulings if ruling.verdict is self.verdict)


class Policy(BaseModel):
    """What a node applies by itself. ``Policy()`` allows reading and asks for all else."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    levels: tuple[Level, ...] = ()
    grants: Annotated[tuple[Grant, ...], Field(max_length=GRANTS)] = ()
    allow: frozenset[ActionKind] = frozenset({ActionKind.READ})
    deny: frozenset[ActionKind] = frozenset()
    """``allow`` and ``deny`` are all that older supervisors know, and all that older hubs say. With levels they do
    not count."""

    @classmethod
    def of(cls, levels: Iterable[Level], grants: Iterable[Grant] = ()) -> Self:
        """The compiled policy, with what an older supervisor needs so that it is no more lenient."""
        held = tuple(levels)
        rules = [rule for level in held for rule in level.rules]
        restricting = [rule for rule in rules if rule.verdict is not Verdict.ALLOW]
        denying = [rule for rule in rules if rule.verdict is Verdict.DENY]
        reads = any(rule.kind in (None, ActionKind.READ, ActionKind.SHELL) for rule in restricting)
        denied = {kind for kind in ActionKind if any(rule.kind in (None, kind) for rule in denying)}
        return cls(
            levels=held,
            grants=tuple(grants),
            allow=frozenset() if reads else frozenset({ActionKind.READ}),
            deny=frozenset(denied),
        )

    def decide(self, actions: Sequence[Action], *, now: datetime | None = None) -> Decision:
        """Judge a request. ``now`` is for the expiry of grants; nothing at all is an action of the kind *other*."""
        now = now or datetime.now(UTC)
        alive = [grant for grant in self.grants if grant.expires_at is None or grant.expires_at > now]
        levels = self.levels or (self._kinds(),)
        rulings = tuple(_rule(levels, alive, action) for action in actions or (Action(ActionKind.OTHER),))
        return Decision(max((ruling.verdict for ruling in rulings), key=_SEVERITY.__getitem__), rulings)

    def at_home(self, home: str) -> Self:
        """With ``~/`` in paths meaning ``home``, as whoever executes it needs it."""
        prefix = patterns.literal(home.rstrip("/"))

        def moved(matcher: _M) -> _M:
            if not matcher.path.startswith("~/"):
                return matcher
            return matcher.model_copy(update={"path": prefix + matcher.path[1:]})

        levels = tuple(
            level.model_copy(update={"rules": tuple(moved(rule) for rule in level.rules)}) for level in self.levels
        )
        return self.model_copy(update={"levels": levels, "grants": tuple(moved(grant) for grant in self.grants)})

    def _kinds(self) -> Level:
        """``allow`` and ``deny`` as rules: an older hub knows no others."""
        denied = [Rule(verdict=Verdict.DENY, kind=kind) for kind in ActionKind if kind in self.deny]
        allowed = [Rule(verdict=Verdict.ALLOW, kind=kind) for kind in ActionKind if kind in self.allow]
        rest = [] if ActionKind.READ in self.allow else [Rule(verdict=Verdict.ASK, kind=ActionKind.READ)]
        return Level(name="", rules=(*denied, *allowed, *rest))


def _rule(levels: Sequence[Level], grants: Sequence[Grant], action: Action) -> Ruling:
    found: tuple[Level, Rule] | None = None
    for level in levels:
        rule = level.rule_for(action)
        if rule is not None and (found is None or rule.severity > found[1].severity):
            found = level, rule
    is_strict = action.is_opaque
    if found is None:
        level_name, id_ = "", ""
        verdict = Verdict.ALLOW if action.kind is ActionKind.READ else Verdict.ASK
    else:
        level_name, id_, verdict = found[0].name, found[1].id, found[1].verdict
        is_strict |= found[1].severity[1] or verdict is Verdict.DENY
    if verdict is Verdict.ALLOW and action.is_opaque:
        return Ruling(action, Verdict.ASK, is_strict=True)
    is_strict |= (action.is_fed or action.where == SOMEWHERE) and verdict is Verdict.ASK
    if verdict is Verdict.ASK and not is_strict:
        grant = next((grant for grant in grants if grant.allows(action)), None)
        if grant is not None:
            return Ruling(action, Verdict.ALLOW, level_name, id_, grant.id)
    return Ruling(action, verdict, level_name, id_, is_strict=is_strict)
