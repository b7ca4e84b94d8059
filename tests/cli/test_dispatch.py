import os
import subprocess
import sys
from pathlib import Path

import pytest

from agenthub_site.main import CLIENT, HELP, SERVER, main
from integrations.cli.exits import Exit
from integrations.cli.parsers import PARSERS, parser_of

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _environment_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.environ", dict(os.environ))


def test_an_unknown_command_suggests_the_nearest(capsys: Capture) -> None:
    assert main(["cancle", "x"]) == Exit.USAGE
    assert "Did you mean `cancel`?" in capsys.readouterr().err


def test_help_names_every_command(capsys: Capture) -> None:
    assert main(["--help"]) == Exit.OK
    shown = capsys.readouterr().out
    assert not [name for name in (*CLIENT, *SERVER) if name not in shown]


def test_every_client_command_has_a_parser_with_examples() -> None:
    assert set(PARSERS) == set(CLIENT)
    assert all(f"agenthub {name}" in (PARSERS[name]().epilog or "") for name in CLIENT)


def test_help_lists_the_exit_codes() -> None:
    assert all(str(code.value) in HELP for code in Exit)


def test_an_unknown_option_is_wrong_usage(capsys: Capture) -> None:
    assert main(["--frobnicate"]) == Exit.USAGE
    assert "--frobnicate" in capsys.readouterr().err


def test_a_missing_configuration_file_is_named(capsys: Capture, tmp_path: object) -> None:
    assert main(["-c", f"{tmp_path}/none.toml", "runs"]) == Exit.USAGE
    assert f"{tmp_path}/none.toml" in capsys.readouterr().err


def test_wrong_arguments_exit_with_usage(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["runs", "--limit", "0"])
    assert ended.value.code == Exit.USAGE


def test_a_node_has_no_hub(capsys: Capture) -> None:
    assert main(["--node-mode", "web"]) == Exit.USAGE
    assert "node and nothing else" in capsys.readouterr().err


def test_the_role_of_a_node_comes_from_the_file(capsys: Capture, tmp_path: object) -> None:
    config = f"{tmp_path}/config.toml"
    with open(config, "w") as file:
        file.write('[server]\nrole = "node"\n')
    assert main(["-c", config, "prepare"]) == Exit.USAGE
    assert "node and nothing else" in capsys.readouterr().err


def test_a_mistyped_node_command_is_explained(capsys: Capture) -> None:
    assert main(["node", "start"]) == Exit.USAGE
    assert "agenthub node run" in capsys.readouterr().err


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_are_no_trouble(home: Path, closed: str) -> None:
    command = f'exec "$0" -m agenthub_site.main runs {closed}'
    ended = subprocess.run(  # the shell is what closes them
        ["/bin/sh", "-c", command, sys.executable], env={**os.environ, "AGENTHUB_HOME": str(home)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == Exit.UNREACHABLE
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("command", "word", "said"),
    [("agent", "create", "Make one"), ("route", "test", "Say whether"), ("token", "revoke", "Make one invalid.")],
)
def test_a_subcommands_help_begins_with_what_it_does(capsys: Capture, command: str, word: str, said: str) -> None:
    with pytest.raises(SystemExit):
        parser_of(command).parse_args([word, "--help"])
    assert f"\n\n{said}" in capsys.readouterr().out
