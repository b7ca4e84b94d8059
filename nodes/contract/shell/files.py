"""Programs that read and write files."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..policy import ActionKind
from . import known
from .hosts import host_copied
from .places import lies_outside
from .scanning import squeezed
from .tree import Word
from .words import tilde

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
_AWK = re.compile(r"system|getline|\||@|\bclose\b|ENVIRON|ARGV|ARGC|fflush")
"""What lets awk run or load something."""
_AWK_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_AWK_WRITES = re.compile(r"\bprintf?\b[^;}]*>")
_ATTACHED = re.compile(r"[./~].*", re.DOTALL)
_CONVERSION = re.compile(r"%[-+ #0']*[\d*]*(?:\.[\d*]*)?[hlLjzt]*(.)", re.DOTALL)
_PATTERN = re.compile(r"[*?\[]")
_DIGITS = re.compile(r"-?\d+")
_NUMERIC = frozenset({"-eq", "-ne", "-lt", "-le", "-gt", "-ge"})
_COMPARES = frozenset({"=", "==", "!=", "-nt", "-ot", "-ef"})
_LOOKS = frozenset(f"-{letter}" for letter in "abcdefghknprsuwxzGLNOS")
_TAR_FLAGS = known.names(
    "-t -x -c -r -u -v -z -j -J -Z -a -k -m -h -p -l -O -S -W --list --extract --get --create --append --update "
    "--verbose --gzip --gunzip --bzip2 --xz --zstd --lzma --auto-compress --keep-old-files --overwrite --dereference "
    "--preserve-permissions --same-permissions --no-same-owner --no-same-permissions --to-stdout --sparse --wildcards "
    "--no-wildcards --anchored --numeric-owner --totals --utc --full-time --force-local --no-recursion --verify "
    "--exclude-vcs --exclude-vcs-ignores --skip-old-files --ignore-failed-read --touch --delete"
)
_TAR_VALUES = known.names("-f -C -b --file --directory --exclude --strip-components --mtime --owner --group --mode "
    "--sort --format")  # fmt: skip
_GREP_DEEP = "-r -R --recursive --dereference-recursive -d --directories"
_DEEP = {"grep": _GREP_DEEP, "egrep": _GREP_DEEP, "fgrep": _GREP_DEEP, "ls": "-R --recursive"}
"""With which of its options a reader goes through directories, where it does not always."""
_PS_DASHED, _PS_BARE = "oOCpqstuUgG", "oOpqtUk"
"""Letters of ps that have a value, with a dash and without one."""
_PS_LONG = known.names("--format --sort --pid --ppid --user --User --group --Group --tty --sid --cols --columns "
    "--width --lines --rows --quick-pid")  # fmt: skip
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


def options(
    words: Sequence[Word], flags: Collection[str], values: Collection[str]
) -> tuple[list[tuple[str, Word]], list[Word]] | None:
    """Each option of ``values`` with its value, and the arguments. Nothing if there is an option that is in neither, or
    a word that may be one."""
    told: list[tuple[str, Word]] = []
    named: list[Word] = []
    waiting = ""
    is_open = True
    for word in words:
        text = word.text
        if waiting:
            told.append((waiting, word))
            waiting = ""
        elif not is_open or not is_option(word):
            named.append(word)
        elif text == "--":
            is_open = False
        elif text in flags:
            continue
        elif text in values:
            waiting = text
        else:
            option, value = joined(word, flags, values)
            if not option:
                return None
            if value is not None:
                told.append((option, value))
            elif option in values:
                waiting = option
    return told, named


def joined(word: Word, flags: Collection[str], values: Collection[str]) -> tuple[str, Word | None]:
    """The last option in ``-abc``, ``-avalue`` or ``--option=value``, and the value if there is one; no option if one
    of them is in neither table."""
    if word.text.startswith("--"):
        option, equals, _ = word.text.partition("=")
        return (option, rest_of(word, len(option) + 1)) if equals and option in values else ("", None)
    option = ""
    for at, letter in enumerate(word.text[1:], 1):
        option = f"-{letter}"
        if option in values:
            return option, rest_of(word, at + 1) if at + 1 < len(word.text) else None
        if option not in flags:
            return "", None
    return option, None


def rest_of(word: Word, at: int) -> Word:
    """What stands in a word behind an option: it may begin with a tilde that somebody expands."""
    text = word.text[at:]
    return replace(word, text=text, is_home=text == "~" or text.startswith("~/"))


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
            touch_named(commands, run)
        return
    if name in ("uniq", "xxd") and len(named := positional(run, _VALUES[name])) > 1:
        commands.touch(run, ActionKind.READ, named[0])
        commands.touch(run, ActionKind.WRITE, named[-1])
        return
    if name in known.NO_PATHS:
        for word in run.rest if name in ("test", "[", "[[") else ():
            if word.is_literal and lies_outside(word):
                commands.touch(run, ActionKind.READ, replace(word, is_glob=False), tolerant=True)  # whether it is there
        is_tolerant = name in known.UNEXPANDED or tolerates(run)
        commands.emit(run_as(run) if is_tolerant else run, ActionKind.READ, essence=commands.essence(run))
        return
    deep = _DEEP.get(name)
    is_tree = name in known.TREES and (deep is None or any(breaks(text, deep) for text in texts[1:]))
    paths = positional(run) + values_of(run)
    is_scan = is_tree and name not in ("ls", "tree", "du", "diff")
    if not paths or (is_scan and len(positional(run)) < 2):
        commands.touch(run, ActionKind.READ, Word("."), is_tree=is_tree) if is_tree else commands.emit(
            run, ActionKind.READ
        )
    for word in paths:
        commands.touch(run, ActionKind.READ, word, is_tree=is_tree)


def touch_named(commands: Commands, run: Run) -> None:
    """What any program is told to use, as far as it looks like a path: it may read that at least."""
    for word in [*run.rest, *values_of(run)]:
        if not is_option(word) and "://" not in word.text and (lies_outside(word) or word.text.startswith(".")):
            commands.touch(run, ActionKind.READ, word, is_tree=True, tolerant=True)


def list_names(commands: Commands, run: Run, before: int) -> None:
    """The shell lists what a pattern stands for, whatever the command does with it (``echo ~/.ssh/*``): its place is
    read, unless one of the actions since ``before`` is on these files already."""
    if run.texts[0] == "[[":
        return
    touched = {action.path for action in commands.actions[before:]}
    for word in filter(None, map(pattern_in, run.rest)):
        named = [*commands.place.locate(replace(word, is_glob=False), commands.cwds)]
        is_odd = is_option(word) or "://" in word.text
        if touched & {path for path, _, _ in named} or (is_odd and all(inside for _, inside, _ in named)):
            continue
        fixed, rest = _PATTERN.split(word.text, maxsplit=1)
        if "/" in rest or not word.is_literal:
            commands.touch(run, ActionKind.READ, word, tolerant=True)
        else:
            directory = fixed[: fixed.rfind("/") + 1] or "."
            commands.touch(run, ActionKind.READ, replace(word, text=directory, is_glob=False), tolerant=True)


def pattern_in(word: Word) -> Word | None:
    """The word as a pattern for files; nothing if it is none. A variable may hold one."""
    if word.is_glob:
        return replace(word, is_literal=word.is_literal or word.text.startswith("["))
    if word.may_split and not word.is_literal and _PATTERN.search(word.text):
        return tilde(replace(word, is_literal=True, is_glob=True))
    return None


def run_as(run: Run) -> Run:
    """The same command with words that it does nothing with."""
    return replace(run, words=(Word(run.words[0].text),))


def tolerates(run: Run) -> bool:
    """Whether words that nobody knows yet are no more than data there: in ``[[``, in ``[`` of a plain shape, and
    behind a format that only prints them."""
    words = run.words[1:]
    if run.name == "[[":
        return True
    if run.name not in ("test", "[", "printf") and all(word.is_literal or word.is_number for word in words):
        return True
    if run.name == "printf":
        text = words[0].text if words else ""
        is_format = bool(words) and words[0].is_literal and not text.startswith("-")
        kinds = set(_CONVERSION.findall(text))
        return is_format and kinds <= {*"sbq%"} and not re.search(r"%[^a-zA-Z%]*\*", text)
    if run.name not in ("test", "[") or any((word.may_split and not word.is_number) or word.is_glob for word in words):
        return False
    if run.name == "[":
        words = words[:-1]
    if words and words[0].is_literal and words[0].text == "!":
        words = words[1:]
    if len(words) == 3:
        is_sum = all(word.is_number or (word.is_literal and _DIGITS.fullmatch(word.text)) for word in words[::2])
        return words[1].is_literal and words[1].text in (_COMPARES | _NUMERIC if is_sum else _COMPARES)
    return len(words) == 1 or (len(words) == 2 and words[0].is_literal and words[0].text in _LOOKS)


def dangerous(run: Run) -> bool:
    """Whether an argument is more than that: a pager's command, a variable that is evaluated, a clock that is set."""
    texts = run.texts[1:]
    if run.name in ("less", "more"):
        return any(text.startswith("+") for text in texts)
    if run.name in ("test", "[", "[["):
        return "-v" in texts or "-R" in texts or calculates(texts)
    if run.name == "printf":
        kinds = {kind for text in texts for kind in _CONVERSION.findall(text)}
        return "n" in kinds or (bool(kinds - {*"sbqc%"}) and any("$(" in text or "`" in text for text in texts))
    if run.name in ("wc", "du", "sort"):
        return any(breaks(text, "--files0-from") for text in texts)
    if run.name == "ps":
        return shows_environments(texts)
    if run.name == "jq":
        return any(re.search(r"\b(?:import|include)\b", text) for text in texts)  # other files, unnamed
    if run.name == "date":
        return any(not text.startswith(("-", "+")) for text in texts)
    return run.name == "hostname" and bool(positional(run))


def shows_environments(texts: list[str]) -> bool:
    """``ps e``, ``ps auxe``, ``ps -E``: what others were given in their environment is shown."""
    is_value = False
    for text in texts:
        if is_value or text.startswith("--"):
            is_value = not is_value and text in _PS_LONG
            continue
        is_dashed = text.startswith("-")
        with_value = _PS_DASHED if is_dashed else _PS_BARE
        at = next((at for at, letter in enumerate(text) if letter in with_value), len(text))
        letters, valued, attached = text[:at], text[at : at + 1], text[at + 1 :]
        if ("E" if is_dashed else "e") in letters or (valued == "u" and "e" in attached):
            return True  # ``-auxe`` is taken for ``auxe`` where there is no user of that name
        is_value = bool(valued) and not attached
    return any("environ" in text.lower() for text in texts)


def calculates(texts: list[str]) -> bool:
    """Whether ``[ x -eq y ]`` compares what is no number: some shells calculate it, and run what stands in an index."""
    return any(text in _NUMERIC for text in texts) and any("$(" in text or "`" in text for text in texts)


def values_of(run: Run) -> list[Word]:
    """What stands behind ``--option=``, or in one word with a short option: it may be a path."""
    found = []
    for word in run.rest:
        if word.text.startswith("--"):
            if "=" in word.text:
                found.append(rest_of(word, word.text.index("=") + 1))
        elif is_option(word) and (path := _ATTACHED.search(word.text, 2)) and len(path[0]) > 1:
            found.append(rest_of(word, path.start()))
            if ".." in path[0].removeprefix(".."):
                found[-1] = replace(found[-1], is_literal=False)
    return found


def sort_to_file(commands: Commands, run: Run) -> None:
    for at, text in enumerate(run.texts[1:], 1):
        if breaks(text, "--compress-program --files0-from"):
            commands.emit(run, ActionKind.SHELL, is_opaque=True)
        elif breaks(text, "-o --output"):
            named = re.sub(r"^-[^-o]*o|^--[a-z]*=?", "", text)
            following = run.words[at + 1] if at + 1 < len(run.words) else Word(".")
            commands.touch(
                run, ActionKind.WRITE, rest_of(run.words[at], len(text) - len(named)) if named else following
            )
    for word in positional(run):
        commands.touch(run, ActionKind.READ, word)
    if run.is_grave or not run.is_trusted:
        commands.emit(run, ActionKind.SHELL)


def writer(commands: Commands, run: Run) -> None:  # noqa: PLR0912 - one for each way to say it
    name, texts = run.name, run.texts
    if not run.is_trusted or (run.is_grave and name != "tar"):
        commands.emit(run, ActionKind.SHELL)
    if name == "tar":
        tar(commands, run)
        return
    if name == "unzip" and any(breaks(text, "-l -Z -v -t") for text in texts[1:2]) and not run.is_grave:
        for word in positional(run):
            commands.touch(run, ActionKind.READ, word)
        return
    if name == "zip" and any(breaks(text, "-TT --unzip-command") or text.startswith("-TT") for text in texts[1:]):
        commands.emit(run, ActionKind.SHELL, is_opaque=True)
        commands.suspect(squeezed(" ".join(texts[1:])), run.exact)
    named = positional(run) + values_of(run)
    if name == "dd":
        named = []
        for word in run.rest:
            key = word.text.partition("=")[0]
            if key in ("if", "of"):
                kind = ActionKind.READ if key == "if" else ActionKind.WRITE
                commands.touch(run, kind, rest_of(word, len(key) + 1))
        if not any(text.startswith("of=") for text in texts):
            commands.emit(run, ActionKind.WRITE)
        return
    if name in ("chmod", "chown", "chgrp") and not any(breaks(text, "--reference") for text in texts[1:]):
        named = named[1:]
    if any(breaks(text, "--filter --strip-program --unzip-command") for text in texts[1:]):
        commands.emit(run, ActionKind.SHELL, is_opaque=True)
        commands.suspect(squeezed(" ".join(texts[1:])), run.exact)
    is_tree = name == "mv" or any(breaks(text, "-r -R --recursive -a --archive") for text in texts[1:])
    has_target = any(breaks(text, "-t --target-directory") for text in texts[1:])
    for word in run.rest:
        if has_target and re.match(r"-t.", word.text):
            commands.touch(run, ActionKind.WRITE, rest_of(word, 2))
    if not named:
        commands.emit(run, ActionKind.WRITE)
    for at, word in enumerate(named):
        is_source = name in known.COPIERS and at < len(named) - 1 and not has_target
        commands.touch(run, ActionKind.READ if is_source else ActionKind.WRITE, word, is_tree=is_tree)


def tar(commands: Commands, run: Run) -> None:
    texts = run.texts
    told = tar_options(run)
    if told is None or run.is_grave:
        commands.emit(run, ActionKind.SHELL, is_opaque=True)
        commands.suspect(squeezed(" ".join(texts)), run.exact)
        return
    kind = ActionKind.READ if tar_lists(texts[1:]) else ActionKind.WRITE
    archives = [re.sub(r"^(?:-[a-zA-Z]*f|--file=)", "", text) for text in texts[1:]]
    for option, value in told:
        if option in ("-f", "--file", "-C", "--directory"):
            commands.touch(run, kind, value)
    if "--force-local" not in texts:
        for host in dict.fromkeys(filter(None, map(host_copied, archives))):
            commands.emit(run, ActionKind.NETWORK, host=host)
    for word in positional(run) or [Word(".")]:
        commands.touch(run, kind, word, is_tree=kind is ActionKind.WRITE)


def tar_options(run: Run) -> list[tuple[str, Word]] | None:
    """The values of its options; nothing if there is one that we do not know: many run a program or write a file."""
    words = list(run.rest)
    if words and not words[0].text.startswith("-"):
        bundle = [f"-{letter}" for letter in words[0].text]
        if not {*bundle} <= _TAR_FLAGS | _TAR_VALUES:
            return None
        waiting = [option for option in bundle if option in _TAR_VALUES]
        found = list(zip(waiting, words[1:], strict=False))
        words = words[1 + len(waiting) :]
    else:
        found = []
    told = options(tuple(words), _TAR_FLAGS, _TAR_VALUES)
    return None if told is None else [*found, *told[0]]


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
            is_odd |= "/" in text  # a copy is kept there
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


def awk_is_plain(program: str) -> bool:
    """Whether it starts, loads and writes nothing. Where a quote may stand in a pattern or a comment, what is text and
    what is code is beyond us: with ``>`` it may write then."""
    if _AWK.search(program):
        return False
    if ">" not in program or "print" not in program:
        return True
    return not re.search("[/#]", program) and not _AWK_WRITES.search(_AWK_TEXT.sub('""', program))


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
    if is_odd or program is None or not program.is_literal or not awk_is_plain(program.text):
        commands.emit(run, ActionKind.SHELL, is_opaque=True)
        commands.suspect(squeezed(" ".join(run.texts)), run.exact)
        return
    files = [word for word in run.words[at + 1 :] if "=" not in word.text]
    for word in files:
        if found := re.match(r"/inet[46]?/\w+/[^/]*/([^/]+)", word.text):
            commands.emit(run, ActionKind.NETWORK, host=found[1])
        commands.touch(run, ActionKind.READ, word)
    if not files:
        commands.emit(run, ActionKind.READ)


FILES: dict[str, Handler] = {"sed": sed, "gsed": sed, "awk": awk, "gawk": awk, "mawk": awk, "nawk": awk}
