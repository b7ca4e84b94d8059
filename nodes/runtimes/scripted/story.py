"""What a prompt makes the agent do.

**Plain text** without any directive: it thinks, shows a plan, reads the README and answers;
it ends by itself within three seconds and asks for nothing. If the text holds one of the
words *write*, *edit*, *change*, *modify* or *create*, it also asks for permission to append
a line to ``demo-notes.md`` (allow once, always, or reject), writes it when it may, and then
runs ``git status --short``.

**Directives** are words that begin with ``@``; what follows, up to the next one, is their
argument. They run in order, and then the turn ends. ``DIRECTIVES`` lists them; the first
line of each function's docstring says what it does.
"""

import json
import os
import re
import signal
import time
from collections.abc import Callable

from .turn import Turn
from .wire import RpcError

NOTES = "demo-notes.md"
WRITING = re.compile(r"\b(write|edit|change|modify|create)\b", re.IGNORECASE)
AUTH_REQUIRED = -32000
INTERNAL_ERROR = -32603
MIB = 1024 * 1024
ASK_KINDS = {"write": "edit", "shell": "execute", "network": "fetch", "read": "read", "other": "other"}

Directive = Callable[[Turn, str], None]
DIRECTIVES: dict[str, Directive] = {}


def directive(function: Directive) -> Directive:
    DIRECTIVES[function.__name__.strip("_").replace("_", "-")] = function
    return function


def play(turn: Turn, prompt: str) -> None:
    """Run the directives of ``prompt``, or the story for plain text."""
    words = [m for m in re.finditer(r"(?<!\S)@([a-z][a-z-]*)", prompt) if m[1] in DIRECTIVES]
    if not words:
        return tell(turn, prompt)
    for word, following in zip(words, [*words[1:], None], strict=True):
        argument = prompt[word.end() : following.start() if following else len(prompt)].strip()
        DIRECTIVES[word[1]](turn, argument)
    return None


def tell(turn: Turn, prompt: str) -> None:
    """The story for plain text."""
    asked = prompt.strip().splitlines()[0][:200] if prompt.strip() else "nothing at all"
    is_writing = WRITING.search(prompt) is not None
    steps = ["Look around in the workspace", *(["Write a note, if I may"] if is_writing else []), "Say what I found"]
    turn.think("A look around first, then an answer.")
    turn.plan(*steps, done=0)
    turn.say(f"You asked: *{asked}*\n\nI am the **scripted** demo agent, so no model thinks here. I will look around.")
    entries = sorted(entry.name for entry in turn.session.cwd.iterdir() if not entry.name.startswith("."))
    readme = next((name for name in entries if name.lower().startswith("readme")), None)
    heading = turn.read(readme).strip().partition("\n")[0].lstrip("# ") if readme else ""
    turn.plan(*steps, done=1)
    if is_writing:
        note(turn, asked)
        turn.plan(*steps, done=2)
    listing = "\n".join(f"- `{name}`" for name in entries[:10]) or "- nothing yet"
    about = f" Its README begins with “{heading}”." if heading else ""
    turn.say(
        f"The workspace holds {len(entries)} entries.{about}\n\n{listing}\n\nThat is all I can do without a model."
    )
    turn.plan(*steps, done=len(steps))


def note(turn: Turn, asked: str) -> None:
    """Ask, append to the notes, look at what changed."""
    turn.say(f"I would like to append a line to `{NOTES}`.")
    if turn.write(NOTES, f"- {asked}\n"):
        turn.shell("git status --short", ask=False)
        turn.say(f"`{NOTES}` has one more line.")
    else:
        turn.say("Then I leave everything as it is.")


def number(argument: str, default: float) -> float:
    """The first word of ``argument`` as a number."""
    first = argument.split(maxsplit=1)[0] if argument else ""
    return float(first) if re.fullmatch(r"\d+(\.\d+)?", first) else default


# Speaking.


@directive
def say(turn: Turn, argument: str) -> None:
    """``@say 5`` says five words, each a delta of its own; ``@say hello there`` says that."""
    count = int(number(argument, 0))
    if not count:
        return turn.say(argument or "Hello.")
    for index in range(1, count + 1):
        turn.chunk(f"word{index} ")
        turn.pause(0.01)
    return None


