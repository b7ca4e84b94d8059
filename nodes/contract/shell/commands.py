"""From a command line to actions: what each simple command would do, to which paths and hosts.

A command that is in no table is the kind *shell*. What cannot be read, or depends on what only
the shell will know, is opaque: it is asked at best, and searched for what a rule might deny.
"""

import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..policy import SOMEWHERE, Action, ActionKind
from . import files, grammar, known, programs, scanning
from .answers import ANSWERS
from .hosts import HOST, host_copied, host_named, host_of
from .places import Place, says_what_git_runs
from .tree import Simple, Unreadable, Word

ACTIONS = 300
DEPTH = 8
STARTED = 20
"""Among how many arguments a command is looked for."""
ESSENCE_CHARS = 2_000
_SAFE_BINS = ("/bin/", "/usr/bin/", "/usr/local/bin/", "/opt/homebrew/bin/")
_NUMBERED = re.compile(r"^(python|pypy|pip|ruby|perl|php|lua|node)-?\d[\d.]*$")
"""Several versions of one program."""
_PLAIN_VALUE = re.compile(r"[\w .,:@%+/=-]*")
_DEVICE = re.compile(r"/dev/(?:null|std(?:in|out|err)|tty|zero|u?random|fd/\d+)")
_SOCKET = re.compile(r"/dev/(?:tcp|udp)/([^/]+)")
_INTO_GROUP = re.compile(r"\|&?\s*(?:[({]|(?:while|until|for|if|case|select)\s)")
"""A pipe into a group, all of whose commands it feeds; or what looks like one, within quotes."""
_NO_FILES = frozenset({">", ">>", ">|", "&>", "&>>", "<>", ">&"})


@dataclass(frozen=True, slots=True)
class Run:
    """One simple command on its way: what is left of it without its wrappers."""

    words: tuple[Word, ...]
    exact: str
    is_grave: bool
    """Whether a wrapper or setting may make a harmless program do harm."""
    fed: tuple[str, ...] = ()
    is_fed: bool = False
    """Whether something is on its standard input that it may take for code."""
    depth: int = 0
    is_tree: bool = False

    @property
    def texts(self) -> list[str]:
        return [word.text for word in self.words]

    @property
    def rest(self) -> tuple[Word, ...]:
        return self.words[1:]

    @property
    def name(self) -> str:
        base = self.words[0].text.replace("\\", "/").rsplit("/", 1)[-1].lower()
        return _NUMBERED.sub(r"\1", base.removesuffix(".exe").removesuffix(".cmd"))

    @property
    def is_literal(self) -> bool:
        return all(word.is_literal for word in self.words)

    @property
    def is_trusted(self) -> bool:
        """Whether it is the program of that name, rather than one that lies in the workspace."""
        first = self.words[0].text
        base = first.rsplit("/", 1)[-1]
        is_itself = _NUMBERED.sub(r"\1", base) == self.name
        return is_itself and (first == base or (first.startswith(_SAFE_BINS) and first.count("..") == 0))


