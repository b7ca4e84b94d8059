"""git: what its global options, subcommands and settings come down to."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from ..policy import ActionKind
from . import git_known as known
from .files import breaks, is_option, positional
from .hosts import host_copied, host_of
from .scanning import squeezed
from .tree import Word

if TYPE_CHECKING:
    from .commands import Commands, Run


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
            commands.emit(run, ActionKind.READ)
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
    elif name in known.LISTS and lists(name, texts) and not run.is_grave:
        named = positional(rest) or [Word(".")]
        for word in named:
            commands.touch(run, ActionKind.READ, word)
    elif name in known.NETWORK or any(text in known.NETWORK_SECOND.get(name, ()) for text in [first, *cut(texts)]):
        if any(breaks(text, "--upload-pack --exec --template --config") or text.startswith("ext::") for text in texts):
            commands.unreadable(" ".join(run.texts))
        reached(commands, run, ActionKind.NETWORK)
    elif name in known.READ and not run.is_grave and not any(broken(name, text) for text in texts):
        named = [in_tree(word) for word in positional(rest)] + after_dashes(rest)
        if not named or name == "grep":
            commands.touch(run, ActionKind.READ, Word("."), is_tree=name == "grep")
        for word in named:
            commands.touch(run, ActionKind.READ, word)
    elif name in known.WRITE:
        named = (
            positional(rest) if name in ("add", "stage", "rm", "mv", "restore", "clean", "checkout", "apply") else []
        )
        for word in named or [Word(".")]:
            commands.touch(run, ActionKind.WRITE, word, is_tree=True)
        if run.is_grave:
            commands.emit(run, ActionKind.SHELL, is_opaque=True)
    else:
        commands.emit(run, ActionKind.SHELL, is_opaque=True)
        commands.suspect(squeezed(" ".join(texts)), run.exact)


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
    if named and named[0] in allowed and name not in ("branch", "tag"):
        return True
    if not options or any(option not in allowed for option in options):
        return False
    return not named or any(option not in ("-a", "-r", "-v", "-vv", "-av") for option in options)


def runs(commands: Commands, rest: Run, name: str, texts: list[str]) -> bool:
    """``rebase --exec``, ``bisect run``, ``submodule foreach``: git runs what stands there."""
    words = known.RUNS[name]
    for at, text in enumerate(texts):
        if text.split("=", 1)[0] in words:
            script = text.partition("=")[2] if "=" in text else ""
            following = [*rest.words[at + 2 :]]
            if name == "rebase":
                code = Word(script, rest.is_literal) if script else (following or [Word("")])[0]
            else:
                code = Word(" ".join(word.text for word in following), rest.is_literal)
            commands.emit(rest, ActionKind.SHELL, essence="git " + " ".join(rest.texts))
            if not code.is_literal:
                commands.unreadable(code.text)
            commands.read(code.text, rest.depth + 1)
            return True
    return False


def in_tree(word: Word) -> Word:
    """``HEAD:path`` names a path."""
    path = word.text.partition(":")[2]
    return replace(word, text=path) if path and "/" not in word.text.partition(":")[0][:1] else word


def after_dashes(run: Run) -> list[Word]:
    texts = run.texts
    return [word for word in run.words[texts.index("--") + 1 :] if is_option(word)] if "--" in texts else []


def reached(commands: Commands, run: Run, kind: ActionKind) -> None:
    hosts = []
    for text in run.texts[2:]:
        host, is_sure = host_of(text) if "://" in text else (host_copied(text), True)
        if host or not is_sure:
            hosts.append((host, is_sure))
    for host, is_sure in hosts or [("", True)]:
        commands.emit(run, kind, host=host, is_opaque=run.is_grave or not is_sure)
