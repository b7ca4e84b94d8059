"""No two users' names differ only in case: the database sees to it, and its upgrade says whom it is about."""

from collections.abc import Iterator

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import IntegrityError

from agenthub_site.accounts.models import User
from agenthub_site.upgrade import upgrade
from nodes.contract.errors import ConfigError


@pytest.mark.django_db
def test_the_database_refuses_a_name_that_differs_only_in_case() -> None:
    User.objects.create(username="dora")
    with pytest.raises(ValidationError, match="differs only in case"):
        User(username="Dora", password="x").full_clean()
    with pytest.raises(IntegrityError):
        User.objects.create(username="DORA")


@pytest.fixture
def before(transactional_db: None) -> Iterator[None]:
    """The database as it was, which let them be made."""
    call_command("migrate", "accounts", "0010", verbosity=0)
    yield
    User.objects.all().delete()
    upgrade()


def test_an_upgrade_says_who_has_to_be_renamed_and_how(before: None) -> None:
    for name in ("dora", "emil", "Dora"):
        User.objects.create(username=name)
    with pytest.raises(ConfigError, match="dora and Dora") as refused:
        upgrade()
    assert "username='Dora').update(username='Dora-2')" in str(refused.value)
    User.objects.filter(username="Dora").update(username="Dora-2")
    assert upgrade()
    assert not upgrade()
