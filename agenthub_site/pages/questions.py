"""An approval as a card shows it: what exactly is asked, bounded, and as text only."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Final

from django.forms import Form
from django.utils import timezone

from agents.models import Approval
from agents.rules import PolicyGrant
from agents.services.always_allow import Proposal
from nodes.contract.policy import Matcher

TEXT_CHARS: Final = 8_000
"""Of a text or command at most; the run page has the rest."""
DIFF_LINES: Final = 200
LINE_CHARS: Final = 400
PARTS: Final = 20
HASH_CHARS: Final = 10
CONTEXT_LINES: Final = 3
ALIGNED_CELLS: Final = 100_000
"""Beyond this product of line counts the old lines go and the new ones come, unaligned: the page is asked for often."""

ASKS: Final[dict[str, str]] = {
    "read": "May it read this?",
    "write": "May it change this?",
    "shell": "May it run this command?",
    "network": "May it use the network?",
    "publish": "May it publish this?",
    "other": "May it do this?",
}
_ORDER: Final = ("allow_once", "allow_always", "reject_once", "reject_always")


@dataclass(frozen=True, slots=True)
class Line:
    """``sign`` is ``+``, ``-``, a space, or ``…`` for lines left out."""

    sign: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """A proposed change of a file. ``more`` lines of it are not shown."""

    path: str
    is_new: bool
    lines: list[Line]
    more: int


@dataclass(frozen=True, slots=True)
class Standing:
    """What "always allow this" would store: for each part of the question what one may choose from."""

    parts: list[list[tuple[str, int]]]
    """In words, and how many recent questions it would have answered."""
    examples: list[str]
    looked_at: int

    @classmethod
    def of(cls, proposals: Sequence[Proposal], looked_at: int) -> "Standing":
        parts = [
            [(_about(matcher), matched) for matcher, matched in zip(each.offered, each.matched, strict=True)]
            for each in proposals
        ]
        titles = [example.title for each in proposals for example in each.examples]
        return cls(parts, list(dict.fromkeys(titles)), looked_at)


@dataclass(frozen=True, slots=True)
class Part:
    """One action of what is asked: its kind, what it is about, and what the policy says of it."""

    kind: str
    what: str
    says: str


@dataclass(frozen=True, slots=True)
class Card:
    """``place`` is where it stands: the ``inbox``, its ``run``, or a page of its own (empty)."""

    approval: Approval
    may_answer: bool
    problem: str = ""
    """Why the answer that was just given did not count."""
    place: str = ""
    may_always: bool = False
    """Whether a standing answer may be given, by this person to this question."""
    may_edit_policy: bool = False
    """Whether this person may; who may not is not offered the agent's own *always*."""
    standing: Standing | None = None
    """Shown instead of the answers, once somebody wants to give one, with its ``form``."""
    form: Form | None = None

    @property
    def query(self) -> str:
        """For the addresses of its answers, so that they come back as this card does."""
        return f"?in={self.place}" if self.place else ""

    @property
    def is_open(self) -> bool:
        """An answer still counts."""
        approval = self.approval
        is_waiting = approval.state == Approval.State.PENDING and approval.expires_at > timezone.now()
        return is_waiting and not approval.run.is_ended

    @property
    def became(self) -> str:
        """What became of it; empty while it is open."""
        if self.is_open:
            return ""
        if self.approval.state == Approval.State.PENDING and self.approval.run.is_ended:
            return "The run ended before anybody answered"
        return answer_of(self.approval)

    @property
    def mark(self) -> str:
        """Its icon: a question, or how it was answered."""
        if self.is_open:
            return "shield-question"
        is_allowed = self.approval.option.get("kind", "").startswith("allow")
        return "shield-check" if is_allowed and self.approval.state == Approval.State.APPLIED else "shield-x"

    @property
    def hash(self) -> str:
        """The beginning of the action's hash: an answer counts for exactly this action."""
        return self.approval.action_hash[:HASH_CHARS]

    @property
    def parts(self) -> list[Part]:
        """What it comes down to, where that is more than its title and command say."""
        told = [each for each in self._request.get("actions") or () if isinstance(each, dict)]
        if len(told) < 2 and not any(each.get("is_opaque") or each.get("rule") for each in told):
            return []
        return [_part(each) for each in told[:PARTS]]

    @property
    def grants(self) -> list[PolicyGrant]:
        """The standing answers that were given with it."""
        return list(self.approval.grants.all())

    @property
    def asked_first(self) -> str:
        """Who is asked, where that is not simply whoever may answer; empty if it is."""
        roles, agent, at = self.approval.asks_roles, self.approval.offered_agent, self.approval.people_at
        if self.approval.state != Approval.State.PENDING:
            return ""
        if agent and at and at > timezone.now():
            return f"With {agent.name} for review; people are asked at {at:%H:%M:%S} UTC."
        return "" if self.may_answer or not roles else f"The policy asks: {', '.join(roles)}."

    @property
    def asks(self) -> str:
        """The question in words, by kind."""
        return ASKS.get(self.approval.kind, ASKS["other"])

    @property
    def title(self) -> str:
        """What the runtime calls it; empty where that is the command itself, which is shown anyhow."""
        title: str = self.approval.title
        return "" if title.strip("` \n") == self._request.get("command", "").strip() else title

    @property
    def command(self) -> str:
        return _cut(self._request.get("command") or "")

    @property
    def changes(self) -> list[Change]:
        return [_change(piece) for piece in self._content if piece["type"] == "diff"]

    @property
    def texts(self) -> list[str]:
        """What else the runtime says of it, without what is said already."""
        said = {self._request.get("command", "").strip(), self.approval.title.strip()}
        texts = [(piece.get("text") or "").strip() for piece in self._content if piece["type"] != "diff"]
        return [_cut(text) for text in texts if text and text not in said]

    @property
    def paths(self) -> list[str]:
        """The paths that neither the title nor a change names."""
        named = {change.path for change in self.changes}
        return [
            path for path in self._request.get("paths", []) if path not in named and path not in self.approval.title
        ]

    @property
    def is_bare(self) -> bool:
        """The runtime said nothing but the title."""
        return not (self.command or self.changes or self.texts or self._request.get("paths"))

    @property
    def once(self) -> list[Mapping[str, str]]:
        """The runtime's answers to this question alone, allowing ones first."""
        return [option for option in self._options if option["kind"].endswith("_once")]

    @property
    def agents_own(self) -> list[Mapping[str, str]]:
        """The runtime's answers for later questions as well: kept by the agent, unlike a standing answer of ours.

        Allowing ones only where they would be taken.
        """
        may_allow = self.may_edit_policy and not self._request.get("is_strict")
        kinds = ("allow_always", "reject_always") if may_allow else ("reject_always",)
        return [option for option in self._options if option["kind"] in kinds]

    @property
    def _options(self) -> list[Mapping[str, str]]:
        return sorted(self._request["options"], key=lambda option: _ORDER.index(option["kind"]))

    @property
    def _request(self) -> dict[str, Any]:
        request: dict[str, Any] = self.approval.request
        return request

    @property
    def _content(self) -> list[dict[str, Any]]:
        return self._request.get("content") or []


