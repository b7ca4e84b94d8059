"""Programs that read and write files."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from ..policy import ActionKind
from . import known
from .scanning import squeezed
from .tree import Word

if TYPE_CHECKING:
    from .commands import Commands, Handler, Run

_ADDRESS = r"(?:\d+(?:~\d+)?|\$|/(?:[^/\\\n]|\\.)*/I?)"
_SED = re.compile(
    rf"\s*(?:{_ADDRESS}(?:\s*,\s*(?:{_ADDRESS}|\+\d+))?)?\s*!?\s*"
    r"(?:[pdqQ=hHgGxnNDPl]|s([/|#,@!:])(?:(?!\1)[^\\\n]|\\.)*\1(?:(?!\1)[^\\\n]|\\.)*\1[gpiI0-9]*"
    r"|y/(?:[^/\\\n]|\\.)*/(?:[^/\\\n]|\\.)*/)\s*(?:[;\n]\s*|$)",
    re.DOTALL,
)
"""One harmless command of sed, with what ends it."""
_AWK = re.compile(r"system|getline|\||@|\bprintf?\b[^;}]*>|\bclose\b|ENVIRON|fflush")
"""What lets awk run, write or load something."""
_TAR_RUNS = (
    "--checkpoint-action --to-command --use-compress-program --info-script --new-volume-script --rsh-command "
    "--rmt-command"
)
_VALUES = {"uniq": "-f -s -w", "xxd": "-l -s -c -g -n -o"}


def breaks(text: str, options: str) -> bool:
    """Whether an argument is one of ``options``: alone, with its value, in a cluster, or abbreviated."""
    if not text.startswith("-") or text == "-":
        return False
    for option in options.split():
        if option.startswith("--"):
            name = text.split("=", 1)[0]
            if name.startswith("--") and len(name) > 3 and option.startswith(name):
                return True
        elif not text.startswith("--") and option[1] in text[1:]:
            return True
    return False


def is_option(word: Word) -> bool:
    return word.text.startswith("-") and word.text != "-"


def positional(run: Run, values: str = "") -> list[Word]:
    """The arguments that are no options, nor the values of those in ``values``; behind ``--`` all of them."""
    found: list[Word] = []
    is_open, is_value = True, False
    for word in run.rest:
        if is_value:
            is_value = False
        elif is_open and word.text == "--":
            is_open = False
        elif is_open and is_option(word):
            is_value = word.text in values.split()
        else:
            found.append(word)
    return found


def reader(commands: Commands, run: Run) -> None:
    name, texts = run.name, run.texts
    options = known.READERS[name]
    if any(breaks(text, options) for text in texts[1:]) or run.is_grave or not run.is_trusted or dangerous(run):
        if name == "sort":
            sort_to_file(commands, run)
        else:
            commands.emit(run, ActionKind.SHELL, is_opaque=run.is_trusted and not run.is_grave)
            commands.suspect(squeezed(" ".join(texts[1:])), run.exact)
        return
    if name in ("uniq", "xxd") and len(named := positional(run, _VALUES[name])) > 1:
        commands.touch(run, ActionKind.READ, named[0])
        commands.touch(run, ActionKind.WRITE, named[-1])
        return
    if name in known.NO_PATHS:
        is_tolerant = name in known.UNEXPANDED or name in ("test", "[", "[[")
        commands.emit(run_as(run) if is_tolerant else run, ActionKind.READ, essence=commands.essence(run))
        return
    is_tree = name in known.TREES and (
        name not in ("grep", "egrep", "fgrep", "ls") or any(breaks(text, "-r -R --recursive") for text in texts[1:])
    )
    paths = positional(run) + values_of(run)
    is_scan = is_tree and name not in ("ls", "tree", "du")
    if not paths or (is_scan and len(positional(run)) < 2):
        commands.touch(run, ActionKind.READ, Word("."), is_tree=is_tree) if is_tree else commands.emit(
            run, ActionKind.READ
        )
    for word in paths:
        commands.touch(run, ActionKind.READ, word, is_tree=is_tree)


def run_as(run: Run) -> Run:
    """The same command with words that it does nothing with."""
    return replace(run, words=(Word(run.words[0].text),))


def dangerous(run: Run) -> bool:
    """Whether an argument is more than that: a pager's command, a variable that is evaluated, a clock that is set."""
    texts = run.texts[1:]
    if run.name in ("less", "more"):
        return any(text.startswith("+") for text in texts)
    if run.name in ("test", "[", "[["):
        return "-v" in texts or "-R" in texts
    if run.name == "date":
        return any(not text.startswith(("-", "+")) for text in texts)
    return run.name == "hostname" and bool(positional(run))


def values_of(run: Run) -> list[Word]:
    """What stands behind ``--option=``: it may be a path."""
    found = []
    for word in run.rest:
        if word.text.startswith("--") and "=" in word.text:
            found.append(Word(word.text.partition("=")[2], word.is_literal))
    return found


def sort_to_file(commands: Commands, run: Run) -> None:
    for at, text in enumerate(run.texts[1:], 1):
        if breaks(text, "--compress-program"):
            commands.emit(run, ActionKind.SHELL, is_opaque=True)
        elif text in ("-o", "--output") and at + 1 < len(run.words):
            commands.touch(run, ActionKind.WRITE, run.words[at + 1])
        elif breaks(text, "-o --output"):
            named = re.sub(r"^-[^-o]*o|^--[a-z]*=?", "", text)
            commands.touch(run, ActionKind.WRITE, Word(named, run.words[at].is_literal))
    if run.is_grave or not run.is_trusted:
        commands.emit(run, ActionKind.SHELL)


