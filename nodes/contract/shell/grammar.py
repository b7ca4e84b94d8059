"""Reads a shell command line, and says which simple commands it would run.

It knows the grammar of POSIX shells and bash as far as agents write it, and errs on one
side: whatever it is not sure of raises ``Unreadable`` or marks a word as not literal.
Every command is reported that might run: both branches of an ``if``, the bodies of loops
and functions, and what stands in ``$(…)``, backticks, ``<(…)`` and here-documents.
"""

import re
from collections.abc import Sequence

from .known import is_local
from .reader import META
from .tree import Redirect, Simple, Unreadable, Word
from .words import NAME, WordReader, expanded

COMMAND_CHARS = 20_000

_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(\[[^\]]*\])?\+?=")
_NUMBER = re.compile(r"\d+")
_REDIRECT = re.compile(r"&>>|&>|<<<|<<-|<<|<>|<&|>&|>>|>\||<|>")
_OPENING = {"if": "fi", "while": "done", "until": "done", "{": "}"}
_INDEXED_FILE = re.compile(r"\{\w+\[.*\]\}", re.DOTALL)
"""``{name[index]}>file`` keeps a number, at an index that is calculated."""
_BETWEEN = {"then", "elif", "else", "do", "!", "time", "coproc"}
_CLOSING = {"fi", "done", "}", "esac"}


def read(text: str, depth: int = 0) -> list[Simple]:
    """Every simple command that ``text`` may run, in the order in which they stand. Raises ``Unreadable``."""
    if len(text) > COMMAND_CHARS:
        raise Unreadable(f"It is longer than {COMMAND_CHARS:,} characters.")
    if any(not _is_plain(character) for character in text):
        raise Unreadable("It has invisible or control characters in it.")
    reader = _CommandReader(text, depth)
    reader.script("")
    if reader.has_functions:
        for command in reader.found:
            command.is_repeated = True
    return reader.found


def _is_plain(character: str) -> bool:
    return character in "\n\t" or (character.isprintable() and (character == " " or not character.isspace()))


class _CommandReader(WordReader):
    """Commands, one after the other, with what opens and closes around them."""

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
                word = self.word()
                if _INDEXED_FILE.fullmatch(word.text) and self.peek() in ("<", ">"):
                    self.evaluates()
                simple.words += expanded(word)
        if self.at == start:
            raise Unreadable(f"{self.peek()!r} cannot stand here.")
        self.add(simple)
        if not simple.words:
            for name, value in simple.settings:
                self.known[name] = value.text

    def parenthesis(self, simple: Simple, open_: list[str]) -> None:
        """``name() body``: a function. All else with a parenthesis here is beyond us."""
        self.has_functions = True
        is_name = len(simple.words) == 1 and not simple.settings and not simple.redirects
        self.at += 1
        self.skip_blanks()
        if not is_name or self.peek() != ")":
            raise Unreadable("A parenthesis stands where none can.")
        self.at += 1

    def reserved(self, word: str, open_: list[str]) -> bool:
        if word in _OPENING:
            open_.append(_OPENING[word])
            self.loops += _OPENING[word] == "done"
        elif word in _CLOSING:
            if not open_ or open_.pop() != word:
                raise Unreadable(f"{word!r} closes nothing.")
            self.loops -= word == "done"
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
            self.has_functions = True
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
            name = NAME.match(self.text, self.at)
            if not name:
                raise Unreadable("A loop without a variable.")
            self.at = name.end()
            if not is_local(name[0]):
                self.evaluates()
            self.skip_space()
            if re.match(r"in[\s;]", self.text[self.at : self.at + 3]):
                self.at += 2
                values: list[Word] = []
                self.skip_blanks()
                while self.at < len(self.text) and self.peek() not in ";\n":
                    values.append(self.word())
                    self.skip_blanks()
                self.lists(values)
                self.known[name[0]] = values[-1].text if values else ""
        open_.append("done")
        self.loops += 1

    def lists(self, words: Sequence[Word]) -> None:
        """The files that patterns stand for, where no command gets them."""
        if found := [each for word in words if word.is_glob for each in expanded(word)]:
            self.add(Simple(words=[Word(":"), *found]))

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
            not (w.is_literal or w.is_number) or re.search(r"[A-Za-z_]", w.text)
            for w in simple.words
            if w.text[:1] not in ("-", "]")
        ):
            self.evaluates()
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
            words: list[Word] = []
            while True:
                self.skip_space()
                if self.at >= len(self.text):
                    raise Unreadable("An array does not end.")
                if self.peek() == ")":
                    self.at += 1
                    break
                words.append(self.word())
            self.lists(words)
            value.text = " ".join(word.text for word in words)
        else:
            at_end = self.at >= len(self.text) or self.peek() in META
            value = Word("") if at_end else self.word()
        if match[2] and not re.fullmatch(r"\[\d*\]", match[2]):
            self.evaluates()
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
            simple.redirects += [Redirect(kind, word) for word in expanded(target)]
        return True
