"""What a shell's command line is read into: words, and simple commands made of them."""

from dataclasses import dataclass, field


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
    may_split: bool = False
    """Whether it may become several words, or none: it holds a variable outside of quotes, or ``$@``."""
    is_number: bool = False
    """Whether it is a number that only the shell knows: ``$?``, ``$#``, ``${#x}``."""
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
    is_repeated: bool = False
    """Whether it may run after what stands behind it: in a loop, or where there are functions."""
