"""``python -m tests.benchmarks [NAME …]``: runs the benchmarks, each in a process and a home of its own."""

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from tests.benchmarks.figures import Figure, heard, table

ALL: dict[str, list[dict[str, str]]] = {
    "drain": [{}, {"database": "postgresql"}],
    "live": [{"engine": "daphne"}, {"engine": "uvicorn"}],
    "fanout": [{"engine": "daphne"}, {"engine": "uvicorn"}],
    "start": [{}],
    "history": [{"engine": "daphne"}, {"engine": "uvicorn"}],
    "memory": [{}],
    "link": [{}],
    "fleet": [{}, {"database": "postgresql"}, {"nodes": "1000"}],
    "place": [{}, {"database": "postgresql"}],
    "audit": [{}, {"database": "postgresql"}],
    "policy": [{}],
    "approve": [{}, {"database": "postgresql"}],
    "mailbox": [{}, {"database": "postgresql"}],
    "wake": [{}, {"database": "postgresql"}],
    "mcp": [{"engine": "daphne"}, {"engine": "uvicorn"}],
}
"""Each benchmark with the settings it is run under."""

POSTGRES = os.environ.get("AGENTHUB_BENCH_POSTGRES", "postgresql://postgres@127.0.0.1:5432/postgres")
SECONDS = 600
STOP_SECONDS = 90


def run(name: str, setting: dict[str, str]) -> list[Figure]:
    """One benchmark under one setting; its other output goes to stderr."""
    home = tempfile.mkdtemp(prefix="ahb-", dir="/tmp")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AGENTHUB_")}
    environment |= {"AGENTHUB_HOME": home, "DJANGO_SETTINGS_MODULE": "agenthub_site.settings"}
    environment |= {"AGENTHUB_SERVER__LISTEN": "127.0.0.1:0", "AGENTHUB_LOG__LEVEL": "warning"}
    if "nodes" in setting:
        environment["BENCH_NODES"] = setting["nodes"]
    if "engine" in setting:
        environment["AGENTHUB_SERVER__ENGINE"] = setting["engine"]
    if setting.get("database") == "postgresql":
        environment["AGENTHUB_DATABASE__URL"] = _fresh_database()
    try:
        printed = _printed([sys.executable, "-m", f"tests.benchmarks.{name}"], environment)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    label = ", ".join(setting.values())
    figures = [figure for line in printed.splitlines() if (figure := heard(line))]
    return [Figure(f"{f.name} ({label})" if label else f.name, f.value, f.limit, f.aim, f.is_met) for f in figures]


def _printed(command: list[str], environment: dict[str, str]) -> str:
    """What it prints. Interrupted, not killed, when it takes too long or we are: it stops the hub that it started."""
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            printed, _ = process.communicate(timeout=SECONDS)
        except BaseException:
            process.send_signal(signal.SIGINT)
            process.wait(STOP_SECONDS)
            raise
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return printed


def _fresh_database() -> str:
    import psycopg

    name = "agenthub_bench"
    with psycopg.connect(POSTGRES, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {name}")
    return POSTGRES.rsplit("/", 1)[0] + f"/{name}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *ALL], help=f"of {', '.join(ALL)}; all if none is given")
    parser.add_argument("--record", type=Path, help="also write the figures to this file, as JSON")
    arguments = parser.parse_args()
    figures: list[Figure] = []
    failed: list[str] = []
    for name in arguments.names or ALL:
        for setting in ALL[name]:
            label = " ".join((name, *setting.values()))
            print(f"… {label}", file=sys.stderr, flush=True)
            try:
                figures += run(name, setting)
            except subprocess.SubprocessError as error:
                print(f"{label}: {error}", file=sys.stderr)
                failed.append(label)
    print(table(figures))
    if failed:
        print(f"Failed, and not in the table: {', '.join(failed)}.")
    if arguments.record:
        record = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": f"{os.cpu_count()} cores, Python {platform.python_version()}",
            "figures": [{"name": f.name, "value": f.value, "limit": f.limit, "aim": f.aim} for f in figures],
        }
        arguments.record.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
