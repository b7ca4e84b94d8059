"""Programs that run other programs, and the tables that say who judges which program."""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import replace
from typing import TYPE_CHECKING

from ..policy import ActionKind
from . import known
from .files import FILES, breaks, reader, touch_named, writer
from .git import git
from .net import REMOTES, program
from .reach import reach
from .scanning import squeezed
from .shells import run_shell, source, text
from .tree import Word

if TYPE_CHECKING:
    from .commands import Commands, Handler, Run

__all__ = ["BUILTINS", "SPECIAL", "git", "interpreter", "program", "reach", "reader", "run_shell", "wrapper", "writer"]


_PLAIN_SET = re.compile(
    r"(?:[-+][CefuvxEbhT]+ |[-+][CefuvxEbhT]*o (?:pipefail|errexit|nounset|xtrace|verbose|noglob|noclobber|errtrace) )*"
    r"(?:-- .*)?",
    re.DOTALL,
)
_XARGS_LONG = {
    "--arg-file": True, "--delimiter": True, "--max-args": True, "--max-chars": True, "--max-procs": True,
    "--process-slot-var": True, "--replace": False, "--eof": False, "--max-lines": False, "--exit": False,
    "--interactive": False, "--no-run-if-empty": False, "--null": False, "--open-tty": False, "--show-limits": False,
    "--verbose": False, "--version": False, "--help": False,
}  # fmt: skip
"""Whether the value of a long option of ``xargs`` may be the next word. Beginnings of names will do."""


def options_end(run: Run, values: str, leading: int = 0) -> int:
    """Where, behind a program's own options, settings and ``leading`` words, the program that it runs begins."""
    with_value = set(values.split())
    at = 1
    while at < len(run.words):
        text = run.words[at].text
        if text == "--":
            at += 1
            break
        if text.startswith("-") and len(text) > 1:
            at += 2 if takes_next(text, with_value) else 1
        else:
            break
    return at + leading


def takes_next(option: str, with_value: Container[str]) -> bool:
    """Whether the value of an option is the next word: of ``-fo`` that of ``-o``, but of ``-oL`` it is ``L``."""
    if option in with_value or option.startswith("--"):
        return option in with_value
    found = next((at for at, letter in enumerate(option[1:], 1) if f"-{letter}" in with_value), 0)
    return found == len(option) - 1


def inner(commands: Commands, run: Run, at: int, *, is_grave: bool) -> None:
    """Judge what begins at the word ``at``; nothing there is an action all the same."""
    if at >= len(run.words):
        commands.emit(run, ActionKind.SHELL, is_opaque=run.is_fed)
        return
    commands.run(replace(run, words=run.words[at:], is_grave=run.is_grave or is_grave, depth=run.depth + 1))


def wrapper(commands: Commands, run: Run) -> None:
    values, leading = known.WRAPPERS[run.name]
    at = options_end(run, values, leading)
    if run.name == "command" and any(text in ("-v", "-V", "-pv") for text in run.texts[1:at]):
        commands.emit(run, ActionKind.READ, is_opaque=False)
        return
    if run.name == "time" and at >= len(run.words):
        commands.emit(run, ActionKind.READ)
        return
    if run.name == "time":
        timed(commands, run, at)
    script = next((run.words[n + 1] for n in range(1, len(run.words) - 1) if run.texts[n] in ("-c", "--command")), None)
    if script is not None and run.name in ("flock", "runuser", "watch"):
        commands.emit(run, ActionKind.SHELL)
        text(commands, run, script)
        return
    if run.name == "parallel":
        commands.emit(run, ActionKind.SHELL, is_opaque=True)  # arguments are put into it, or it comes by its input
    if run.name in ("watch", "parallel") and len(run.words) > at:
        text(commands, run, Word(" ".join(run.texts[at:]), run.is_literal))
        return
    while at < len(run.words) and "=" in run.texts[at] and run.name in ("sudo", "doas", "cross-env", "env"):
        at += 1
    inner(commands, run, at, is_grave=run.name not in known.QUIET_WRAPPERS)


