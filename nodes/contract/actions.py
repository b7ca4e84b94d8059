"""From a runtime's request to actions. ``docs/policies.md`` says how, for those who write rules.

The runtime's own kind is a hint. What stands in the input counts for more, and only ever makes an
action graver: a "read" with a command in it is that command, one with an address reaches that host.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .own_tools import OWN_TOOLS
from .policy import GRAVITY, Action, ActionKind
from .shell.commands import Commands
from .shell.hosts import HOST, host_of
from .shell.known import names
from .shell.places import Place, says_what_git_runs
from .shell.tree import Simple, Word

__all__ = ["Place", "Request", "actions_of", "gravest"]

_KINDS: dict[str, ActionKind] = {
    "read": ActionKind.READ,
    "search": ActionKind.READ,
    "think": ActionKind.READ,
    "edit": ActionKind.WRITE,
    "delete": ActionKind.WRITE,
    "move": ActionKind.WRITE,
    "execute": ActionKind.SHELL,
    "fetch": ActionKind.NETWORK,
}
_NAMES: tuple[tuple[re.Pattern[str], ActionKind], ...] = (
    (re.compile(r"\b(bash|shell|exec|execute|command|terminal|run)\b", re.IGNORECASE), ActionKind.SHELL),
    (re.compile(r"\b(write|edit|patch|delete|move|rename|notebook_?edit)\b", re.IGNORECASE), ActionKind.WRITE),
    (re.compile(r"\b(fetch|web_?fetch|web_?search|http|browser)\b", re.IGNORECASE), ActionKind.NETWORK),
)
"""For calls without a kind. Nothing is taken for reading by its name: that would need no question."""
_PUBLISHING_TOOL = re.compile(
    r"(?:^|_)(?:publish|deploy|release|push|merge|post|send|upload|comment|reply|tweet)(?:_|$)"
    r"|(?:^|_)(?:create|update|delete|close|add|edit|submit|request|fork|star|dispatch|trigger)_(?:\w+_)?"
    r"(?:pull_?request|pr|mr|issue|issues|release|repo|repository|comment|review|gist|branch|file|message|webhook|tag)s?"
)
"""Tools of other servers that speak to others: by their name, which is all that can be seen of them."""
_SERVED = re.compile(r"([\w.\-]{1,80}) \(([\w.\-]{1,80}) MCP Server\)")
"""A title as Gemini and its descendants write it."""
_CODE = frozenset({"script", "code"})
_CONTENT = names(
    "content new_string newString old_string new_text newText new_source patch patchText diff edits changes"
)
_PATHS = ("file_path", "filePath", "filepath", "path", "abs_path", "absolute_path", "notebook_path", "source",
          "destination", "old_path", "new_path", "target_file", "directory", "dir_path", "target", "dest", "file",
          "filename", "output_path")  # fmt: skip
_PATH_LISTS = ("paths", "files", "file_paths")
_PATCHED = re.compile(
    r"^\*\*\* (?:Update|Add|Delete|Move) (?:File|to): (.+)$|^(?:---|\+\+\+) (?:[ab]/)?([^\t\n]+)", re.MULTILINE
)
_ADDRESSES = ("url", "urls", "uri", "href", "endpoint")
PATHS = 50


@dataclass(frozen=True, slots=True)
class Request:
    """A tool call as the runtime sent it."""

    kind: str = "other"
    title: str = ""
    raw_input: Any = None
    paths: Sequence[str] = ()
    """Of its locations and of the changes that it shows, as they were sent."""
    has_changes: bool = False
    """Whether it shows changes of files."""
    tool: str = ""
    preset: str = ""
    """Of which known agent it is, if that is known: inputs have shapes of their own."""


def gravest(actions: Iterable[Action]) -> ActionKind:
    """What the whole is called."""
    return max((action.kind for action in actions), key=GRAVITY.index, default=ActionKind.OTHER)


def actions_of(request: Request, place: Place) -> list[Action]:
    """What a request would do; never nothing."""
    raw: Mapping[str, Any] = request.raw_input if isinstance(request.raw_input, Mapping) else {}
    tool = request.tool or _tool_in(request, raw)
    claimed = _KINDS.get(request.kind, ActionKind.OTHER)
    found = _commands(request, raw, tool, place)
    found += _reaching(request, raw, tool, claimed)
    if (named := _named_in(raw)) and named != tool:
        # Whoever wrote the input may have named another tool: that is denied by its name, and never allowed.
        found.append(Action(_of_server(named, ActionKind.OTHER), tool=named, is_opaque=True))
    kind = _kind(request, raw, tool, claimed, has_more=bool(found))
    if kind is not None:
        found += _on_paths(request, raw, tool, kind, place)
    return found or [Action(ActionKind.OTHER, tool=tool)]


def _tool_in(request: Request, raw: Mapping[str, Any]) -> str:
    """The tool's name by the title, as the runtime wrote it; by the input only where the runtime wrote that, too."""
    if (named := _named_in(raw)) and request.preset == "codex":
        return named
    if found := _SERVED.fullmatch(request.title):
        return f"mcp__{found[2]}__{found[1]}"
    return request.title if re.fullmatch(r"[\w.\-]{1,80}", request.title) else ""


def _named_in(raw: Mapping[str, Any]) -> str:
    """The tool of a server in an input of Codex's shape. Elsewhere an agent's own arguments stand there."""
    is_named = raw.keys() == {"server", "tool", "arguments"}
    if is_named and isinstance(raw["server"], str) and isinstance(raw["tool"], str):
        return f"mcp__{raw['server']}__{raw['tool']}"
    return ""


