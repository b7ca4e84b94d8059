"""git: what its global options, subcommands and settings come down to."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from ..policy import ActionKind
from . import git_known as known
from .files import breaks, is_option, options, positional, values_of
from .hosts import host_copied, host_of
from .places import lies_outside
from .scanning import squeezed
from .tree import Word

if TYPE_CHECKING:
    from .commands import Commands, Run

_FLAG = re.compile(r"-[pwbs]|-U\d+|--(?:cached|staged|patch|no-color|oneline|follow|stat)|--[a-z-]+=.*|-\d+", re.DOTALL)
"""Options of what shows contents that take no value from the next word."""
COLONS = 8
"""In one word; with more of them it is opaque."""
_PATTERN = re.compile(r"[*?\[\\]")
_HEAD = re.compile(r"(?:HEAD|@)[~^0-9]*")
_FILE = re.compile(
    r"(?:[\w@{}~^/.-]*:(?:[0-3]:)?)?[^:]*\w\."
    r"(?:c|cc|cfg|cpp|css|go|h|hpp|html|java|jsx?|json|kt|lock|md|mjs|php|py|rb|rs|scss|sh|sql|svelte|swift|toml|tsx?|txt"
    r"|vue|xml|ya?ml)"
)
"""One file, as it is or in a commit."""


def git(commands: Commands, run: Run) -> None:
    at, is_grave = 1, run.is_grave or not run.is_trusted
    cwds = commands.cwds
    while at < len(run.words):
        here = run.texts[at]
        if here == "-c" and at + 1 < len(run.words):
            is_grave |= setting(commands, run, run.words[at + 1])
            at += 2
        elif here == "-C" and at + 1 < len(run.words):
            found = [path for path, _, is_known in commands.place.locate(run.words[at + 1], commands.cwds) if is_known]
            commands.cwds = found or commands.cwds
            is_grave |= not found or not run.words[at + 1].is_literal
            at += 2
        elif here in known.VALUES:
            is_grave = True
            at += 2
        elif here in known.FLAGS:
            at += 1
        elif here in ("--version", "-v", "--help", "-h"):
            is_all = at + 1 == len(run.words) and not is_grave
            commands.emit(run, ActionKind.READ if is_all else ActionKind.SHELL)  # a page may be shown by any program
            commands.cwds = cwds
            return
        elif here.startswith("-"):
            is_grave = True
            at += 1
        else:
            break
    is_grave |= any(
        not commands.place.at(cwd)[1] for cwd in commands.cwds
    )  # another repository's settings may run a lot
    if at >= len(run.words):
        commands.emit(run, ActionKind.SHELL if is_grave else ActionKind.READ)
    else:
        subcommand(commands, replace(run, words=(Word("git"), *run.words[at:]), is_grave=is_grave))
    commands.cwds = cwds


def setting(commands: Commands, run: Run, word: Word) -> bool:
    """``-c key=value``; whether it may start something."""
    key, _, value = word.text.partition("=")
    if word.is_literal and key.lower().startswith(known.HARMLESS_KEYS):
        return False
    commands.emit(run, ActionKind.SHELL, is_opaque=True)
    if key.lower().startswith("alias.") and not value.startswith("!"):
        commands.unreadable(f"git {value}")
    elif value:
        commands.unreadable(value.lstrip("!"))
    return True


def subcommand(commands: Commands, run: Run) -> None:  # noqa: PLR0912 - one for each way to say it
    """What stands behind the global options; ``run`` has lost them."""
    name = run.texts[1].lower()
    rest = replace(run, words=run.words[1:])
    texts = rest.texts[1:]
    first = next((text for text in texts if not text.startswith("-")), "")
    if not run.words[1].is_literal:
        commands.unreadable(" ".join(run.texts))
        return
    if name in known.PUBLISH or name.startswith("remote-") or first in known.PUBLISH_SECOND.get(name, ()):
        reached(commands, run, ActionKind.PUBLISH)
    elif name in known.RUNS and runs(commands, rest, name, texts):
        pass
    elif name in known.LISTS and lists(name, texts) and not run.is_grave and not any(broken(name, t) for t in texts):
        if name in ("stash", "reflog") and patches(texts):
            everything(commands, run)
        for word in [*positional(rest), *values_of(rest)] or [Word(".")]:
            commands.touch(run, ActionKind.READ, word)
    elif name in known.NETWORK or any(text in known.NETWORK_SECOND.get(name, ()) for text in [first, *cut(texts)]):
        fetched(commands, rest, name)
        reached(commands, run, ActionKind.NETWORK)
    elif name in known.READ and not run.is_grave and not any(broken(name, text) for text in texts):
        looks(commands, rest, name, texts)
    elif name == "config":
        configure(commands, rest)
    elif name in known.WRITE:
        for word in written(commands, rest, name) or [Word(".")]:
            commands.touch(run, ActionKind.WRITE, word, is_tree=True)
        if run.is_grave or any(breaks(text, known.WRITE_BREAKS) or "::" in text.split(" ")[0] for text in texts):
            commands.emit(run, ActionKind.SHELL, is_opaque=True)
            commands.suspect(squeezed(" ".join(texts)), run.exact)
    else:
        commands.emit(run, ActionKind.SHELL, is_opaque=True)
        commands.suspect(squeezed(" ".join(texts)), run.exact)


def looks(commands: Commands, run: Run, name: str, texts: list[str]) -> None:
    """What a reading subcommand reads: where it shows contents, all of the repository unless it is limited to files."""
    named = positional(run)
    if name == "grep" or (shows(name, texts) and not is_limited(run, named)):
        everything(commands, run)
    elif not named:
        commands.touch(run, ActionKind.READ, Word("."))
    is_tree = any(breaks(text, "--no-index") for text in texts)
    for word in [each for one in named for each in paths_in(commands, one)] + values_of(run):
        commands.touch(run, ActionKind.READ, word, is_tree=is_tree)


def shows(name: str, texts: list[str]) -> bool:
    """Whether it shows what files hold or held, rather than their names."""
    if name == "cat-file":
        told = [text for text in texts if text.startswith("-")]
        return told not in (["-t"], ["-s"], ["-e"]) and (bool(told) or texts[:1] not in (["commit"], ["tree"]))
    if name in known.PATCHES:
        is_short = any(text.split("=", 1)[0] in known.SUMMARIES for text in texts)
        may_be_blob = name == "show" and not all(_HEAD.fullmatch(text) for text in texts if text[:1] != "-")
        return not is_short or patches(texts) or may_be_blob
    return name in known.PATCH_IF_TOLD and patches(texts)


def patches(texts: list[str]) -> bool:
    return any(breaks(text, known.PATCH_OPTIONS) or re.match(r"--[pu](?:=|$)", text) for text in texts)


def is_limited(run: Run, named: list[Word]) -> bool:
    """Whether it names files only. Behind an option that we do not know a name may be that option's value."""
    texts = run.texts[1:]
    if "--" in texts:
        named = list(run.words[texts.index("--") + 2 :])
    elif any(is_option(word) and not _FLAG.fullmatch(word.text) for word in run.rest):
        return False
    return bool(named) and all(map(is_file, named))