def timed(commands: Commands, run: Run, end: int) -> None:
    """``time --output FILE`` writes, and by ``--format`` anything."""
    for at in range(1, min(end, len(run.words))):
        if breaks(run.texts[at], "-o -a --output --append"):
            named = re.sub(r"^-[^-o]*o|^--[a-z]*=?", "", run.texts[at])
            following = run.words[at + 1] if at + 1 < len(run.words) else Word(".")
            commands.touch(run, ActionKind.WRITE, Word(named, run.words[at].is_literal) if named else following)


def env(commands: Commands, run: Run) -> None:
    at = 1
    is_grave = False
    while at < len(run.words):
        here = run.texts[at]
        if here == "--":
            at += 1
            break
        if here.startswith(("-S", "--split-string")) or (
            here.startswith("-") and not here.startswith("--") and "S" in here
        ):
            joined = re.sub(r"^(-[a-zA-Z]*S|--split-string=?)", "", here)
            text(commands, run, Word(" ".join([joined, *run.texts[at + 1 :]]), run.is_literal))
            commands.emit(run, ActionKind.SHELL)
            return
        if here in ("-u", "--unset"):
            at += 2
        elif here.startswith("-"):
            if not re.fullmatch(
                r"-[i0v]*|--ignore-environment|--null|--debug|--unset=\w+|-u\w+|--version|--help", here
            ):
                is_grave = True  # it may run elsewhere, or find another program
                commands.emit(run, ActionKind.SHELL, is_opaque=True)
                at += here in ("-C", "--chdir", "-P")
            at += 1
        elif "=" in here:
            name = here.partition("=")[0]
            is_grave |= name not in known.HARMLESS_SETTINGS
            commands.directed(run, name, Word(here.partition("=")[2], run.words[at].is_literal))
            if commands.is_grave(name):
                commands.emit(run, ActionKind.SHELL, is_opaque=True)
            at += 1
        else:
            break
    if at >= len(run.words):
        commands.emit(run, ActionKind.READ if not is_grave else ActionKind.SHELL)
        return
    inner(commands, run, at, is_grave=is_grave)


def xargs(commands: Commands, run: Run) -> None:
    """What it runs gets more arguments, which nobody knows yet, or has them put in the place of a mark."""
    at, marks = xargs_end(run)
    if at == 0 or at >= len(run.words) or not all(word.is_literal for word in run.words[:at]):
        commands.emit(run, ActionKind.SHELL, is_opaque=True)
        commands.suspect(squeezed(" ".join(run.texts)), run.exact)
        return
    more = Word("", is_literal=False)
    words = tuple(
        replace(word, is_literal=False) if any(mark in word.text for mark in marks) else word for word in run.words[at:]
    )
    commands.run(replace(run, words=(*words, more), depth=run.depth + 1, is_grave=True))


def xargs_end(run: Run) -> tuple[int, list[str]]:
    """Where the command begins, 0 if it cannot be said, and the marks that are replaced in it."""
    at, marks = 1, ["{}"]
    while at < len(run.words):
        here = run.texts[at]
        at += 1
        if here == "--":
            break
        if here.startswith("--"):
            name, is_attached, value = here.partition("=")
            known_as = next((each for each in _XARGS_LONG if each.startswith(name)), "")
            if not known_as:
                return 0, marks
            if known_as == "--replace":
                marks.append(value or "{}")
            at += _XARGS_LONG[known_as] and not is_attached
        elif here.startswith("-") and len(here) > 1:
            found = re.fullmatch(r"-[0rtxpo]*(?:([adEILnPsJRS])(.*)|([eil])(.*))?", here, re.DOTALL)
            if found is None:
                return 0, marks
            value = found[2] or found[4] or ""
            if found[1] and not value:
                value = run.texts[at] if at < len(run.words) else ""
                at += 1
            if (found[1] or found[3] or "") in ("I", "J", "i"):
                marks.append(value or "{}")
        else:
            return at - 1, marks
    return at, marks