@directive
def think(turn: Turn, argument: str) -> None:
    """``@think so and so``: a thought."""
    turn.think(argument or "Let me think.")


@directive
def recall(turn: Turn, argument: str) -> None:
    """``@recall``: says what it remembers of the session that it has taken up."""
    turn.chunk(f"I remember: {' | '.join(turn.session.remembered) or 'nothing'}.")


@directive
def plan(turn: Turn, argument: str) -> None:
    """``@plan one, two``: a plan whose first step has begun."""
    turn.plan(*(step.strip() for step in (argument or "Look, Answer").split(",")), done=0)


@directive
def output(turn: Turn, argument: str) -> None:
    """``@output 1000000``: a message of so many characters in one update."""
    turn.chunk("x" * int(number(argument, 1000)))


@directive
def stderr(turn: Turn, argument: str) -> None:
    """``@stderr text``: a line on standard error."""
    os.write(2, (argument or "a line on standard error").encode() + b"\n")


@directive
def env(turn: Turn, argument: str) -> None:
    """``@env NAME``: says the value of an environment variable, one character a delta (to try redaction)."""
    for character in os.environ.get(argument, "unset"):
        turn.chunk(character)


@directive
def leak(turn: Turn, argument: str) -> None:
    """``@leak NAME``: tells a variable's value in every way that agents do by accident (to try redaction)."""
    from .leaks import leak

    leak(turn, os.environ.get(argument, "unset"))


@directive
def events(turn: Turn, argument: str) -> None:
    """``@events 1000 rate 50``: so many plan updates of about 300 bytes, so many a second (0: as fast as can be)."""
    words = argument.split()
    count = int(words[0]) if words else 100
    rate = float(words[words.index("rate") + 1]) if "rate" in words else 0.0
    began = time.monotonic()
    for index in range(1, count + 1):
        entry = {"content": f"{index} of {count} ".ljust(200, "."), "priority": "low", "status": "in_progress"}
        turn.update("plan", entries=[entry])
        if rate:
            turn.pause(max(0.0, began + index / rate - time.monotonic()))
        elif turn.wire.cancelled.is_set():
            turn.pause(0)


@directive
def tool(turn: Turn, argument: str) -> None:
    """``@tool hub_status {}``: calls a tool of the hub; ``"$name"`` is what tools last told under that name."""
    name, _, given = argument.partition(" ")
    filled = re.sub(r'"\$(\w+)"', lambda found: json.dumps(_told(turn, found[1])), given or "{}")
    turn.tool("agenthub", name, json.loads(filled))


def _told(turn: Turn, name: str) -> str:
    found = re.findall(rf'"{name}": "([^"]*)"', turn.session.told)
    return str(found[-1]) if found else f"${name}"


@directive
def usage(turn: Turn, argument: str) -> None:
    """``@usage 1200``: so many tokens in use, of 200,000, and what they cost."""
    used = int(number(argument, 1200))
    turn.update("usage_update", used=used, size=200_000, cost={"amount": used / 100_000, "currency": "USD"})


@directive
def tokens(turn: Turn, argument: str) -> None:
    """``@tokens 900 300``: the turn's answer says so many tokens in and out, and no cost."""
    words = argument.split()
    read, written = (int(number(" ".join(words[place : place + 1]), 100)) for place in (0, 1))
    turn.usage = {"inputTokens": read, "outputTokens": written, "totalTokens": read + written}


# Acting and asking.


@directive
def read(turn: Turn, argument: str) -> None:
    """``@read path``: reads a file."""
    turn.read(argument or "README.md")


@directive
def write(turn: Turn, argument: str) -> None:
    """``@write path [text]``: asks, then appends the text, or a line, to a file."""
    path, _, text = argument.partition(" ")
    turn.write(path or NOTES, (text or "written by the scripted agent") + "\n")


@directive
def shell(turn: Turn, argument: str) -> None:
    """``@shell command``: asks, then runs it in the workspace."""
    turn.shell(argument or "true")