def writer(commands: Commands, run: Run) -> None:  # noqa: PLR0912 - one for each way to say it
    name, texts = run.name, run.texts
    if not run.is_trusted:
        commands.emit(run, ActionKind.SHELL)
    if name == "tar":
        tar(commands, run)
        return
    if name == "unzip" and any(breaks(text, "-l -Z -v -t") for text in texts[1:2]) and not run.is_grave:
        for word in positional(run):
            commands.touch(run, ActionKind.READ, word)
        return
    named = positional(run) + values_of(run)
    if name == "dd":
        named = []
        for word in run.rest:
            key, _, value = word.text.partition("=")
            if key in ("if", "of"):
                kind = ActionKind.READ if key == "if" else ActionKind.WRITE
                commands.touch(run, kind, Word(value, word.is_literal))
        if not any(text.startswith("of=") for text in texts):
            commands.emit(run, ActionKind.WRITE)
        return
    if name in ("chmod", "chown", "chgrp"):
        named = named[1:]
    is_tree = name == "mv" or any(breaks(text, "-r -R --recursive -a --archive") for text in texts[1:])
    has_target = any(breaks(text, "-t --target-directory") for text in texts[1:])
    for word in run.rest:
        if has_target and re.match(r"-t.", word.text):
            commands.touch(run, ActionKind.WRITE, Word(word.text[2:], word.is_literal))
    if not named:
        commands.emit(run, ActionKind.WRITE)
    for at, word in enumerate(named):
        is_source = name in known.COPIERS and at < len(named) - 1 and not has_target
        commands.touch(run, ActionKind.READ if is_source else ActionKind.WRITE, word, is_tree=is_tree)


def tar(commands: Commands, run: Run) -> None:
    texts = run.texts
    if any(breaks(text, _TAR_RUNS) or text in ("-I", "-F") for text in texts[1:]):
        commands.emit(run, ActionKind.SHELL, is_opaque=True)
        commands.suspect(squeezed(" ".join(texts)), run.exact)
        return
    kind = ActionKind.READ if tar_lists(texts[1:]) and not run.is_grave else ActionKind.WRITE
    for word in positional(run) or [Word(".")]:
        commands.touch(run, kind, word, is_tree=kind is ActionKind.WRITE)


def tar_lists(texts: list[str]) -> bool:
    """Whether an archive's contents are listed, and nothing else is done."""
    changes = ("--extract", "--create", "--get", "--append", "--update", "--delete", "--concatenate", "--catenate")
    long = [text.split("=", 1)[0] for text in texts if text.startswith("--")]
    if any(len(text) > 3 and change.startswith(text) for text in long for change in changes):
        return False
    modes = [
        text.lstrip("-") for at, text in enumerate(texts) if not text.startswith("--") and (at == 0 or text[:1] == "-")
    ]
    if any(set("xcruA") & set(mode) for mode in modes):
        return False
    return "--list" in long or any("t" in mode for mode in modes)


def sed(commands: Commands, run: Run) -> None:
    scripts: list[Word] = []
    files: list[Word] = []
    is_in_place, is_odd, at = False, run.is_grave or not run.is_trusted, 1
    while at < len(run.words):
        word = run.words[at]
        text = word.text
        at += 1
        if text in ("-e", "--expression") and at < len(run.words):
            scripts.append(run.words[at])
            at += 1
        elif text.startswith("--expression="):
            scripts.append(Word(text.partition("=")[2], word.is_literal))
        elif re.match(r"-[nErsuz]*i", text) or breaks(text, "--in-place"):
            is_in_place = True
        elif re.fullmatch(
            r"-[nErsuz]+|--quiet|--silent|--regexp-extended|--posix|--debug|--null-data|--separate", text
        ):
            continue
        elif re.fullmatch(r"-[nErsuz]*e", text) and at < len(run.words):
            scripts.append(run.words[at])
            at += 1
        elif is_option(word):
            is_odd = True
        else:
            files.append(word)
    if not scripts:
        scripts, files = files[:1], files[1:]
    if is_odd or not all(script.is_literal and sed_is_plain(script.text) for script in scripts):
        commands.emit(run, ActionKind.SHELL, is_opaque=True)
        commands.suspect(squeezed("\n".join(run.texts)), run.exact)
    kind = ActionKind.WRITE if is_in_place else ActionKind.READ
    for word in files:
        commands.touch(run, kind, word)
    if not files:
        commands.emit(run, kind)


def sed_is_plain(script: str) -> bool:
    at = 0
    while at < len(script):
        found = _SED.match(script, at)
        if found is None or found.end() == at:
            return False
        at = found.end()
    return True


def awk(commands: Commands, run: Run) -> None:
    at, is_odd = 1, run.is_grave or not run.is_trusted
    while at < len(run.words) and is_option(run.words[at]):
        text = run.texts[at]
        if text in ("-F", "-v"):
            at += 2
        elif text.startswith(("-F", "-v")):
            at += 1
        else:
            is_odd |= text != "--"
            at += 1
    program = run.words[at] if at < len(run.words) else None
    if is_odd or program is None or not program.is_literal or _AWK.search(program.text):
        commands.emit(run, ActionKind.SHELL, is_opaque=True)
        commands.suspect(squeezed(" ".join(run.texts)), run.exact)
        return
    files = [word for word in run.words[at + 1 :] if "=" not in word.text]
    for word in files:
        commands.touch(run, ActionKind.READ, word)
    if not files:
        commands.emit(run, ActionKind.READ)


FILES: dict[str, Handler] = {"sed": sed, "gsed": sed, "awk": awk, "gawk": awk, "mawk": awk, "nawk": awk}