def find(commands: Commands, run: Run) -> None:
    roots, at = [], 1
    while at < len(run.words) and re.fullmatch(r"-[HLP]+|-O\d*|-D|--", run.texts[at]):
        at += 2 if run.texts[at] == "-D" else 1
    while at < len(run.words) and not run.texts[at].startswith(("-", "(", "!", ")")):
        roots.append(run.words[at])
        at += 1
    is_bare = not roots and any(re.fullmatch(r"-[EXdsxf]+", text_) for text_ in run.texts[at : at + 1])
    if is_bare or any(text_.startswith("-files0-from") for text_ in run.texts):
        commands.emit(run, ActionKind.SHELL, is_opaque=True)  # its places stand behind that, or in a file
    roots = roots or [Word(".")]
    kind = ActionKind.READ
    while at < len(run.words):
        here = run.texts[at]
        at += 1
        if here in ("-exec", "-execdir", "-ok", "-okdir"):
            stop = next((n for n in range(at, len(run.words)) if run.texts[n] in (";", "+")), len(run.words))
            started = run.words[at:stop]
            if not started or started[0].text == "{}":
                commands.emit(run, ActionKind.SHELL, is_opaque=True)
            else:
                found_by(commands, run, started, roots, is_elsewhere=here.endswith("dir"))
            at = stop + 1
        elif here == "-delete":
            kind = ActionKind.WRITE
        elif here in ("-fprint", "-fprint0", "-fprintf", "-fls") and at < len(run.words):
            commands.touch(run, ActionKind.WRITE, run.words[at])
            at += 1
    for root in roots:
        commands.touch(run, kind if not run.is_grave else ActionKind.SHELL, root, is_tree=True)


def found_by(commands: Commands, run: Run, started: tuple[Word, ...], roots: list[Word], *, is_elsewhere: bool) -> None:
    """What ``find`` starts, for each of its roots; ``-execdir`` starts it in the directory of what was found."""
    was_lost, commands.is_lost = commands.is_lost, commands.is_lost or is_elsewhere
    name = started[0].text.rsplit("/", 1)[-1]
    is_run = name in known.SHELLS or name in known.WRAPPERS or name in SPECIAL  # what is found is code, or a program
    for root in roots[:20] if any("{}" in word.text for word in started) else roots[:1]:
        found = replace(root, is_literal=root.is_literal and not is_run)
        each = tuple(
            found if word.text == "{}" else replace(word, is_literal=False) if "{}" in word.text else word
            for word in started
        )
        commands.run(replace(run, words=each, depth=run.depth + 1, is_tree=True))
    commands.is_lost = was_lost
    if len(roots) > 20:
        commands.emit(run, ActionKind.SHELL, is_opaque=True)