@directive
def ask(turn: Turn, argument: str) -> None:
    """``@ask [write|shell|network|read|other]``: asks for permission, does nothing with it, says what was answered."""
    kind = ASK_KINDS.get(argument, "edit")
    title = f"Something to {argument or 'write'}"
    number = turn.begin(title, kind)
    chosen = turn.ask(number, title, kind)
    turn.end(number, chosen, failed=not chosen.startswith("allow"))
    turn.say(f"The answer was {chosen}.")


@directive
def no_ask(turn: Turn, argument: str) -> None:
    """``@no-ask``: what follows in this turn is done without asking."""
    turn.asks = False


@directive
def unfinished(turn: Turn, argument: str) -> None:
    """``@unfinished``: a tool call that never ends, and an update of one that never began."""
    turn.begin(argument or "A call that never ends", "other")
    turn.update("tool_call_update", toolCallId="never-began", status="in_progress")


# Waiting and ending.


@directive
def delay(turn: Turn, argument: str) -> None:
    """``@delay 1.5``: waits so many seconds, whatever the pace; a cancel ends it."""
    pace, turn.pace = turn.pace, 1.0
    turn.pause(number(argument, 1))
    turn.pace = pace


@directive
def hang(turn: Turn, argument: str) -> None:
    """``@hang``: goes silent for good, deaf to cancel, SIGINT, SIGTERM and the end of its input."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    time.sleep(3600)


@directive
def exit_(turn: Turn, argument: str) -> None:
    """``@exit 3``: the process ends with that status, in mid-turn."""
    os._exit(int(number(argument, 0)))


@directive
def crash(turn: Turn, argument: str) -> None:
    """``@crash [9]``: the process ends by that signal, in mid-turn."""
    os.kill(os.getpid(), int(number(argument, signal.SIGKILL)))


@directive
def error(turn: Turn, argument: str) -> None:
    """``@error text``: the turn ends as an error of the agent."""
    raise RpcError(INTERNAL_ERROR, argument or "The model did not answer")


@directive
def login(turn: Turn, argument: str) -> None:
    """``@login``: the turn ends because nobody is logged in."""
    raise RpcError(AUTH_REQUIRED, "Authentication required")


@directive
def refuse(turn: Turn, argument: str) -> None:
    """``@refuse``: the turn ends with the stop reason ``refusal``."""
    turn.stop_reason = "refusal"


@directive
def nothing(turn: Turn, argument: str) -> None:
    """``@nothing``: the turn ends at once, without a word."""


# Misbehaving.


@directive
def garbage(turn: Turn, argument: str) -> None:
    """``@garbage``: what no client should get: noise, bad UTF-8, unknown methods and updates, wrong shapes."""
    turn.wire.raw(b"this is not JSON\n")
    turn.wire.raw(b'{"jsonrpc":"2.0","method":"session/update","params":"\xff\xfe"}\n')
    turn.wire.raw(b"[1, 2, 3]\n")
    turn.wire.raw(b'{"jsonrpc":"2.0","id":[1],"result":{}}\n')
    turn.wire.notify("session/no_such_thing", {"secret": "of nobody"})
    turn.wire.request("workspace/no_such_request", {})
    turn.update("no_such_update", text="?")
    turn.update("tool_call", title="a call without an id")
    turn.chunk("half a pair: \ud83d, and a zero: \0")


@directive
def longline(turn: Turn, argument: str) -> None:
    """``@longline 50``: a line of so many MiB."""
    for _ in range(int(number(argument, 50))):
        turn.wire.raw(b"x" * MIB)
    turn.wire.raw(b"\n")


@directive
def close(turn: Turn, argument: str) -> None:
    """``@close``: closes its output and lives on."""
    os.close(1)
    time.sleep(3600)


@directive
def fork(turn: Turn, argument: str) -> None:
    """``@fork [600]``: leaves a process in a session of its own, deaf to SIGTERM, holding the pipe, so many seconds."""
    reading, writing = os.pipe()
    if child := os.fork():
        os.waitpid(child, 0)
        turn.say(f"left behind: {os.read(reading, 20).decode()}")
        os.close(reading)
        os.close(writing)
        return
    os.setsid()
    for number_ in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number_, signal.SIG_IGN)
    if os.fork():
        os._exit(0)
    os.write(writing, str(os.getpid()).encode())
    time.sleep(number(argument, 600))
    os._exit(0)
