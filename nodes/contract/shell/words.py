"""Reads words: quotes, variables, braces, ``$(…)``, calculations, and the texts of here-documents.

A word is literal only if nothing in it may stand for something else.
"""

import re
from dataclasses import replace

from .known import is_local
from .reader import META, Reader
from .tree import Simple, Unreadable, Word

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ESCAPE = re.compile(r"x[0-9a-fA-F]{1,2}|u[0-9a-fA-F]{1,4}|U[0-9a-fA-F]{1,8}|[0-7]{1,3}|c.|.", re.DOTALL)
_ESCAPED = {"a": "\a", "b": "\b", "e": "\x1b", "E": "\x1b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_COUNTED = re.compile(r"""("?)\$(?:[?#$]|\{#(?:[A-Za-z_]\w*(?:\[[@*]\])?|[@*])\})\1""")
_HARMLESS_SUM = re.compile(r"[\d\s+\-*/%()<>=!&|^~?:,]*")
_PARAMETER = re.compile(
    r"#?(?P<name>[A-Za-z_]\w*|\d+|[@*#?$!\-])(?:\[(?:\d+|[@*])\])?"
    r"(?:|(?P<sets>:?=).*|:?[-+?].*|:[\s\d:\-]*|[#%/^,].*|@[AEKLQUaku])|![A-Za-z_]\w*(?:[@*]|\[[@*]\])",
    re.DOTALL,
)
"""What stands between ``${`` and ``}`` where nothing is calculated, and no value taken for a name or for code."""


class WordReader(Reader):
    """From the place where a word begins to its end."""

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
            if character in META and not (in_condition and character in "()|<>" and self.at > start):
                break
            self.piece(word, start)
        if self.at == start:
            raise Unreadable(f"{self.peek()!r} cannot stand here.")
        word.is_number = _COUNTED.fullmatch(self.text, start, self.at) is not None
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
            word.may_split |= not word.is_literal
        else:
            word.is_glob |= character in "*?["
            word.has_braces |= character == "{"
            if character == "~" and self.at == start:
                following = self.peek(2)[1:]
                word.is_home = not following or following in "/" + META
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
        elif name := NAME.match(self.text, self.at + 1):
            self.at = name.end()
            word.text += self.known.get(name[0], "")
            word.is_literal = False
        elif following and following in "@*#?-$!0123456789":
            self.at += 2
            word.may_split |= following == "@"
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
        start = self.at
        name = NAME.match(self.text, self.at)
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
        found = _PARAMETER.fullmatch(self.text, start, self.at)
        if found is None or (found["sets"] and not is_local(found["name"])):
            self.evaluates()
        word.may_split |= "@" in self.text[start : self.at]
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
            self.evaluates()
        self.at += 2
        self.depth -= 1
        word.text += "0"

    def evaluates(self) -> None:
        """What some variable holds may be run: by ``$((x))``, ``${a[x]}``, ``${x@P}``, or when it is a setting."""
        self.add(Simple(words=[Word("", is_literal=False)]))

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
        inner = type(self)(text, self.depth + 1, self.known)
        inner.script("")
        self.take(inner)

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

    # Lines.

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
            inner = type(self)(text, self.depth + 1, self.known)
            word = Word("")
            while inner.at < len(inner.text):
                inner.quoted_piece(word, "")
            self.take(inner)
            command.fed.append(word)

    def skip_space(self) -> None:
        self.skip_blanks()
        while self.peek() == "\n":
            self.newline()
            self.skip_blanks()


def expanded(word: Word) -> list[Word]:
    """Braces and, of an unquoted variable, its words. A word in quotes stays one."""
    if word.is_quoted:
        word.is_literal &= not (word.has_braces and ("," in word.text or ".." in word.text))
        return [word]
    if not word.is_literal:
        parts = word.text.split()
        if len(parts) > 1:
            return [replace(word, text=part) for part in parts]
        return [word]
    if "{" in word.text and ("," in word.text or ".." in word.text):
        return [tilde(replace(word, text=text)) for text in _braces(word.text)]
    return [word]


def tilde(word: Word) -> Word:
    """A word whose beginning is new: a tilde there stands for the home directory, or for what we do not know."""
    is_home = word.text == "~" or word.text.startswith("~/")
    return replace(word, is_home=is_home, is_literal=word.is_literal and (is_home or not word.text.startswith("~")))


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
