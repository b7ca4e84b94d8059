"""The page about capabilities is the table."""

import itertools

from agenthub_site.accounts.permissions import CAPABILITIES, ROLES, TABLE, Can
from tools.permission_docs import PAGE, render


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == render(), "Run `make permissions`."


def test_every_capability_is_in_the_table_and_roles_only_grow() -> None:
    assert set(TABLE) == set(Can)
    assert list(Can) == sorted(Can, key=lambda can: can.name)
    for less, more in itertools.pairwise(ROLES):
        assert CAPABILITIES[less] < CAPABILITIES[more]