def interpreter(commands: Commands, run: Run) -> None:
    """Code within the command line, or from standard input, is not read: only searched."""
    options = known.INTERPRETERS[run.name].split()
    short = "".join(option[1] for option in options if re.fullmatch(r"-\w", option))
    is_python = run.name in ("python", "pypy", "py")
    at = 1
    while at < len(run.words):
        here = run.texts[at]
        if is_python and (here == "-m" or re.fullmatch(r"-[bBdEiIOPqsSuvx]*m", here)):
            module(commands, run, at + 1)
            return
        if is_python and (attached := re.fullmatch(r"-[bBdEiIOPqsSuvx]*m(\w[\w.]*)", here)):
            words = (*run.words[:at], Word(attached[1]), *run.words[at + 1 :])
            module(commands, replace(run, words=words), at)
            return
        is_cluster = short and re.fullmatch(rf"-[A-Za-z0-9]*[{re.escape(short)}].*", here, re.DOTALL) and here[1] != "-"
        if is_cluster or here.split("=", 1)[0] in options or here.startswith("+"):
            commands.emit(run, ActionKind.SHELL, is_opaque=True)
            commands.suspect(squeezed("\n".join(run.texts[at:])), run.exact)
            return
        if is_python and here in ("-W", "-X"):
            at += 2
        elif here.startswith("-") and here != "-":
            at += 1
        else:
            break
    is_code = at >= len(run.words) or run.texts[at] == "-"
    speaks = run.name in ("ed", "tclsh", "sqlite3", "mysql", "psql", "bc", "m4", "expect", "gdb")
    if run.name in ("deno", "sqlite3") and any(
        text.startswith((".shell", ".system")) or text == "eval" for text in run.texts
    ):
        is_code = speaks = True
        commands.suspect(squeezed(" ".join(run.texts)), run.exact)
    if (
        is_python
        and at < len(run.words)
        and run.texts[at].endswith("setup.py")
        and {"upload", "register"} & {*run.texts}
    ):
        commands.emit(run, ActionKind.PUBLISH)
        return
    is_unknown = (is_code and (run.is_fed or not run.words[1:])) or (speaks and (run.is_fed or is_code))
    commands.emit(run, ActionKind.SHELL, is_opaque=is_unknown or any(word.commands for word in run.words))
    commands.visit(run)
    for code in run.fed:
        commands.suspect(squeezed(code), run.exact)
    if any(word.commands for word in run.words):
        commands.suspect(squeezed(run.exact), run.exact)


def module(commands: Commands, run: Run, at: int) -> None:
    """``python -m NAME``: as the program of that name, where there is one."""
    if at >= len(run.words):
        commands.emit(run, ActionKind.SHELL, is_opaque=True)
        return
    name = run.texts[at]
    if name in known.PROGRAMS and name != "test":
        commands.run(replace(run, words=run.words[at:], is_grave=True, depth=run.depth + 1))
    else:
        commands.emit(run, ActionKind.SHELL)
        commands.visit(run)


def substitute_user(commands: Commands, run: Run) -> None:
    """``su [user] -c command``."""
    commands.emit(run, ActionKind.SHELL, is_opaque=run.is_fed)
    for at, word in enumerate(run.words[1:], 2):
        if found := re.fullmatch(
            r"-[flmPp]*c(.*)|--(?:c|co|com|comm|comma|comman|command)(?:=(.*))?", word.text, re.DOTALL
        ):
            code = found[1] or found[2] or ""
            text(commands, run, replace(word, text=code) if code else run.words[at] if at < len(run.words) else word)


def evaluate(commands: Commands, run: Run) -> None:
    joined = " ".join(run.texts[1:])
    text(commands, run, Word(joined, run.is_literal))


def trap(commands: Commands, run: Run) -> None:
    words = [word for word in run.rest if not word.text.startswith("-")]
    commands.emit(run, ActionKind.SHELL)
    if len(words) > 1:
        was_lost, commands.is_lost = commands.is_lost, True  # it runs later
        text(commands, run, words[0])
        commands.is_lost = was_lost


def alias(commands: Commands, run: Run) -> None:
    """Whatever is called so from here on."""
    commands.emit(run, ActionKind.SHELL, is_opaque=True)
    for word in run.rest:
        text(commands, run, Word(word.text.partition("=")[2], word.is_literal))


def declare(commands: Commands, run: Run) -> None:
    """What is exported changes every later program, so its name must be known to be harmless."""
    names = [text_.partition("=") for text_ in run.texts[1:] if not text_.startswith(("-", "+"))]
    is_exported = run.name == "export" or any(re.match(r"[-+]\w*x", text_) for text_ in run.texts[1:])
    is_harmless = known.HARMLESS_SETTINGS.__contains__ if is_exported else known.is_local
    is_plain = run.is_literal and all(is_harmless(name) for name, _, _ in names)
    # A number is calculated from what is set, now and later, and a reference sets another variable.
    is_plain &= not any(re.match(r"[-+]\w*[in]", text_) for text_ in run.texts[1:])
    is_plain &= not any(re.search(r"\$\(|`|\[", value) for _, _, value in names)
    is_kept = run.name == "export" and not any(text_.startswith(("-", "+")) for text_ in run.texts[1:])
    is_kept = is_kept and all(
        commands.keeps(name, replace(word, text=value)) for word, (name, _, value) in zip(run.rest, names, strict=True)
    )
    if is_plain or is_kept:
        commands.emit(replace(run, words=(Word(run.name),)), ActionKind.READ, essence=commands.essence(run))
    else:
        commands.emit(run, ActionKind.SHELL, is_opaque=True)
        commands.suspect(squeezed(" ".join(run.texts)), run.exact)