def everything(commands: Commands, run: Run) -> None:
    """All of the repository, from whichever directory in it."""
    commands.touch(run, ActionKind.READ, Word(commands.place.workspace), is_tree=True)


def is_file(word: Word) -> bool:
    """Whether a name is that of one file, by its ending: a commit, a pattern or a directory may be anything."""
    text = word.text
    is_plain = word.is_literal and not word.is_glob and not re.search(r"[*?\[\\]|\.\.|^:[^\w.]", text)
    return is_plain and (_FILE.fullmatch(text) is not None)


def fetched(commands: Commands, run: Run, name: str) -> None:
    """Options of what reaches somebody: many name a program, so that only a list of them is known."""
    is_clone = name in ("clone", "archive")
    flags, values = known.CLONES[name] if is_clone else (known.FETCH_FLAGS, known.FETCH_VALUES)
    told = options(run.rest, flags, values)
    if told is None or any(re.match(r"\w+::", text) for text in run.texts):
        commands.unreadable(" ".join(["git", *run.texts]))
        return
    outputs = [word for option, word in told[0] if option in ("-o", "--output") and name == "archive"]
    for word in outputs + (told[1][1:] if name == "clone" else []):
        commands.touch(run, ActionKind.WRITE, word, is_tree=True)


def configure(commands: Commands, run: Run) -> None:
    """``git config key value`` is a ``-c key=value`` that stays, in one file or another."""
    told = options(run.rest, known.CONFIG_FLAGS, known.CONFIG_VALUES)
    if told is None or run.is_grave:
        commands.emit(run, ActionKind.SHELL, is_opaque=True)
        commands.suspect(squeezed(" ".join(run.texts)), run.exact)
        for word in [*run.rest, *values_of(run)]:
            commands.touch(run, ActionKind.READ, word)  # any of it may be the value of --file
        return
    files = [word for option, word in told[0] if option in ("-f", "--file")]
    if "--global" in run.texts:
        files += [Word("~/.gitconfig", is_home=True), Word("~/.config/git/config", is_home=True)]
    if "--system" in run.texts:
        files.append(Word("/etc/gitconfig"))
    for word in files or [Word(".")]:
        commands.touch(run, ActionKind.WRITE, word, is_tree=not files)
    named = told[1][told[1][:1] != [] and told[1][0].text in ("set", "unset") :]
    key, value = [*named, Word(""), Word("")][:2]
    setting(commands, run, Word(f"{key.text}={value.text}", key.is_literal and value.is_literal))