def _of_server(tool: str, otherwise: ActionKind) -> ActionKind:
    """What a server's tool does, by its name."""
    name = re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", tool.split("__", 2)[-1]).lower())
    return ActionKind.PUBLISH if _PUBLISHING_TOOL.search(name) and tool not in OWN_TOOLS else otherwise


def _kind(
    request: Request, raw: Mapping[str, Any], tool: str, claimed: ActionKind, *, has_more: bool
) -> ActionKind | None:
    """What it is by itself, beside the commands and hosts that were found; nothing if that is all of it."""
    if _CODE & raw.keys():
        return ActionKind.SHELL
    shows = bool(_CONTENT & raw.keys()) and not tool.startswith("mcp__")
    if request.has_changes or shows or claimed is ActionKind.WRITE:
        return ActionKind.WRITE
    if tool.startswith("mcp__"):
        kind = _of_server(tool, ActionKind.OTHER)
        return None if has_more and kind is ActionKind.OTHER else kind
    if has_more:
        return None
    if claimed is not ActionKind.OTHER:
        return claimed
    return next((kind for pattern, kind in _NAMES if pattern.search(request.title)), ActionKind.OTHER)


def _commands(request: Request, raw: Mapping[str, Any], tool: str, place: Place) -> list[Action]:
    """The actions of the command in it. Without an input the title may be one: it is read and never trusted."""
    cwd = next((raw[key] for key in ("cwd", "directory", "workdir") if isinstance(raw.get(key), str) and raw[key]), "")
    commands = Commands(place, tool, place.at(cwd)[0] if cwd else "")
    given = [raw[key] for key in ("command", "cmd") if raw.get(key)]
    for command in given:
        if isinstance(command, str):
            commands.read(command)
        elif isinstance(command, list) and all(isinstance(word, str) for word in command):
            commands.simple(_simple(command), 0)
        else:
            commands.unreadable(str(command))
    if given or request.raw_input is not None or request.kind not in ("execute", "other", ""):
        return commands.actions
    title = re.sub(r" \[(?:current working directory|in) [^\]]*\].*$| \([^()]*\)$", "", request.title)
    if request.kind == "execute":
        commands.read(title)
    else:
        commands.suspect(title)
    return [replace(action, is_opaque=True) for action in commands.actions]


def _simple(words: Sequence[str]) -> Simple:
    return Simple(words=[Word(word) for word in words])


def _reaching(request: Request, raw: Mapping[str, Any], tool: str, claimed: ActionKind) -> list[Action]:
    """A network action for each host that is named."""
    addresses: list[str] = []
    for key in _ADDRESSES:
        value = raw.get(key)
        values = value if isinstance(value, list) else [value]
        addresses += [each for each in values if isinstance(each, str)]
    named = [raw[key] for key in _PATHS if isinstance(raw.get(key), str)]
    addresses += [path for path in named if re.match(r"(?!file:)[a-z]+://", path)]
    if claimed is ActionKind.NETWORK and not addresses:
        texts = [value for value in raw.values() if isinstance(value, str)] or [request.title]
        addresses = [url for text in texts for url in HOST.findall(text)]
        return [_reach(url, tool) for url in addresses[:20]] or [Action(ActionKind.NETWORK, tool=tool)]
    if not addresses and request.raw_input is None and request.kind in ("other", ""):
        return [replace(_reach(url, tool), is_opaque=True) for url in HOST.findall(request.title)[:20]]
    return [_reach(url, tool) for url in addresses[:50]]


def _reach(url: str, tool: str) -> Action:
    host, is_sure = host_of(url if "://" in url else f"//{url}")
    return Action(ActionKind.NETWORK, tool=tool, host=host, is_opaque=not is_sure)


def _on_paths(request: Request, raw: Mapping[str, Any], tool: str, kind: ActionKind, place: Place) -> list[Action]:
    paths = list(request.paths)
    paths += [raw[key] for key in _PATHS if isinstance(raw.get(key), str) and raw[key]]
    for key in _PATH_LISTS:
        values = raw.get(key)
        if isinstance(values, list):
            paths += [v if isinstance(v, str) else str(v.get("path", "")) for v in values if isinstance(v, str | dict)]
    if isinstance(raw.get("changes"), Mapping):
        paths += [str(path) for path in raw["changes"]]
    for key in ("patchText", "patch", "diff"):
        if isinstance(raw.get(key), str):
            paths += [found[1] or found[2] for found in _PATCHED.finditer(raw[key])]
    named = list(dict.fromkeys(path for path in paths if path and path != "/dev/null"))
    is_tree = request.kind in ("search", "delete", "move")
    if not named and request.kind == "search":
        named = [place.workspace]
    if not named:
        return [Action(kind, tool=tool)]
    found = []
    for path in named[:PATHS]:
        text = path.removeprefix("file://")
        for real, inside, is_known in place.locate(Word(text, is_home=text.startswith("~/")), [place.workspace]):
            decides = kind is ActionKind.WRITE and says_what_git_runs(real)
            done = ActionKind.SHELL if decides else kind
            is_opaque = decides or not is_known
            found.append(Action(done, tool=tool, path=real, inside=inside, is_tree=is_tree, is_opaque=is_opaque))
    if len(named) > PATHS:
        found.append(Action(kind, tool=tool, is_opaque=True))
    return found
