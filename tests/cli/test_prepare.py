"""The first start and the next ones, on homes of their own, by the real command."""

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from integrations.cli.exits import Exit
from tests.prepared import give_database

Ended = subprocess.CompletedProcess[str]


def prepare(home: Path, *arguments: str, **environ: str) -> Ended:
    return subprocess.run(
        [sys.executable, "-P", "-m", "agenthub_site.main", "prepare", "--json", *arguments],
        env={**os.environ, "AGENTHUB_HOME": str(home), **environ},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def said(ended: Ended) -> Any:
    """The error that it ended with: one JSON object, and nothing beside it."""
    assert ended.stderr == ""
    return json.loads(ended.stdout)["error"]


def prepared(home: Path, *arguments: str, **environ: str) -> Any:
    ended = prepare(home, *arguments, **environ)
    assert ended.returncode == Exit.OK, ended.stderr
    return json.loads(ended.stdout)


def test_a_password_is_told_once_and_nothing_is_made_twice(home: Path) -> None:
    first, second = prepared(home, "--demo"), prepared(home, "--demo")
    assert first["user"] == second["user"] == "root"
    assert len(first["password"]) >= 16 and second["password"] is None
    assert first["project"] == second["project"] == "demo"
    assert first["agents"] == second["agents"] and first["agents"][0] == "demo"
    assert first["run"] and second["run"] is None
    assert first["node"] == second["node"] == (home / "node" / "id").read_text().strip()
    log = subprocess.run(
        ["git", "log", "--oneline"], cwd=home / "worktrees/demo/hello", capture_output=True, text=True, check=True
    )
    assert len(log.stdout.splitlines()) == 1


def test_without_demo_there_is_an_operator_and_nothing_else(home: Path) -> None:
    give_database(home)
    answer = prepared(home, AGENTHUB_ADMIN_PASSWORD="correct horse battery", AGENTHUB_INTERNAL_GRPC__ENABLED="true")
    assert answer["password"] == "correct horse battery" and answer["password_is_yours"]
    assert answer["project"] is None and not (home / "worktrees" / "demo").exists()
    private = [path for path in home.rglob("*") if path.suffix in {".key", ".txt"} or path.name == "secret_key"]
    assert {"identity.key", "auth_secret.txt", "bootstrap_token.txt"} <= {path.name for path in private}
    assert all(path.stat().st_mode & 0o077 == 0 for path in private)


def test_a_weak_password_is_refused_by_the_name_of_its_variable(home: Path) -> None:
    give_database(home)
    ended = prepare(home, AGENTHUB_ADMIN_PASSWORD="short")
    assert ended.returncode == Exit.USAGE
    assert "AGENTHUB_ADMIN_PASSWORD" in said(ended)["message"]


def test_a_bad_setting_is_one_clear_line(home: Path) -> None:
    ended = prepare(home, AGENTHUB_NODE__CAPACITY="many")
    assert ended.returncode == Exit.USAGE
    assert "AGENTHUB_NODE__CAPACITY" in said(ended)["message"]


def test_a_newer_database_is_refused_and_an_older_one_copied(home: Path) -> None:
    """B4 of agent-hub-mcp: its database had no versions."""
    give_database(home)
    prepared(home)
    with sqlite3.connect(home / "db.sqlite3") as database:
        database.execute(
            "INSERT INTO django_migrations (app, name, applied) VALUES ('agents', '0999_later', '2030-01-01')"
        )
    refused = prepare(home)
    assert refused.returncode == Exit.FAILED
    message = said(refused)["message"]
    assert "agents.0999_later" in message and "newer AgentHub" in message
    with sqlite3.connect(home / "db.sqlite3") as database:
        database.execute("DELETE FROM django_migrations WHERE name = '0999_later'")
        database.execute("DELETE FROM django_migrations WHERE app = 'sessions'")
        database.execute("DROP TABLE django_session")
    database.close()
    prepared(home)
    (copy,) = (home / "backups").iterdir()
    with sqlite3.connect(copy) as kept:
        assert kept.execute("SELECT count(*) FROM django_migrations WHERE app = 'sessions'").fetchone() == (0,)
        assert kept.execute("SELECT username FROM accounts_user").fetchall() == [("root",)]
    kept.close()
    assert copy.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("url", ["postgresql://postgres@127.0.0.1:1/none"])
def test_a_database_that_is_not_there_names_the_key(home: Path, url: str) -> None:
    ended = prepare(home, AGENTHUB_DATABASE__URL=url)
    assert ended.returncode == Exit.USAGE
    assert "database.url" in said(ended)["message"]