class Commands:
    """Collects the ``actions`` of a command line."""

    def __init__(self, place: Place, tool: str = "", cwd: str = "") -> None:
        self.place = place
        self.tool = tool
        self.actions: list[Action] = []
        self.cwds = [cwd or place.workspace]
        self.is_fed = False
        """Whether all that is read stands where something feeds it: in a group, or in a shell that is fed."""
        self.is_all_grave = False
        """Whether a wrapper or setting of the shell that runs all of this may make a harmless program do harm."""
        self.is_lost = False
        """Whether the working directory is no longer known."""
        self.starts_nothing = True
        """Whether all that is read, up to its end, is done by the shell itself."""
        self.where = self.within(self.cwds[0])
        """Where commands run, for who allows them; empty in the workspace itself."""

    @property
    def whereabouts(self) -> str:
        return SOMEWHERE if self.is_lost or (len(self.cwds) > 1 and not self.where) else self.where

    def within(self, cwd: str) -> str:
        path, inside = self.place.at(cwd)
        return "" if inside == "." else inside or path

    def read(self, text: str, depth: int = 0, *, is_fed: bool = False, is_grave: bool = False) -> None:
        """Add what ``text``, as a shell would take it, may do. What it starts has the standard input of its shell, its
        user and its settings."""
        if depth > DEPTH:
            self.unreadable(text)
            return
        try:
            commands = grammar.read(text)
        except (Unreadable, RecursionError):
            self.unreadable(text)
            return
        was_fed, was_grave = self.is_fed, self.is_all_grave
        self.is_all_grave |= is_grave
        self.starts_nothing &= all(map(is_built_in, commands))
        self.is_fed |= is_fed or bool(_INTO_GROUP.search(text)) or any(map(feeds_others, commands))
        start = len(self.actions)
        if self.judge(commands, depth):
            # Its first commands may run again, in a directory that later ones change to.
            del self.actions[start:]
            self.is_lost = True
            self.judge(commands, depth)
        self.is_fed, self.is_all_grave = was_fed, was_grave

    def judge(self, commands: Sequence[Simple], depth: int) -> bool:
        """Whether one of them that may run again changed the directory, of which we were sure."""
        was_lost, has_moved = self.is_lost, False
        for command in commands:
            before = self.cwds, self.is_lost
            self.simple(command, depth)
            has_moved |= command.is_repeated and before != (self.cwds, self.is_lost)
        return has_moved and not was_lost

    def unreadable(self, text: str) -> None:
        """Nobody knows what it does: it is asked, or denied for what can be seen in it."""
        plain = scanning.squeezed(text)
        self.add(Action(ActionKind.SHELL, command=text[:ESSENCE_CHARS], essence=plain, is_opaque=True))
        self.suspect(plain, text)

    def suspect(self, plain: str, exact: str = "") -> None:
        """Search a text that is not understood for publishing and for reaching somebody."""
        shown = (exact or plain)[:ESSENCE_CHARS]
        if scanning.PUBLISHING.search(plain):
            self.add(Action(ActionKind.PUBLISH, command=shown, essence=plain[:ESSENCE_CHARS], is_opaque=True))
        if scanning.REACHING.search(plain):
            hosts = [host_of(url)[0] for url in HOST.findall(plain)] or [""]
            for host in hosts[:20]:
                seen = plain[:ESSENCE_CHARS]
                self.add(Action(ActionKind.NETWORK, command=shown, essence=seen, host=host, is_opaque=True))

    def add(self, action: Action) -> None:
        if len(self.actions) < ACTIONS:
            self.actions.append(replace(action, tool=self.tool) if self.tool else action)
        elif not self.actions[-1].is_opaque:
            self.actions.append(Action(ActionKind.SHELL, tool=self.tool, essence="and more", is_opaque=True))

    def emit(self, run: Run, kind: ActionKind, *, essence: str = "", host: str = "", is_opaque: bool = False) -> None:
        """One action of ``run`` without a path."""
        self.add(
            Action(
                kind,
                command=run.exact,
                essence=(essence or self.essence(run))[:ESSENCE_CHARS],
                host=host,
                is_opaque=is_opaque or not run.is_literal,
                where=self.whereabouts,
                is_fed=self.feeds(run, kind),
            )
        )

    @staticmethod
    def essence(run: Run) -> str:
        return " ".join([run.name, *run.texts[1:]])

    def touch(self, run: Run, kind: ActionKind, word: Word, *, is_tree: bool = False, tolerant: bool = False) -> None:
        """One action of ``run`` on the path, or the paths, that ``word`` names."""
        is_opaque = not word.is_literal or self.is_lost or not (tolerant or run.is_literal)
        for path, inside, is_known in self.place.locate(word, self.cwds):
            decides = kind is ActionKind.WRITE and says_what_git_runs(path)
            self.add(
                Action(
                    ActionKind.SHELL if decides else kind,
                    command=run.exact,
                    essence=self.essence(run)[:ESSENCE_CHARS],
                    path=path,
                    inside=inside,
                    is_tree=is_tree or run.is_tree,
                    is_opaque=is_opaque or not is_known or decides,
                    where=self.whereabouts,
                    is_fed=self.feeds(run, kind),
                )
            )

    def feeds(self, run: Run, kind: ActionKind) -> bool:
        """Whether what ``run`` does is said by its standard input as well; what only reads does no more for that."""
        return bool(run.words[0].text) and kind is not ActionKind.READ and (run.is_fed or self.is_fed)

    # Simple commands.

    def simple(self, command: Simple, depth: int) -> None:
        exact = spelled(command)
        bare = Run((Word(""),), exact, False)
        for redirect in command.redirects:
            self.redirect(bare, redirect.operator, redirect.target)
        is_alone = not command.words
        grave = [
            name
            for name, value in command.settings
            if self.is_grave(name) or (is_alone and not known.is_local(name) and not self.keeps(name, value))
        ]
        if not command.words:
            if grave:
                self.add(Action(ActionKind.SHELL, command=exact, essence=exact, is_opaque=True))
            elif command.settings:
                self.add(Action(ActionKind.READ, command=exact, essence=exact))
            return
        for name, value in command.settings:
            if name in grave:
                self.suspect(scanning.squeezed(value.text), exact)
            self.directed(bare, name, value)
        odd = [name for name, value in command.settings if name not in known.HARMLESS_SETTINGS]
        fed = tuple(word.text for word in command.fed)
        if command.source is not None and not fed:
            fed = printed(command.source)
        is_unknown = any(not word.is_literal for word in command.fed)
        run = Run(tuple(command.words), exact, bool(odd) or self.is_all_grave, fed, is_fed(command), depth)
        if command.source is not None or is_unknown:
            run = replace(run, fed=fed)
        before = len(self.actions)
        self.run(run, after=command.after)
        files.list_names(self, run, before)
        if grave:
            self.add(Action(ActionKind.SHELL, command=exact, essence=exact, is_opaque=True))

    def keeps(self, name: str, value: Word) -> bool:
        """Whether a variable changes nothing: neither the shell nor a library looks at it, and no program is started
        in this text, which is all that the shell is there for."""
        is_plain = value.is_literal and not value.is_glob and _PLAIN_VALUE.fullmatch(value.text) is not None
        return self.starts_nothing and is_plain and known.is_private(name)

    def directed(self, run: Run, name: str, value: Word) -> None:
        """A setting before a command may say whom the command reaches: ``npm_config_registry=…``."""
        if value.text and name not in known.HARMLESS_SETTINGS and ("://" in value.text or known.says_where(name)):
            host, _ = host_named(value.text)
            self.add(Action(ActionKind.NETWORK, command=run.exact, essence=run.exact, host=host, is_opaque=True))

    @staticmethod
    def is_grave(name: str) -> bool:
        return known.is_grave(name)

    def redirect(self, run: Run, operator: str, target: Word) -> None:
        if found := _SOCKET.match(target.text):
            self.add(
                Action(ActionKind.NETWORK, command=run.exact, essence=f"connect {found[1]}", host=found[1],
                       is_opaque=not target.is_literal)
            )  # fmt: skip
        elif target.commands or (_DEVICE.fullmatch(target.text) and target.is_literal):
            return
        else:
            kind = ActionKind.WRITE if operator in _NO_FILES else ActionKind.READ
            before = len(self.actions)
            self.touch(run, kind, target, tolerant=True)
            self.actions[before:] = [replace(action, is_redirected=True) for action in self.actions[before:]]

    def run(self, run: Run, *, after: str = "") -> None:  # noqa: PLR0912 - one for each sort
        """Judge one command by its program's name."""
        if run.depth > DEPTH or len(run.words) > 2_000:
            self.emit(run, ActionKind.SHELL, is_opaque=True)
            return
        first = run.words[0]
        if not first.is_literal or not first.text:
            self.emit(run, ActionKind.SHELL, is_opaque=True)
            self.suspect(scanning.squeezed(" ".join(run.texts)), run.exact)
            if not first.text:
                return
        if first.is_glob and first.text not in ("[", "[["):
            self.emit(run, ActionKind.SHELL, is_opaque=True)
            return
        name = run.name
        if not run.is_trusted and self.is_of_another(run):
            return
        if name in ("cd", "pushd", "popd"):
            self.change_directory(run, after)
            return
        for table in (programs.BUILTINS, programs.SPECIAL):
            if handler := table.get(name):
                handler(self, run)
                return
        if name in known.WRAPPERS:
            programs.wrapper(self, run)
        elif name in known.SHELLS:
            programs.run_shell(self, run)
        elif self.answers(run):
            self.emit(run, ActionKind.READ)
        elif name in known.PROGRAMS:
            programs.program(self, run, known.PROGRAMS[name])
        elif name in known.INTERPRETERS:
            programs.interpreter(self, run)
        elif name in known.NETWORK:
            programs.reach(self, run)
        elif name in known.READERS:
            programs.reader(self, run)
        elif name in known.WRITERS:
            programs.writer(self, run)
        elif name.startswith("git-"):
            programs.git(self, replace(run, words=(Word("git"), Word(name[4:]), *run.rest), is_grave=True))
        else:
            self.emit(run, ActionKind.PUBLISH if self.publishes(run) else ActionKind.SHELL)
            self.visit(run)

    @staticmethod
    def publishes(run: Run) -> bool:
        """Whether a program that we do not know says that it does: ``cf push``, ``shopify theme push``."""
        words = [text for text in run.texts[1:] if not text.startswith("-")]
        is_known = run.name in known.TASK_RUNNERS or not run.is_trusted
        return not is_known and bool(known.PUBLISHING_WORDS & {word.lower() for word in words[:2]})

    def answers(self, run: Run) -> bool:
        """Whether a program only tells its version, or how it is used."""
        is_plain = run.is_trusted and not run.is_grave and run.is_literal and not (run.is_fed or self.is_fed)
        return is_plain and len(run.words) == 2 and run.texts[1] in ANSWERS.get(run.name, ())

    def is_of_another(self, run: Run) -> bool:
        """``./env ls``: some program of that name. Whether no more can be said of it, as nothing is built in."""
        is_built_in = run.name in programs.BUILTINS or run.name in ("cd", "pushd", "popd")
        if is_built_in or run.name in programs.SPECIAL or run.name in known.WRAPPERS or run.name in known.SHELLS:
            self.emit(run, ActionKind.SHELL)
        if is_built_in:
            self.visit(run)
        return is_built_in

    def visit(self, run: Run) -> None:
        """What a program may reach or start that we do not know: addresses and commands among its arguments."""
        for text in run.texts[1:]:
            for url in HOST.findall(text)[:20]:
                host, is_sure = host_of(url)
                if host and not url.lower().startswith("file:"):
                    self.emit(run, ActionKind.NETWORK, host=host, is_opaque=not is_sure)
            if "@" in text and (host := host_copied(text)):
                self.emit(run, ActionKind.NETWORK, host=host)
            if " " in text and scanning.PUBLISHING.search(plain := scanning.squeezed(text)):
                self.add(Action(ActionKind.SHELL, command=run.exact, essence=plain[:ESSENCE_CHARS], is_opaque=True))
        self.started(run)
        files.touch_named(self, run)
        if run.name in known.CLIENTS:
            for option, value in zip(run.texts[1:], run.texts[2:], strict=False):
                if option in ("-h", "--host") and not value.startswith("-"):
                    self.emit(run, ActionKind.NETWORK, host=value.lower())

    def started(self, run: Run) -> None:
        """``anything -- git push``: what may be run by a program that we do not know, if it reaches somebody."""
        for at, text in enumerate(run.texts[1:STARTED], 1):
            name = text.rsplit("/", 1)[-1].lower()
            if name in known.PROGRAMS or name in known.NETWORK or name in known.SHELLS or name in ("git", "npx", "uvx"):
                apart = Commands(self.place, self.tool)
                apart.cwds, apart.where, apart.is_lost = self.cwds, self.where, self.is_lost
                apart.run(replace(run, words=run.words[at:], is_grave=True, depth=run.depth + 1))
                for action in apart.actions:
                    if action.kind is ActionKind.PUBLISH or (action.kind is ActionKind.NETWORK and action.host):
                        self.add(action)

    def change_directory(self, run: Run, after: str) -> None:
        words = [word for word in run.rest if not word.text.startswith("-")]
        self.emit(replace(run, words=(Word(run.name),)), ActionKind.READ, essence=self.essence(run))
        if run.name == "popd" or not words or words[0].text == "-" or not words[0].is_literal or run.is_grave:
            self.is_lost |= bool(run.rest) or run.name == "popd"
            if not run.rest and self.place.home:
                self.cwds = [*self.cwds, self.place.home]
                self.where = self.within(self.place.home)
            return
        found = [path for path, _, is_known in self.place.locate(words[0], self.cwds) if is_known]
        if not found or len(self.cwds) > 8:
            self.is_lost = True
            return
        self.cwds = list(dict.fromkeys([*found, *self.cwds]))  # it may have failed, or been in a subshell
        self.where = self.within(found[0])


