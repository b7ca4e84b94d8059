"""Identifiers: what is one, and what only looks so."""

from uuid import UUID

import pytest

from nodes.contract.ids import new_id, uuid_of


def test_a_uuid_is_known_in_its_spellings() -> None:
    made = new_id()
    assert uuid_of(str(made)) == uuid_of(made.hex) == uuid_of(str(made).upper()) == made


@pytest.mark.parametrize(
    "text", ["", "0", "demo", "\0", " 018f3a52-1c4e-7000-8000-000000000001", str(UUID(int=1))[:-1]]
)
def test_what_is_none_is_none(text: str) -> None:
    assert uuid_of(text) is None
