"""Reads a shell command line, and says which simple commands it would run.

It knows the grammar of POSIX shells and bash as far as agents write it, and errs on one
side: whatever it is not sure of raises ``Unreadable`` or marks a word as not literal.
Every command is reported that might run: both branches of an ``if``, the bodies of loops
and functions, and what stands in ``$(…)``, backticks, ``<(…)`` and here-documents.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

COMMAND_CHARS = 20_000
COMMANDS = 200
DEPTH = 12

_BLANK = " \t"
_META = " \t\n;&|<>()"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(\[[^\]]*\])?\+?=")
_NUMBER = re.compile(r"\d+")
_REDIRECT = re.compile(r"&>>|&>|<<<|<<-|<<|<>|<&|>&|>>|>\||<|>")
_ESCAPE = re.compile(r"x[0-9a-fA-F]{1,2}|u[0-9a-fA-F]{1,4}|U[0-9a-fA-F]{1,8}|[0-7]{1,3}|c.|.", re.DOTALL)
_ESCAPED = {"a": "\a", "b": "\b", "e": "\x1b", "E": "\x1b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_HARMLESS_SUM = re.compile(r"[\d\s+\-*/%()<>=!&|^~?:,]*")
_OPENING = {"if": "fi", "while": "done", "until": "done", "{": "}"}
_BETWEEN = {"then", "elif", "else", "do", "!", "time", "coproc"}
_CLOSING = {"fi", "done", "}", "esac"}


class Unreadable(Exception):
    """The text is no command line that we understand."""


@dataclass(slots=True)
class Word:
    """One word after quotes are removed. What a variable held stands in ``text`` as far as it is known."""

    text: str
    is_literal: bool = True
    """Whether it is exactly ``text``, or the files that it stands for if ``is_glob``."""
    is_glob: bool = False
    is_quoted: bool = False
    is_home: bool = False
    """Whether it begins with a tilde that stands for the home directory."""
    has_braces: bool = False
    commands: list["Simple"] = field(default_factory=list)
    """What ``<(…)`` in it runs."""


@dataclass(slots=True)
class Redirect:
    operator: str
    target: Word


@dataclass(slots=True)
class Simple:
    """One simple command."""

    words: list[Word] = field(default_factory=list)
    settings: list[tuple[str, Word]] = field(default_factory=list)
    """Assignments before it, or alone."""
    redirects: list[Redirect] = field(default_factory=list)
    fed: list[Word] = field(default_factory=list)
    """Texts from here-documents and here-strings."""
    source: "Simple | None" = None
    """What is piped into it."""
    after: str = ""
    """The operator before it."""


def read(text: str, depth: int = 0) -> list[Simple]:
    """Every simple command that ``text`` may run, in the order in which they stand. Raises ``Unreadable``."""
    if len(text) > COMMAND_CHARS:
        raise Unreadable(f"It is longer than {COMMAND_CHARS:,} characters.")
    if any(not _is_plain(character) for character in text):
        raise Unreadable("It has invisible or control characters in it.")
    reader = _Reader(text, depth)
    reader.script("")
    return reader.found


def _is_plain(character: str) -> bool:
    return character in "\n\t" or (character.isprintable() and (character == " " or not character.isspace()))


class _Reader:
    """One pass over a text. ``found`` collects commands, ``known`` the variables whose values were literal."""

    def __init__(self, text: str, depth: int, known: dict[str, str] | None = None) -> None:
        if depth > DEPTH:
            raise Unreadable("It is nested too deeply.")
        self.text = text
        self.at = 0
        self.depth = depth
        self.known = {} if known is None else known
        self.found: list[Simple] = []
        self.pending: list[tuple[str, bool, bool, Simple]] = []
        """Here-documents whose bodies begin at the next newline: end, without tabs, literal, for whom."""

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > DEPTH:
            raise Unreadable("It is nested too deeply.")

    # Characters.

    def peek(self, count: int = 1) -> str:
        return self.text[self.at : self.at + count]

    def skip_blanks(self) -> None:
        while self.at < len(self.text):
            if self.text[self.at] in _BLANK:
                self.at += 1
            elif self.text.startswith("\\\n", self.at):
                self.at += 2
            elif self.text[self.at] == "#" and (self.at == 0 or self.text[self.at - 1] in _META):
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            else:
                return

    def newline(self) -> None:
        self.at += 1
        pending, self.pending = self.pending, []
        for end, strips, is_literal, command in pending:
            self.body(end, strips, is_literal, command)

    def body(self, end: str, strips: bool, is_literal: bool, command: Simple) -> None:
        lines: list[str] = []
        while True:
            if self.at >= len(self.text):
                raise Unreadable("A here-document does not end.")
            stop = self.text.find("\n", self.at)
            stop = len(self.text) if stop < 0 else stop
            line = self.text[self.at : stop]
            self.at = min(stop + 1, len(self.text))
            if (line.lstrip("\t") if strips else line) == end:
                break
            lines.append(line)
            if stop == len(self.text):
                raise Unreadable("A here-document does not end.")
        if self.text[self.at - 1 : self.at] == "\n":
            self.at -= 1  # the newline ends the command, too
        text = "\n".join(lines) + "\n"
        if is_literal:
            command.fed.append(Word(text))
        else:
            inner = _Reader(text, self.depth + 1, self.known)
            word = Word("")
            while inner.at < len(inner.text):
                inner.quoted_piece(word, "")
            self.add_all(inner.found)
            command.fed.append(word)

    # Commands.

    def script(self, end: str) -> None:
        """Commands up to ``end`` (a closing parenthesis), or to the end of the text."""
        self.deeper()
        open_: list[str] = []
        after, source = "", None
        while True:
            self.skip_blanks()
            if self.at >= len(self.text):
                if end or open_ or self.pending:
                    raise Unreadable(f"It ends before {open_[-1] if open_ else end or 'a here-document'!r}.")
                self.depth -= 1
                return
            character = self.peek()
            if character == "\n":
                self.newline()
                after, source = ";", None
            elif character == ")":
                if end != ")" or open_:
                    raise Unreadable("A parenthesis closes nothing.")
                self.at += 1
                self.depth -= 1
                return
            elif character in ";&|":
                after = self.operator(open_)
                source = self.found[-1] if after == "|" and self.found else None
            elif self.peek(2) == "((":
                self.sum_()
            elif character == "(":
                self.at += 1
                self.script(")")
            else:
                self.command(open_, after, source)

    def operator(self, open_: list[str]) -> str:
        for operator in (";;&", ";;", ";&", "&&", "||", "|&", ";", "&", "|"):
            if self.text.startswith(operator, self.at) and not self.text.startswith("&>", self.at):
                break
        else:
            self.redirect(self.add(Simple()))
            return ";"
        self.at += len(operator)
        if operator in (";;", ";&", ";;&"):
            if not open_ or open_[-1] != "esac":
                raise Unreadable("There is a double semicolon outside of a case.")
            self.patterns(open_)
        return "|" if operator == "|&" else operator

    def command(self, open_: list[str], after: str, source: Simple | None) -> None:
        """A simple command, or a reserved word in its place."""
        start = self.at
        keyword = re.compile(r"(?:[a-z]+|[!{}]|\[\[)(?=[\s;&|<>()]|$)").match(self.text, self.at)
        if keyword and self.reserved(keyword[0], open_):
            return
        simple = Simple(after=after, source=source)
        while True:
            self.skip_blanks()
            if self.at >= len(self.text) or self.peek() in "\n;|)":
                break
            if self.peek() == "&" and self.peek(2) != "&>":
                break
            if self.peek() == "(":
                self.parenthesis(simple, open_)
                return
            if self.redirect(simple):
                continue
            assignment = _ASSIGNMENT.match(self.text, self.at) if not simple.words else None
            if assignment:
                self.assignment(simple, assignment)
            else:
                simple.words += self.expanded(self.word())
        if self.at == start:
            raise Unreadable(f"{self.peek()!r} cannot stand here.")
        self.add(simple)
        if not simple.words:
            for name, value in simple.settings:
                self.known[name] = value.text

    def parenthesis(self, simple: Simple, open_: list[str]) -> None:
        """``name() body``: a function. All else with a parenthesis here is beyond us."""
        is_name = len(simple.words) == 1 and not simple.settings and not simple.redirects
        self.at += 1
        self.skip_blanks()
        if not is_name or self.peek() != ")":
            raise Unreadable("A parenthesis stands where none can.")
        self.at += 1

    def reserved(self, word: str, open_: list[str]) -> bool:
        if word in _OPENING:
            open_.append(_OPENING[word])
        elif word in _CLOSING:
            if not open_ or open_.pop() != word:
                raise Unreadable(f"{word!r} closes nothing.")
        elif word in ("for", "select"):
            self.at += len(word)
            self.loop(open_)
            return True
        elif word == "case":
            self.at += len(word)
            self.skip_blanks()
            self.word()
            self.skip_space()
            if not re.match(r"in\b", self.text[self.at : self.at + 3]):
                raise Unreadable("A case without in.")
            self.at += 2
            open_.append("esac")
            self.patterns(open_)
            return True
        elif word == "function":
            self.at += len(word)
            self.skip_blanks()
            self.word()
            self.skip_blanks()
            if self.peek() == "(":
                self.at += 1
                self.skip_blanks()
                if self.peek() != ")":
                    raise Unreadable("A function's parenthesis does not close.")
                self.at += 1
            return True
        elif word == "[[":
            self.condition()
            return True
        elif word not in _BETWEEN or (word == "time" and re.match(r"time\s+-", self.text[self.at :])):
            return False
        self.at += len(word)
        return True

    def loop(self, open_: list[str]) -> None:
        """``for name in words`` up to its ``do``, which opens what ``done`` closes."""
        self.skip_blanks()
        if self.peek(2) == "((":
            self.sum_()
        else:
            name = _NAME.match(self.text, self.at)
            if not name:
                raise Unreadable("A loop without a variable.")
            self.at = name.end()
            self.skip_space()
            if re.match(r"in[\s;]", self.text[self.at : self.at + 3]):
                self.at += 2
                values: list[Word] = []
                self.skip_blanks()
                while self.at < len(self.text) and self.peek() not in ";\n":
                    values.append(self.word())
                    self.skip_blanks()
                self.known[name[0]] = values[-1].text if values else ""
        open_.append("done")

    def patterns(self, open_: list[str]) -> None:
        """The patterns of a case's next branch, up to their parenthesis; or its end."""
        self.skip_space()
        if re.match(r"esac(?=[\s;&|)]|$)", self.text[self.at : self.at + 5]):
            return
        if self.peek() == "(":
            self.at += 1
        while True:
            self.skip_blanks()
            self.word()
            self.skip_blanks()
            character = self.peek()
            self.at += 1
            if character == ")":
                return
            if character != "|":
                raise Unreadable("A case's pattern does not end.")

    def skip_space(self) -> None:
        self.skip_blanks()
        while self.peek() == "\n":
            self.newline()
            self.skip_blanks()

    def condition(self) -> None:
        """``[[ … ]]``, told as a command of that name. It calculates with what stands beside ``-eq`` and such."""
        simple = Simple()
        calculates = False
        while True:
            self.skip_space()
            if self.at >= len(self.text):
                raise Unreadable("A condition does not end.")
            if operator := re.compile(r"&&|\|\||[()<>]|!(?=\s)").match(self.text, self.at):
                self.at = operator.end()
                continue
            word = self.word(in_condition=True)
            simple.words.append(word)
            calculates |= word.text in ("-eq", "-ne", "-lt", "-le", "-gt", "-ge", "-v")
            if word.text == "]]":
                break
        if calculates and any(
            not w.is_literal or re.search(r"[A-Za-z_]", w.text) for w in simple.words if w.text[:1] not in ("-", "]")
        ):
            self.add(Simple(words=[Word("", is_literal=False)]))
        self.add(simple)

    def sum_(self) -> None:
        """``((…))``."""
        self.at += 2
        word = Word("")
        self.arithmetic(word)
        self.add(Simple(words=[Word("[["), word]))

    def assignment(self, simple: Simple, match: re.Match[str]) -> None:
        self.at = match.end()
        if self.peek() == "(":
            self.at += 1
            value = Word("", is_literal=False)
            texts = []
            while True:
                self.skip_space()
                if self.at >= len(self.text):
                    raise Unreadable("An array does not end.")
                if self.peek() == ")":
                    self.at += 1
                    break
                texts.append(self.word().text)
            value.text = " ".join(texts)
        else:
            at_end = self.at >= len(self.text) or self.peek() in _META
            value = Word("") if at_end else self.word()
        if match[2]:
            value.is_literal = value.is_literal and bool(re.fullmatch(r"\[\w*\]", match[2]))
        simple.settings.append((match[1], value))

    def redirect(self, simple: Simple) -> bool:
        number = _NUMBER.match(self.text, self.at)
        at = number.end() if number else self.at
        if self.text[at : at + 1] == "{":
            return False
        operator = _REDIRECT.match(self.text, at)
        if operator is None or self.text[at : at + 2] in ("<(", ">("):
            return False
        self.at = operator.end()
        self.skip_blanks()
        if self.at >= len(self.text) or self.peek() in "\n;&|)":
            raise Unreadable("A redirection leads nowhere.")
        start = self.at
        target = self.word()
        kind = operator[0]
        if kind in ("<<", "<<-"):
            if "$" in self.text[start : self.at] or "`" in self.text[start : self.at]:
                raise Unreadable("A here-document's end is not literal.")
            self.pending.append((target.text, kind == "<<-", target.is_quoted, simple))
        elif kind == "<<<":
            simple.fed.append(target)
        elif not (kind in (">&", "<&") and re.fullmatch(r"\d*-?", target.text)):
            simple.redirects.append(Redirect(kind, target))
        return True

    def add(self, simple: Simple) -> Simple:
        self.found.append(simple)
        if len(self.found) > COMMANDS:
            raise Unreadable("It holds too many commands.")
        return simple

    def add_all(self, commands: Sequence[Simple]) -> None:
        for command in commands:
            self.add(command)

    # Words.

    def word(self, *, in_condition: bool = False) -> Word:
        word = Word("")
        start = self.at
        while self.at < len(self.text):
            character = self.peek()
            if character in "<>" and self.peek(2)[1:] == "(":
                self.at += 2
                before = len(self.found)
                self.script(")")
                word.commands += self.found[before:]
                word.is_literal = False
                continue
            if character in _META and not (in_condition and character in "()|<>" and self.at > start):
                break
            self.piece(word, start)
        if self.at == start:
            raise Unreadable(f"{self.peek()!r} cannot stand here.")
        return word

    def piece(self, word: Word, start: int) -> None:
        character = self.peek()
        if character == "\\":
            if self.at + 1 >= len(self.text):
                raise Unreadable("It ends with a backslash.")
            if self.text[self.at + 1] != "\n":
                word.text += self.text[self.at + 1]
                word.is_quoted = True
            self.at += 2
        elif character == "'":
            end = self.text.find("'", self.at + 1)
            if end < 0:
                raise Unreadable("A quote does not end.")
            word.text += self.text[self.at + 1 : end]
            word.is_quoted = True
            self.at = end + 1
        elif character == '"':
            self.at += 1
            word.is_quoted = True
            while self.peek() != '"':
                if self.at >= len(self.text):
                    raise Unreadable("A quote does not end.")
                self.quoted_piece(word, '"')
            self.at += 1
        elif character in "$`":
            self.expansion(word, in_quotes=False)
        else:
            word.is_glob |= character in "*?["
            word.has_braces |= character == "{"
            if character == "~" and self.at == start:
                following = self.peek(2)[1:]
                word.is_home = not following or following in "/" + _META
                word.is_literal &= word.is_home
            word.is_literal &= character.isascii()
            word.text += character
            self.at += 1

    def quoted_piece(self, word: Word, end: str) -> None:
        """Within double quotes, or in a here-document (then ``end`` is empty)."""
        character = self.peek()
        if character == "\\" and self.at + 1 < len(self.text):
            following = self.text[self.at + 1]
            word.text += "" if following == "\n" else following if following in f"$`\\{end}" else "\\" + following
            self.at += 2
        elif character in "$`":
            self.expansion(word, in_quotes=True)
        else:
            word.text += character
            self.at += 1

    def expansion(self, word: Word, *, in_quotes: bool) -> None:
        if self.peek() == "`":
            self.backticks()
            word.is_literal = False
            return
        following = self.peek(2)[1:]
        if following == "'" and not in_quotes:
            self.ansi(word)
            return
        if following == '"' and not in_quotes:
            self.at += 1
            return  # a translated string: its quotes follow
        if self.peek(3) == "$((":
            self.at += 3
            self.arithmetic(word)
        elif following == "(":
            self.at += 2
            self.script(")")
            word.is_literal = False
        elif following == "{":
            self.at += 2
            self.parameter(word)
        elif name := _NAME.match(self.text, self.at + 1):
            self.at = name.end()
            word.text += self.known.get(name[0], "")
            word.is_literal = False
        elif following and following in "@*#?-$!0123456789":
            self.at += 2
            word.is_literal = False
        elif following == "[":
            raise Unreadable("An old way to calculate.")
        else:
            word.text += "$"
            self.at += 1

    def parameter(self, word: Word) -> None:
        """``${…}``. Its default, or the value that is known, stands for it."""
        self.deeper()
        word.is_literal = False
        name = _NAME.match(self.text, self.at)
        if name:
            self.at = name.end()
        inner = Word("")
        before = self.at
        depth = 1
        while True:
            if self.at >= len(self.text):
                raise Unreadable("A parameter does not end.")
            if self.peek() == "}" and depth == 1:
                break
            if self.peek() in " \t\n;&|<>(){}#":
                inner.text += self.peek()
                self.at += 1
            else:
                self.piece(inner, before)
        self.at += 1
        self.depth -= 1
        value = self.known.get(name[0], "") if name else ""
        default = re.match(r":?[-=+](.*)", inner.text, re.DOTALL)
        word.text += value or (default[1] if default else "")

    def arithmetic(self, word: Word) -> None:
        """Up to ``))``. Names in it are evaluated, however often; only bare numbers are literal."""
        self.deeper()
        start = self.at
        depth = 0
        while True:
            if self.at >= len(self.text):
                raise Unreadable("A calculation does not end.")
            character = self.peek()
            if character == ")" and depth == 0:
                break
            depth += {"(": 1, ")": -1}.get(character, 0)
            if character in "$`":
                self.expansion(word, in_quotes=True)
            else:
                self.at += 1
        if self.peek(2) != "))":
            raise Unreadable("A calculation does not end.")
        if not _HARMLESS_SUM.fullmatch(self.text, start, self.at):
            word.is_literal = False
            self.add(Simple(words=[Word("", is_literal=False)]))  # whatever a variable holds is evaluated, too
        self.at += 2
        self.depth -= 1
        word.text += "0"

    def backticks(self) -> None:
        end = self.at + 1
        text = ""
        while True:
            if end >= len(self.text):
                raise Unreadable("A backtick does not end.")
            character = self.text[end]
            if character == "`":
                break
            if character == "\\" and self.text[end + 1 : end + 2] in ("`", "\\", "$", '"'):
                end += 1
                character = self.text[end]
            text += character
            end += 1
        self.at = end + 1
        inner = _Reader(text, self.depth + 1, self.known)
        inner.script("")
        self.add_all(inner.found)

    def ansi(self, word: Word) -> None:
        r"""``$'…'``, with its ``\n``, ``\x70``, ``\160`` and the like."""
        self.at += 2
        word.is_quoted = True
        while True:
            if self.at >= len(self.text):
                raise Unreadable("A quote does not end.")
            character = self.peek()
            self.at += 1
            if character == "'":
                return
            if character != "\\":
                word.text += character
                continue
            escape = _ESCAPE.match(self.text, self.at)
            if escape is None:
                raise Unreadable("It ends with a backslash.")
            self.at = escape.end()
            word.text += _unescaped(escape[0])

    def expanded(self, word: Word) -> list[Word]:
        """Braces and, of an unquoted variable, its words. A word in quotes stays one."""
        if word.is_quoted:
            word.is_literal &= not (word.has_braces and ("," in word.text or ".." in word.text))
            return [word]
        if not word.is_literal:
            parts = word.text.split()
            if len(parts) > 1:
                return [Word(part, is_literal=False, is_glob=word.is_glob) for part in parts]
            return [word]
        if "{" in word.text and ("," in word.text or ".." in word.text):
            return [Word(text, word.is_literal, word.is_glob) for text in _braces(word.text)]
        return [word]


