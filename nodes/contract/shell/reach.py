"""Programs whose purpose is to reach somebody: whom they reach, and which files they send or write."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

from ..policy import ActionKind
from . import known
from .files import options, positional, values_of
from .hosts import host_copied, host_named, host_of
from .places import lies_outside
from .reach_known import CURL, CURL_ADDRESSES, CURL_PLAIN, NOTHING, OPTIONS, Options
from .scanning import squeezed
from .tree import Word

if TYPE_CHECKING:
    from .commands import Commands, Run

_SOCAT = re.compile(r"^[A-Za-z0-9\-]*(?:tcp|udp|ssl|openssl|sctp|socks\w*|proxy)[A-Za-z0-9\-]*:([^:,]+)", re.IGNORECASE)
_SOCAT_PLAIN = re.compile(
    r"-|stdio|stdin|stdout|(?:(?:tcp|udp)[46]?|ssl|openssl)(?:-connect)?:[\w.\-]+:\d+", re.IGNORECASE
)
_NAMED_FIRST = known.names("http https xh httpie lynx links w3m ab wrk hey websocat")
_WITH_A_COMMAND = known.names("ssh mosh rsh")
_NO_FILE = frozenset({"-", ".", "", "/dev/null"})

Told = tuple[list[tuple[str, Word]], list[Word]]


def reach(commands: Commands, run: Run) -> None:  # noqa: PLR0912 - one for each way to say it
    """Each host that it is told to reach."""
    name = run.name
    if name == "openssl" and "s_client" not in run.texts:
        commands.emit(run, ActionKind.SHELL)
        commands.visit(run)
        return
    if name in ("curl", "curlie"):
        curl(commands, run)
        return
    spec = OPTIONS.get(name, NOTHING)
    told = options(own_words(run, spec), spec.flags, spec.values)
    is_odd = run.is_grave or not run.is_trusted or told is None
    values, named = told or unknown_options(commands, run)
    for option, word in values:
        if option in spec.reads | spec.writes and word.text not in _NO_FILE:
            commands.touch(run, ActionKind.READ if option in spec.reads else ActionKind.WRITE, word)
    if name == "wget" and "--spider" not in run.texts and not any(option[:3] in ("-O", "--o") for option, _ in values):
        commands.touch(run, ActionKind.WRITE, Word("."))
    hosts = [host_of(word.text) for word in named if "://" in word.text]
    others = [word for word in named if "://" not in word.text]
    if name in ("scp", "rsync", "sftp"):
        hosts += copied(commands, run, named)
        is_odd |= name == "sftp" and run.is_fed
    elif name == "socat":
        hosts += [(found[1].lower(), True) for word in others if (found := _SOCAT.match(word.text))]
        is_odd |= not all(_SOCAT_PLAIN.fullmatch(word.text) for word in named)
    elif name in ("wget", "wget2"):
        hosts += [host_named(word.text) for word in others]
    elif name in _NAMED_FIRST:
        hosts += requested(commands, run, others)
    elif name == "openssl":
        hosts += [(at.text.rsplit(":", 1)[0].lower(), True) for option, at in values if option in ("-connect", "-host")]
    elif name in known.HOST_FIRST:
        hosts += first_named(run, others)
    else:
        for word in others:
            commands.touch(run, ActionKind.READ, word)
    if is_odd or name in _WITH_A_COMMAND:
        commands.suspect(squeezed(" ".join(run.texts[1:])), run.exact)
    for host, is_sure in dict.fromkeys(hosts or [("", True)]):
        commands.emit(run, ActionKind.NETWORK, host=host, is_opaque=is_odd or not is_sure)


def own_words(run: Run, spec: Options) -> tuple[Word, ...]:
    """Its arguments without the command that ``ssh`` has run elsewhere."""
    if run.name in _WITH_A_COMMAND:
        for end in range(1, min(len(run.rest), 50) + 1):
            told = options(run.rest[:end], spec.flags, spec.values)
            if told is None or len(told[1]) > 1:
                return run.rest[: end - 1] if told else run.rest
    return run.rest


def unknown_options(commands: Commands, run: Run) -> Told:
    """Where an option is not understood: all that looks like a path is touched."""
    named = positional(run)
    for word in [*named, *values_of(run)]:
        if "://" not in word.text and lies_outside(word):
            commands.touch(run, ActionKind.READ, word)
    return [], named


def copied(commands: Commands, run: Run, named: list[Word]) -> list[tuple[str, bool]]:
    """Hosts of ``host:path``; what has none lies here. The last is written, the others are sent."""
    hosts = []
    for at, word in enumerate(named):
        text = word.text
        is_first_of_sftp = run.name == "sftp" and at == 0
        host = host_copied(text) or (text.split(":")[0] if ":" in text.split("/")[0] else "")
        if "://" in text:
            continue
        if host or is_first_of_sftp:
            hosts.append(((host or text.rsplit("@", 1)[-1]).lower(), bool(re.fullmatch(r"[\w.\-]+", host or text))))
        else:
            is_last = at == len(named) - 1
            commands.touch(run, ActionKind.WRITE if is_last else ActionKind.READ, word, is_tree=True)
    return hosts


def requested(commands: Commands, run: Run, named: list[Word]) -> list[tuple[str, bool]]:
    """``http POST host/path field=value field@file``."""
    hosts = []
    for word in named:
        if re.match(r"[\w.\-]*(?::\d+|\.\w)|localhost", word.text) and "=" not in word.text.split("/", 1)[0]:
            hosts.append(host_named(word.text))
        if "@" in word.text:
            commands.touch(run, ActionKind.READ, part(word, word.text.partition("@")[2]))
    return hosts


def first_named(run: Run, named: list[Word]) -> list[tuple[str, bool]]:
    hosts = []
    for word in named:
        text = word.text
        if text.startswith("@") and run.name in ("dig", "drill"):
            hosts.append((text[1:].lower(), True))
        elif re.fullmatch(r"(?:[^@\s]+@)?[A-Za-z0-9._:\[\]\-]+", text) and not text.isdigit():
            hosts.append((text.rsplit("@", 1)[-1].lower().rstrip("."), True))
    return hosts


def curl(commands: Commands, run: Run) -> None:
    told = options(run.rest, CURL.flags, CURL.values)
    is_odd = run.is_grave or not run.is_trusted or told is None
    values, named = told or unknown_options(commands, run)
    hosts: list[tuple[str, bool]] = []
    if any(re.match(r"-[a-zA-Z0-9#]*[OJ]|--remote-(?:name|header)", text) for text in run.texts[1:]):
        commands.touch(run, ActionKind.WRITE, Word("."))
    addresses = [*named, *(word for option, word in values if option in CURL_ADDRESSES)]
    for word in addresses:
        is_many = re.search(r"[{}\[\]]", word.text.split("/", 3)[2] if word.text.count("/") > 2 else word.text)
        hosts.append(("", False) if is_many or word.text.startswith("@") else host_named(word.text))
        if word.text.lower().startswith("file:"):
            path = unquote(re.sub(r"^file:(?://[^/]*)?", "", word.text, flags=re.IGNORECASE))
            commands.touch(run, ActionKind.READ, Word(path, word.is_literal and not re.search(r"[{}\[\]]", path)))
    for option, word in values:
        for path in sent(option, word.text):
            commands.touch(run, ActionKind.READ, part(word, path))
        if option in CURL.writes and word.text not in _NO_FILE:
            commands.touch(run, ActionKind.WRITE, word)
        if option in ("-w", "--write-out"):
            is_odd |= word.text.startswith("@")
            for path in re.findall(r"%output\{(?:>>)?([^}]*)", word.text):
                commands.touch(run, ActionKind.WRITE, part(word, path))
    if is_odd:
        commands.suspect(squeezed(" ".join(run.texts[1:])), run.exact)
    for host, is_sure in dict.fromkeys(hosts or [("", True)]):
        commands.emit(run, ActionKind.NETWORK, host=host, is_opaque=is_odd or not is_sure)


def part(word: Word, path: str) -> Word:
    """A path within a word; its tilde may be expanded by somebody."""
    return Word(path, word.is_literal, word.is_glob, is_home=path == "~" or path.startswith("~/"))


def sent(option: str, value: str) -> list[str]:
    """The files that a value of curl's names to be sent, or used."""
    found: list[str] = []
    if option in CURL.reads:
        found = [value, value.partition(":")[0]]
    elif option in ("-b", "--cookie"):
        found = [] if "=" in value else [value]
    elif option in ("-F", "--form") and (behind := re.search(r"[@<](.*)", value, re.DOTALL)):
        found = re.split(r"[,;\"]", behind[1])
    elif option in ("--data-urlencode", "--url-query") and "@" in value:
        found = [value.partition("@")[2]]
    elif option not in CURL_PLAIN and option not in CURL_ADDRESSES and value.startswith("@"):
        found = [value[1:]]
    return [path for path in dict.fromkeys(found) if path not in _NO_FILE]
