"""What comes in from outside, bounded and without what no database takes."""

from typing import Any, Final

from nodes.contract.errors import Invalid

TEXT_BYTES: Final = 64 * 1024
"""A description, a note."""
GOAL_BYTES: Final = 16 * 1024
MOST_LINES: Final = 2_000
LINE_CHARS: Final = 1_024


def checked_text(field: str, text: object, most_bytes: int) -> str:
    """A text, perhaps empty. ``Invalid`` for what is none, or too long."""
    if not isinstance(text, str):
        raise _wrong(field, "Give a text.")
    text = text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
    if len(text.encode()) > most_bytes:
        raise _wrong(field, f"This has at most {most_bytes // 1024} KiB.")
    return text


def checked_word(field: str, text: object, most_chars: int, *, may_be_empty: bool = False) -> str:
    """A text of one line, not empty. ``Invalid`` otherwise."""
    word = checked_text(field, text, most_chars * 4).strip()
    if not word and not may_be_empty:
        raise _wrong(field, "This must not be empty.")
    if len(word) > most_chars:
        raise _wrong(field, f"This has at most {most_chars} characters.")
    if any(not character.isprintable() for character in word):
        raise _wrong(field, "This is one line of printable characters.")
    return word


def checked_lines(field: str, lines: Any, *, most: int = MOST_LINES, most_chars: int = LINE_CHARS) -> list[str]:
    """A list of short texts. ``Invalid`` otherwise."""
    if not isinstance(lines, list) or len(lines) > most:
        raise _wrong(field, f"Give a list of at most {most} texts.")
    return [checked_word(field, line, most_chars) for line in lines]


def _wrong(field: str, why: str) -> Invalid:
    return Invalid(f"{field}: {why}", fields={field: [why]})