def _unescaped(escape: str) -> str:
    first = escape[0]
    if first in "xuU" and len(escape) > 1:
        code = int(escape[1:], 16)
        return chr(code) if 0 < code < 0x110000 and not 0xD800 <= code < 0xE000 else "\0"
    if first in "01234567":
        return chr(int(escape, 8) & 0xFF)
    if first == "c" and len(escape) > 1:
        return chr(ord(escape[1]) & 0x1F)
    return _ESCAPED.get(first, first if first in "\\'\"?" else "\\" + first)


def _braces(text: str) -> list[str]:
    """``a{b,c}``, as often as it stands there, up to a bound. Ranges, and braces in braces, are beyond us."""
    done: list[str] = []
    waiting = [text]
    while waiting:
        if len(done) + len(waiting) > 64:
            raise Unreadable("Braces stand for too many words.")
        first = waiting.pop(0)
        found = re.search(r"\{([^{}]*)\}", first)
        if found is None:
            done.append(first)
        elif "," in found[1]:
            waiting[:0] = [first[: found.start()] + part + first[found.end() :] for part in found[1].split(",")]
        elif ".." in found[1] or re.search(r"\{[^{}]*,[^{}]*\}", first) or "{" in first[found.end() :]:
            raise Unreadable("A range in braces.")
        else:
            done.append(first)
    return done
