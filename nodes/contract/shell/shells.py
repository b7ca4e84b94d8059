"""Shells within a command line: what ``bash -c`` is given, what they read from a file or from their input."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..policy import ActionKind
from . import known
from .scanning import squeezed
from .tree import Word

if TYPE_CHECKING:
    from .commands import Commands, Run

_PLAIN_SHELL = known.names(
    "--login --norc --noprofile --posix --restricted --verbose --noediting --version --help --debugger"
)
"""Long options of shells that name no file and take no value."""
_INPUT = re.compile(r"-|/dev/stdin|/dev/fd/\d+|/proc/self/fd/\d+")


def text(commands: Commands, run: Run, word: Word) -> None:
    """Code for a shell in a word. If some of it is not literal, what can be read of it is, and it is asked as well."""
    if not word.is_literal or word.is_glob:
        commands.unreadable(word.text)
    commands.read(word.text, run.depth + 1, is_fed=run.is_fed, is_grave=run.is_grave)


def run_shell(commands: Commands, run: Run) -> None:
    if run.name in known.OTHER_SHELLS:
        run_other_shell(commands, run)
        return
    at, is_code, is_clear = shell_options_end(run)
    is_clear &= all(word.is_literal for word in run.words[:at])
    if not is_clear:
        commands.emit(run, ActionKind.SHELL, is_opaque=True)
        commands.suspect(squeezed(" ".join(run.texts)), run.exact)
    if is_code:
        if at >= len(run.words):
            commands.emit(run, ActionKind.SHELL, is_opaque=True)
            return
        positional = run.texts[at + 1 :]
        script = run.words[at]
        text(commands, run, script)
        if positional and "$" in script.text:
            commands.unreadable(re.sub(r"\$\{?[@*1]\}?", " ".join(positional[1:]), script.text))
        return
    if "-s" in run.texts[1:at] or at >= len(run.words) or _INPUT.fullmatch(run.texts[at]):
        code_from_input(commands, run)
        return
    commands.emit(run, ActionKind.SHELL)
    commands.touch(run, ActionKind.READ, run.words[at], tolerant=True)


def shell_options_end(run: Run) -> tuple[int, bool, bool]:
    """Where a shell's script begins, whether it is code rather than a file, and whether that is certain.

    Each ``o`` or ``O`` in ``-euo`` takes one of the next words; in zsh and ksh the rest of its own word, if there is
    one. What an interactive shell reads first is a file that somebody names.
    """
    at, is_code, is_clear = 1, False, True
    while at < len(run.words):
        here = run.texts[at]
        if here in ("--", "-"):
            return at + 1, is_code, is_clear
        if here.startswith("--"):
            takes = here in ("--rcfile", "--init-file", "--emulate")
            is_clear &= here in _PLAIN_SHELL
            at += 2 if takes else 1
        elif here.startswith(("-", "+")) and len(here) > 1:
            is_code |= "c" in here
            named = len(re.findall("[oO]", here))
            is_clear &= not named or (named == 1 and here[-1] in "oO")
            at += 1 + named
        else:
            break
    return at, is_code, is_clear


def run_other_shell(commands: Commands, run: Run) -> None:
    """A shell with other quotes and other words than ours: it is read for what can be seen, and asked."""
    commands.emit(run, ActionKind.SHELL, is_opaque=True)
    for word in run.rest:
        if code := re.sub(r"^(?:-[a-zA-Z]+|--[a-z-]+)=?", "", word.text):
            text(commands, run, Word(code, is_literal=False))
    for code in run.fed:
        text(commands, run, Word(code, is_literal=False))


def code_from_input(commands: Commands, run: Run) -> None:
    """A shell that reads its commands from standard input: known if they stand in a here-document, else not."""
    for code in run.fed:
        commands.read(code, run.depth + 1, is_grave=run.is_grave)
        plain = squeezed(code)
        commands.suspect(plain, run.exact)
    commands.emit(run, ActionKind.SHELL, is_opaque=run.is_fed or any(word.commands for word in run.words))


def source(commands: Commands, run: Run) -> None:
    if any(_INPUT.fullmatch(text) for text in run.texts[1:]):
        code_from_input(commands, run)
        return
    commands.emit(run, ActionKind.SHELL, is_opaque=any(word.commands for word in run.words))
    commands.suspect(squeezed(run.exact), run.exact) if any(word.commands for word in run.words) else None
    for word in run.words[1:2]:
        commands.touch(run, ActionKind.READ, word, tolerant=True)