def answer_of(approval: Approval) -> str:
    """What became of a question, in a sentence without its end. Decided and applied are two facts."""
    State = Approval.State
    name = approval.option.get("name", "Cancelled")
    by = approval.decided_by_label or approval.decided_by_kind
    chosen = f"“{name}” chosen by {by}" if by else f"“{name}” chosen"
    match approval.state:
        case State.DECIDED:
            return f"{chosen}; on its way to the node"
        case State.APPLIED:
            return f"{chosen} and applied"
        case State.SUPERSEDED:
            return "No longer needed: the turn ended before an answer took effect"
        case State.HASH_MISMATCH:
            return f"{chosen}, but not applied: the action was no longer the one asked about"
    if approval.decided_at:
        return f"{chosen}, but it did not reach the node in time: the answer was no"
    if approval.resolved_at is None:
        return "Nobody answered in time, so the answer is no; its node has not confirmed that yet"
    return "Nobody answered in time, so the answer was no"


def _about(matcher: Matcher) -> str:
    """``shell npm test``: what a standing answer would be about, in words."""
    named = (matcher.tool, matcher.command, matcher.path, matcher.host)
    return " ".join([*([matcher.kind.value] if matcher.kind else []), *filter(None, named)])


def _part(told: Mapping[str, Any]) -> Part:
    what = told.get("command") or told.get("path") or told.get("host") or told.get("tool") or ""
    if told.get("is_opaque"):
        says = "cannot be wholly understood: asked"
    elif told.get("grant"):
        says = "a standing answer allows it"
    elif told.get("level"):
        says = f"a rule of the {told['level']} says {told.get('verdict')}"
    else:
        says = f"{told.get('verdict')} by default"
    return Part(str(told.get("kind") or ""), str(what)[:LINE_CHARS], says)


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_CHARS else f"{text[:TEXT_CHARS]}\n… {len(text) - TEXT_CHARS} more characters"


def _change(piece: Mapping[str, Any]) -> Change:
    lines = list(line_diff(piece.get("old_text") or "", piece.get("new_text") or ""))
    shown = [Line(line.sign, line.text[:LINE_CHARS]) for line in lines[:DIFF_LINES]]
    return Change(piece.get("path") or "a file", piece.get("old_text") is None, shown, max(0, len(lines) - DIFF_LINES))


def line_diff(old: str, new: str) -> Iterator[Line]:
    """The lines that go and come, with a little of what stays around them."""
    before, after = old.splitlines(), new.splitlines()
    if len(before) * len(after) > ALIGNED_CELLS:
        yield from _replaced(before, after)
        return
    last = 0
    for group in SequenceMatcher(None, before, after, autojunk=False).get_grouped_opcodes(CONTEXT_LINES):
        if group[0][1] > last:
            yield Line("…")
        for tag, start, end, new_start, new_end in group:
            if tag == "equal":
                yield from (Line(" ", text) for text in before[start:end])
            else:
                yield from (Line("-", text) for text in before[start:end])
                yield from (Line("+", text) for text in after[new_start:new_end])
        last = group[-1][2]
    if last < len(before):
        yield Line("…")


def _replaced(before: list[str], after: list[str]) -> Iterator[Line]:
    """Two long texts: what they begin and end with alike is left out, the rest goes and comes whole."""
    start, most = 0, min(len(before), len(after))
    while start < most and before[start] == after[start]:
        start += 1
    end = 0
    while end < most - start and before[-1 - end] == after[-1 - end]:
        end += 1
    if start:
        yield Line("…")
    yield from (Line("-", text) for text in before[start : len(before) - end])
    yield from (Line("+", text) for text in after[start : len(after) - end])
    if end:
        yield Line("…")