def written(commands: Commands, run: Run, name: str) -> list[Word]:
    """What a writing subcommand names to write to, and whatever else it names outside of the workspace."""
    named = positional(run)
    if name not in known.WRITES_NAMED:
        named = [word for word in named if lies_outside(word)]
    else:
        named = [each for word in named for each in (*paths_in(commands, word), *matched(commands, word))]
    is_message = name in ("commit", "tag", "stash", "merge", "notes")
    values = [
        word
        for each in run.rest
        if not (is_message and re.match(r"-[a-zA-Z]*m", each.text))
        for word in values_of(replace(run, words=(run.words[0], each)))
    ]
    return named + [word for word in values if name in known.OUTPUTS or lies_outside(word)]


def matched(commands: Commands, word: Word) -> list[Word]:
    """The directory in which git itself looks for what a pattern stands for: its stars go through directories."""
    if word.text.startswith(":"):
        return [Word(commands.place.workspace)]
    fixed, *rest = _PATTERN.split(word.text, maxsplit=1)
    return [replace(word, text=fixed[: fixed.rfind("/") + 1] or ".", is_glob=False)] if rest else []


def cut(texts: list[str]) -> list[str]:
    return [text.split("=", 1)[0] for text in texts if text.startswith("--")]


def broken(name: str, text: str) -> bool:
    """Whether an option of a reading subcommand makes it write or run something."""
    if text.startswith("-O") or breaks(text, "--open-files-in-pager"):
        return name == "grep"
    return text.startswith("--") and breaks(text, known.READ_BREAKS.replace("-O ", ""))


def lists(name: str, texts: list[str]) -> bool:
    allowed = known.LISTS[name]
    options = [text.split("=", 1)[0] for text in texts if text.startswith("-")]
    named = [text for text in texts if not text.startswith("-")]
    texts = [text for text in texts if not re.fullmatch(r"-\d+", text)]
    if not texts:
        return "" in allowed
    if name == "remote" and named and named[0] not in allowed:
        return False
    if name == "config" and any(option not in (*allowed, *known.CONFIG_LOOKS) for option in options):
        return False
    if named and named[0] in allowed and name not in ("branch", "tag"):
        return True
    if not options or any(option not in allowed for option in options):
        return False
    return not named or name not in known.LISTING or any(option in known.LISTING[name] for option in options)


def runs(commands: Commands, rest: Run, name: str, texts: list[str]) -> bool:
    """``rebase --exec``, ``bisect run``, ``submodule foreach``: git runs what stands there."""
    words = known.RUNS[name]
    if name == "bisect" and texts[:1] and texts[0] in ("view", "visualize"):
        commands.unreadable("git " + " ".join(texts[1:] or ["log"]))
        return True
    for at, text in enumerate(texts):
        if name == "rebase" and (attached := re.fullmatch(r"-[a-zA-Z]*?x(.+)", text, re.DOTALL)):
            commands.unreadable(attached[1])
            return True
        if name == "rebase" and text not in words and breaks(text, "--exec"):
            commands.unreadable(text.partition("=")[2] or " ".join(texts[at + 1 :]))
            return True
        if name == "rebase" and re.fullmatch(r"-[a-zA-Z]+x", text):
            commands.unreadable(" ".join(texts[at + 1 :]))
            return True
        if text.split("=", 1)[0] in words:
            script = text.partition("=")[2] if "=" in text else ""
            following = [*rest.words[at + 2 :]]
            if name == "rebase":
                code = Word(script, rest.is_literal) if script else (following or [Word("")])[0]
            else:
                code = Word(" ".join(word.text for word in following), rest.is_literal)
            commands.emit(rest, ActionKind.SHELL, essence="git " + " ".join(rest.texts))
            if name != "rebase" and following:
                commands.run(replace(rest, words=tuple(following), is_grave=True, depth=rest.depth + 1))
            if not code.is_literal:
                commands.unreadable(code.text)
            commands.read(code.text, rest.depth + 1, is_grave=rest.is_grave)
            return True
    return False


def paths_in(commands: Commands, word: Word) -> list[Word]:
    """A word, and each path that it may name: ``HEAD:path``, ``:0:path``, ``:(top)path``. These begin where the
    repository does, and not in the working directory."""
    found = [word]
    text = word.text
    for _ in range(COLONS):
        _, colon, text = text.partition(":")
        if not colon:
            return found
        bare = re.sub(r"^(?:\([^()]*\)|[!^/]+)", "", text)
        for path in dict.fromkeys(filter(None, (text, bare))):
            top = f"{commands.place.workspace}/{path}"
            found += [replace(word, text=path), replace(word, text=top)]
    return [*found, replace(word, is_literal=False)]


def reached(commands: Commands, run: Run, kind: ActionKind) -> None:
    hosts = []
    for text in run.texts[2:]:
        host, is_sure = host_of(text) if "://" in text else (host_copied(text), True)
        if host or not is_sure:
            hosts.append((host, is_sure))
    for host, is_sure in hosts or [("", True)]:
        commands.emit(run, kind, host=host, is_opaque=run.is_grave or not is_sure)
