"""Every test process has a home of its own, made before Django's settings are read; and the cast as fixtures."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

KEPT = {"AGENTHUB_DATABASE__URL", "AGENTHUB_REDIS__URL", "AGENTHUB_TEST_DB"}
for _name in [name for name in os.environ if name.startswith("AGENTHUB_") and name not in KEPT]:
    del os.environ[_name]
_server, _, _number = os.environ.get("AGENTHUB_REDIS__URL", "").rpartition("/")
if _number.isdecimal() and (_worker := os.environ.get("PYTEST_XDIST_WORKER", "")):
    # Each has a Redis database of its own: what one clears is not another's.
    os.environ["AGENTHUB_REDIS__URL"] = f"{_server}/{int(_worker.removeprefix('gw')) % 15 + 1}"
HOME = Path(tempfile.mkdtemp(prefix="aht-", dir="/tmp"))
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
(HOME / "static").mkdir()
os.environ["AGENTHUB_HOME"] = str(HOME)
os.environ["DJANGO_SETTINGS_MODULE"] = "agenthub_site.settings"

import django  # noqa: E402

django.setup()
# Not left to the workers of a parallel run: they would read the settings before they have a home of their own.
del os.environ["DJANGO_SETTINGS_MODULE"]

import hypothesis  # noqa: E402
import pytest  # noqa: E402
from django.conf import settings  # noqa: E402
from django.db import connection  # noqa: E402
from django.test import TransactionTestCase  # noqa: E402
from pytest_django import DjangoDbBlocker  # noqa: E402

from audit.protection import protect, unprotect  # noqa: E402
from audit.refusals import Refusals, failures, refusals  # noqa: E402
from tests.cast import *  # noqa: E402, F403
from tests.prepared import forget, give_database, template_database  # noqa: E402

# A busy machine makes nothing wrong.
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("patient")

settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # slow by design otherwise


@pytest.fixture
def home() -> Iterator[Path]:
    """A fresh home under a short path, since a Unix socket's path holds 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="ah-", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(autouse=True)
def _refusals_are_counted_anew() -> None:
    """What one test was refused is not left out of the next one's trail."""
    vars(refusals).update(vars(Refusals()))
    vars(failures).update(vars(Refusals(name="user.login_failed")))


@pytest.fixture(scope="session", autouse=True)
def _tables_can_be_emptied() -> Iterator[None]:
    """A transactional test ends with empty tables, which the trail's protection refuses; it steps aside just then."""
    empty = vars(TransactionTestCase)["_fixture_teardown"]

    def unprotected(case: TransactionTestCase) -> None:
        unprotect(connection)
        try:
            empty(case)
        finally:
            protect(connection)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", unprotected)
        yield


def pytest_sessionfinish(session: pytest.Session) -> None:
    if "PYTEST_XDIST_WORKER" not in os.environ:
        forget()


@pytest.fixture(scope="session")
def django_db_keepdb() -> bool:
    """Begin with the database that all hubs are given; this process's home is a fresh one."""
    test = connection.settings_dict["TEST"]
    if connection.vendor == "sqlite":
        give_database(HOME)
        Path(str(test["NAME"])).write_bytes((HOME / "db.sqlite3").read_bytes())
        return True
    test["TEMPLATE"] = template_database()
    return False


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """PostgreSQL drops no database in use, and threads of asynchronous tests leave their connections open."""
    yield
    if connection.vendor == "postgresql":
        with django_db_blocker.unblock(), connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