def set_options(commands: Commands, run: Run) -> None:
    """``set -e`` and the like; with ``-a`` every variable is exported, with ``-k`` arguments are settings."""
    if run.is_literal and not run.is_grave and _PLAIN_SET.fullmatch(" ".join([*run.texts[1:], ""])):
        commands.emit(run, ActionKind.READ)
    else:
        commands.emit(run, ActionKind.SHELL, is_opaque=True)
        commands.suspect(squeezed(" ".join(run.texts)), run.exact)


def keyed(commands: Commands, run: Run) -> None:
    """``tmux``, ``screen``, ``at`` and the like take a command in some argument, or from their input."""
    commands.emit(run, ActionKind.SHELL, is_opaque=True)
    commands.suspect(squeezed(" ".join([*run.texts, *run.fed])), run.exact)


def read_line(commands: Commands, run: Run) -> None:
    """``read NAME``: an index of a name is calculated, and some names change what comes later."""
    named = [text_ for text_ in run.texts[1:] if not text_.startswith("-")]
    commands.emit(run, ActionKind.SHELL, is_opaque=not run.is_literal or not all(map(known.is_local, named)))
    commands.suspect(squeezed(" ".join(named)), run.exact)


def look_up(commands: Commands, run: Run) -> None:
    """``getent hosts NAME`` asks name servers; other databases are this machine's."""
    if any(text_.startswith(("hosts", "ahosts")) for text_ in run.texts[1:2]):
        for word in run.words[2:] or (Word(""),):
            commands.emit(run, ActionKind.NETWORK, host=word.text.lower())
    else:
        commands.emit(run, ActionKind.SHELL)


def make(commands: Commands, run: Run) -> None:
    """What a makefile does is not in the command; what is put in its place is."""
    told = [word for word in run.texts[1:] if "=" in word or word.startswith("--eval")]
    is_code = any(re.match(r"(?:\.?SHELL|MAKEFLAGS|GNUMAKEFLAGS|MAKEFILES|--eval)", word) for word in told)
    commands.emit(run, ActionKind.SHELL, is_opaque=is_code or run.is_fed or any("$(" in word for word in told))
    commands.suspect(squeezed("\n".join([*told, *run.fed])), run.exact)
    touch_named(commands, run)


BUILTINS: dict[str, Handler] = {
    "eval": evaluate,
    "trap": trap,
    "alias": alias,
    "set": set_options,
    "source": source,
    ".": source,
    **dict.fromkeys(("export", "declare", "typeset", "local", "readonly", "unset"), declare),
    **dict.fromkeys(("read", "getopts"), read_line),
    **dict.fromkeys(("let", "mapfile", "readarray", "complete", "bind", "enable", "compgen"), keyed),
}
SPECIAL: dict[str, Handler] = {
    "env": env,
    "xargs": xargs,
    "find": find,
    "su": substitute_user,
    "git": git,
    "getent": look_up,
    **dict.fromkeys(("make", "gmake"), make),
    **dict.fromkeys(
        ("tmux", "screen", "at", "batch", "nix-shell", "direnv", "op", "script", "sshpass", "expect", "vim", "vi",
         "nvim", "ex", "emacs", "man", "crontab", "rpm", "cmd", "xdg-open", "open", "magic-wormhole", "autoexpect"),
        keyed,
    ),
    **FILES,
    **REMOTES,
}  # fmt: skip
"""Programs that are judged by more than their table."""
