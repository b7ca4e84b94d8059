"""Where a request is made, and which paths its words name there."""

import os.path
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from .tree import Word

EXPANDED = 50


def _nothing(pattern: str) -> Sequence[str]:
    return ()


def lies_outside(word: Word) -> bool:
    """Whether ``word`` looks like a path that leads out of where it is used."""
    return word.is_home or word.text.startswith(("/", "~", "..")) or "/../" in word.text


def is_another(path: str) -> bool:
    """Whether ``path`` leads through ``/proc/self`` or the like: that is another place for whoever opens it."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    is_process = any(
        first == "proc" and re.fullmatch(r"self|thread-self|\d+", second) for first, second in pairwise(parts)
    )
    return is_process or ("proc" in parts and ".." in parts) or parts[:2] == ["dev", "fd"]


def says_what_git_runs(path: str) -> bool:
    """Whether git looks there for what it runs later: settings, hooks, or where these are. Its locks are no such."""
    parts = path.casefold().split("/")
    return ".git" in parts and not parts[-1].endswith(".lock")


@dataclass(frozen=True, slots=True)
class Place:
    """A workspace. ``real`` follows links and ``matches`` expands globs, where there is a disk to ask; by themselves
    paths are only made absolute."""

    workspace: str
    home: str = ""
    real: Callable[[str], str] = os.path.normpath
    matches: Callable[[str], Sequence[str]] = _nothing

    def locate(self, word: Word, cwds: Sequence[str]) -> Iterator[tuple[str, str, bool]]:
        """Each path, resolved; the same within the workspace, or ""; and whether it is known for sure."""
        text = word.text
        if word.is_home:
            if not self.home:
                yield text, "", False
                return
            text = self.home + text[1:]
        if "\0" in text:
            yield text, "", False
            return
        for cwd in cwds:
            whole = os.path.join(cwd, text) if text else cwd
            if is_another(whole):
                yield whole, "", False
                return
            paths = [whole]
            if word.is_glob:
                found = self.matches(whole)
                if ".." in text.split("/") and not EXPANDED >= len(found) > 0:
                    yield whole, "", False
                    return
                if len(found) > EXPANDED:  # what restricts the pattern itself restricts them all
                    yield (*self.at(whole), False)
                    return
                paths += found
            for path in paths:
                yield (*self.at(path), not is_another(path))

    def at(self, path: str) -> tuple[str, str]:
        """``path`` resolved, and within the workspace."""
        real = self.real(os.path.join(self.workspace, path))
        if real == self.workspace:
            return real, "."
        prefix = self.workspace.rstrip("/") + "/"
        return real, real[len(prefix) :] if real.startswith(prefix) else ""
