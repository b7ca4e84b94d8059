"""Asking a person on the terminal what to answer; the hub's word on who was first is final."""

import select
import sys
from collections.abc import Callable, Sequence

from .client import Client, HubRefused, Json
from .render import Sink, clean, details_of, one_line, short_id

TICK_SECONDS = 0.2
_KEYS = {"allow_once": "y", "allow_always": "a", "reject_once": "n", "reject_always": "x"}


def is_interactive() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def keys_of(options: Sequence[Json]) -> dict[str, Json]:
    """A key for each option: y, a, n, x by its meaning, else its number."""
    keys: dict[str, Json] = {}
    for number, option in enumerate(options, 1):
        key = _KEYS.get(option["kind"], "")
        keys[str(number) if not key or key in keys else key] = option
    return keys


def show_question(request: Json) -> str:
    """The question, what it would do, and its options, a line each."""
    lines = [f"{one_line(request['title'])} ({one_line(request['kind'])})"]
    lines += [f"  {line}" for line in details_of(request)]
    for key, option in keys_of(request["options"]).items():
        own = "; the agent's own: it remembers it, no rule here" if option["kind"].endswith("_always") else ""
        lines.append(f"  [{key}] {one_line(option['name'])}   (--option {one_line(option['option_id'])}{own})")
    return "\n".join(lines)


def decide(client: Client, run: str, approval: str, answer: Json) -> Json:
    decided: Json = client.post(f"/api/v1/runs/{run}/approvals/{approval}/decide/", answer)
    return decided


class Asker:
    """Asks in the middle of a run that is being watched; the question goes away when somebody else answers it."""

    def __init__(self, client: Client, run: str, sink: Sink) -> None:
        self._client = client
        self._run = run
        self._sink = sink

    def ask(self, approval: str, request: Json, has_news: Callable[[], bool]) -> bool:
        """True once it is answered, here or elsewhere; False when there is news to read first."""
        keys = keys_of(request["options"])
        names = " · ".join(f"[{key}] {clean(option['name'])}" for key, option in keys.items())
        self._sink.pause()
        try:
            print(f"{names} · [c] cancel: ", end="", flush=True)
            line = _read_line(has_news)
            if line is None:
                print()
                return False
            if not line:  # the end of input: nobody answers here any more
                print(f"\nAnswer with: agenthub approve {short_id(self._run)}")
                return True
            key = line.strip().lower()
            if key != "c" and key not in keys:
                return False
            self._decide(approval, {"outcome": "cancelled"} if key == "c" else {"option_id": keys[key]["option_id"]})
            return True
        finally:
            self._sink.resume()

    def _decide(self, approval: str, answer: Json) -> None:
        try:
            decide(self._client, self._run, approval, answer)
        except HubRefused as error:  # somebody else was first, or it expired
            print(f"agenthub: {error}", file=sys.stderr)


def _read_line(has_news: Callable[[], bool]) -> str | None:
    """A line from the terminal, unless news comes first. At the end of input nobody answers any more."""
    while not has_news():
        ready, _, _ = select.select([sys.stdin], [], [], TICK_SECONDS)
        if ready:
            return sys.stdin.readline()
    return None
