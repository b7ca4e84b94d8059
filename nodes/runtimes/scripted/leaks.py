"""A secret told by accident, in every way that agents do it: to try redaction."""

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

from .turn import Turn


def spellings(secret: str) -> Iterator[tuple[str, str]]:
    """The name of each way to write a text, and the text in it."""
    raw = secret.encode()
    yield "plain", secret
    yield "base64", base64.b64encode(raw).decode()
    yield "base64-within", base64.b64encode(b"user:" + raw + b"\n").decode()
    yield "base64url", base64.urlsafe_b64encode(raw).decode()
    yield "hex", raw.hex()
    yield "HEX", raw.hex().upper()
    yield "url", quote(secret, safe="")
    yield "form", quote_plus(secret)
    yield "json", json.dumps({"password": secret})
    yield "json-utf8", json.dumps({"password": secret}, ensure_ascii=False)
    yield "address", f"https://deploy:{quote(secret, safe='')}@git.example.org/quay.git"
    yield "wrapped", base64.encodebytes(b"PATH=/usr/bin:/bin\nLEAK=" + raw + b"\nTERM=dumb\n").decode()
    yield "wrapped hex", raw.hex("\n", 9)
    yield "patch", "".join(f"+{line}\n" for line in secret.splitlines())
    yield "environment", "\n".join(f"{name}={value}" for name, value in os.environ.items())


def leak(turn: Turn, secret: str) -> None:
    """Ends with a question that has it in every field, a file of its name, artifacts, and standard error."""
    for name, text in spellings(secret):
        turn.chunk(f"{name}: {text}\n")
        arguments = {"command": ["echo", text], "deep": [{"k": text}]}
        number = turn.begin(f"{name}: {text}"[:500], "execute", rawInput=arguments)
        turn.end(number, f"{name}: {text}", rawOutput={"stdout": text})
    for size in (1, 3, 7):
        for start in range(0, len(secret), size):
            turn.chunk(secret[start : start + size])
        turn.chunk(f"\nin pieces of {size}\n")
    turn.think(f"I must not tell {secret}")
    turn.plan(f"Log in with {secret}", "Tell nobody", done=0)
    number = turn.begin("Log in", "fetch")
    turn.end(number, f"401: the password {secret} is wrong", failed=True)
    turn.update(f"no_such_{secret}", text=secret)
    turn.wire.raw(f"Traceback: {secret}\n".encode())
    turn.wire.notify(f"session/{secret}", {"secret": secret})
    turn.shell("env; env | base64", ask=False)
    turn.write("settings.ini", f"password = {secret}\n")
    turn.asks = False
    turn.write(secret.replace("/", ":"), f"{secret}\n")
    turn.write(base64.urlsafe_b64encode(secret.encode()).decode(), "a file\n")
    if left := os.environ.get("AGENTHUB_ARTIFACTS"):
        for name in ("report.txt", secret.replace("/", ":")):
            Path(left, name).write_text(f"{secret}\n", "utf-8")
    os.write(2, f"stderr: {secret}\n".encode())