def spelled(command: Simple) -> str:
    """A simple command as text, each word quoted as it has to be."""
    settings = [f"{name}={shlex.quote(value.text)}" for name, value in command.settings]
    words = [word.text if word.is_glob and " " not in word.text else shlex.quote(word.text) for word in command.words]
    return " ".join([*settings, *words])


def is_fed(command: Simple) -> bool:
    """Whether its standard input is a text, a file or another command."""
    files = [each.target for each in command.redirects if each.operator in ("<", "<>", "<&")]
    is_file = any(target.text != "/dev/null" or not target.is_literal for target in files)
    return bool(command.fed or command.source or is_file)


def is_built_in(command: Simple) -> bool:
    """Whether the shell does it by itself, and so no program is handed a variable."""
    first = command.words[0] if command.words else None
    return first is None or (first.is_literal and first.text in known.BUILT_IN)


def feeds_others(command: Simple) -> bool:
    """``{ …; } <file``, or ``exec <file``: what it is fed is there for others."""
    return is_fed(command) and (not command.words or command.words[0].text == "exec")


def printed(source: Simple) -> tuple[str, ...]:
    """What ``echo`` or ``cat`` of a here-document puts into a pipe, as far as one can tell."""
    if not source.words:
        return ()
    name, *rest = (word.text for word in source.words)
    if name in ("echo", "printf"):
        return (" ".join(word for word in rest if not re.fullmatch(r"-[neE]+", word)),)
    if name in ("cat", "tee"):
        return tuple(word.text for word in source.fed)
    return ()


Handler = Callable[[Commands, Run], None]
Texts = Sequence[str]
