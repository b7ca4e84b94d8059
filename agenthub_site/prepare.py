"""``agenthub prepare``: bring the home and the database to where this version can start from them.

Run before every start; doing it again changes nothing. It is a process of its own,
so that the parent of ``up`` need not import Django.
"""

import json
import os
import sys
from collections.abc import Sequence
from typing import Final

from agenthub_site.web import check_certificate
from integrations.cli.parsers import Parser
from nodes.contract.config import Config, load_config
from nodes.contract.errors import ConfigError

DATABASE_SECONDS: Final = 10

DESCRIPTION = """\
Create or upgrade the database (SQLite is copied first), the certificates, the local node and
the first operator, `root`. `agenthub up` does this by itself; where the parts run one by one,
run it once before them. Doing it again changes nothing."""


def main(arguments: Sequence[str]) -> int:
    parser = Parser("agenthub prepare", description=DESCRIPTION)
    parser.add_argument("--demo", action="store_true", help="with a demo project and agents")
    parser.add_argument("--json", action="store_true", help="print what was made as JSON")
    options = parser.parse_args(arguments)

    config = load_config()
    check_certificate(config)
    _check_worktrees(config)
    _check_database(config.database.url)
    os.umask(0o077)  # what is made here (database, keys) is the operator's alone
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "agenthub_site.settings")
    os.environ.setdefault("AGENTHUB_LOG__LEVEL", "warning")
    import django

    django.setup()
    from agenthub_site.first_start import prepare

    prepared = prepare(with_demo=options.demo, password=os.environ.get("AGENTHUB_ADMIN_PASSWORD") or None)
    if options.json:
        sys.stdout.write(json.dumps(prepared) + "\n")
    elif prepared["password"] and not prepared["password_is_yours"]:
        sys.stdout.write(f"The operator is {prepared['user']}, with the password {prepared['password']}\n")
    return 0


def _check_worktrees(config: Config) -> None:
    root = config.worktree_root
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        if not config.worktree.default_root:
            raise ConfigError(
                f"The home {config.home} cannot be used: {error.strerror}. Set AGENTHUB_HOME to a directory that you "
                "may write."
            ) from error
        raise ConfigError(
            f"worktree.default_root: {root} cannot be made ({error.strerror}). Name a directory that this account may "
            "write; left empty, it is worktrees/ in the home."
        ) from error


def _check_database(url: str) -> None:
    """Ask once and plainly whether it is there: a pool would try for long, and say so many times."""
    if not url:
        return
    import psycopg

    try:
        psycopg.connect(url, connect_timeout=DATABASE_SECONDS).close()
    except psycopg.Error as error:
        why = " ".join(str(error).split())
        raise ConfigError(
            f"database.url: the database does not answer: {why} Check that it runs, and host, port, user and password."
        ) from error
