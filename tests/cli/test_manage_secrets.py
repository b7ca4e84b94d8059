"""``agenthub secret``: a value is read, never an argument, and never printed."""

import io
import json
import sys

import pytest

from integrations.cli.exits import Exit

from .conftest import Cli
from .small_hub import SmallHub

ONE = "/api/v1/secrets/oidc.client_secret/"
TOLD = {"name": "oidc.client_secret", "set_at": "2026-11-21T06:19:48Z", "set_by": "root", "last_used_at": None}


def give(monkeypatch: pytest.MonkeyPatch, value: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(value)))


def test_a_value_comes_from_standard_input(cli: Cli, hub: SmallHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.routes["PUT", ONE] = (200, TOLD)
    give(monkeypatch, b" hush \n")
    assert cli("secret", "set", "oidc.client_secret") == Exit.OK
    assert [seen.body for seen in hub.asked("PUT", ONE)] == [{"value": " hush "}]


@pytest.mark.parametrize("value", [b"", b"\n", b"\xff\xfe", b"x" * 70_000])
def test_what_is_no_value_sets_nothing(cli: Cli, hub: SmallHub, monkeypatch: pytest.MonkeyPatch, value: bytes) -> None:
    give(monkeypatch, value)
    assert cli("secret", "set", "oidc.client_secret") == Exit.USAGE
    assert hub.seen == []


def test_a_value_as_an_argument_is_wrong_usage(cli: Cli, hub: SmallHub) -> None:
    with pytest.raises(SystemExit) as left:
        cli("secret", "set", "oidc.client_secret", "hush")
    assert left.value.code == Exit.USAGE and hub.seen == []


def test_they_are_listed(cli: Cli, hub: SmallHub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.routes["GET", "/api/v1/secrets/"] = (200, {"results": [TOLD], "next": None})
    assert cli("secret", "list") == Exit.OK
    assert "oidc.client_secret" in capsys.readouterr().out
    assert cli("secret", "list", "--json") == Exit.OK
    assert json.loads(capsys.readouterr().out) == [TOLD]


def test_secrets_whose_key_is_lost_make_the_command_fail(cli: Cli, hub: SmallHub) -> None:
    told = {"key_id": "ab", "re_encrypted": 1, "unreadable": ["webhook.x"], "is_in_file": True}
    hub.routes["POST", "/api/v1/secrets/rotate-key/"] = (200, told)
    assert cli("secret", "rotate-key") == Exit.FAILED
