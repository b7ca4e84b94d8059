"""Finding the runtimes of a machine, and leaving it as it was."""

import os
import sys
from pathlib import Path

import pytest

from nodes.contract.runtime import Preset
from nodes.runtimes.presets import PRESETS
from nodes.runtimes.probe import Found, ask_version, find_runtimes, probe
from tests.fakes.small_host import marked

FAKE = """#!{python}
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)
    os._exit(0)
os.wait()
{then}
"""


def make_program(path: Path, then: str) -> Path:
    path.write_text(FAKE.format(python=sys.executable, then=then))
    path.chmod(0o755)
    return path


def make_preset(**changes: object) -> Preset:
    known: dict[str, object] = {"name": "fake", "title": "Fake", "command": ("fake",), "version_command": ("fake",)}
    return Preset(**{**known, **changes})  # type: ignore[arg-type]


def test_a_version_is_found_and_the_detached_child_is_gone(tmp_path: Path) -> None:
    program = make_program(tmp_path / "fake", "print('fake 1.2.3-rc.1 (build)')")
    assert ask_version([str(program)], {**os.environ, "TRACE": "v1"}) == ("1.2.3-rc.1", "")
    assert marked("TRACE=v1") == []


def test_a_hundred_probes_of_a_hanging_forking_program_leak_no_process(tmp_path: Path) -> None:
    program = make_program(tmp_path / "fake", "time.sleep(600)")
    for _ in range(100):
        version, problem = ask_version([str(program)], {**os.environ, "TRACE": "v2"}, seconds=0.2)
        assert version == ""
        assert "did not answer" in problem
    assert marked("TRACE=v2") == []


def test_a_probe_opens_no_file_for_good(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        ask_version(["/bin/echo", "1.0"], os.environ)
        ask_version([str(tmp_path / "nothing")], os.environ)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before  # what others left open may be closed just now


def test_endless_output_is_not_kept(tmp_path: Path) -> None:
    assert ask_version(["/bin/sh", "-c", "yes x"], os.environ, seconds=5)[0] == ""


@pytest.mark.parametrize(("command", "said"), [("exit 3", "exit status 3"), ("echo hello", "named no version")])
def test_a_program_without_a_version_says_what_went_wrong(command: str, said: str) -> None:
    assert said in ask_version(["/bin/sh", "-c", command], os.environ)[1]


def test_a_program_that_cannot_be_started_says_so() -> None:
    assert "cannot be started" in ask_version(["/no/such/program"], os.environ)[1]


def test_what_is_not_on_the_path_is_not_installed(tmp_path: Path) -> None:
    (found,) = find_runtimes({"PATH": str(tmp_path)}, tmp_path, [make_preset()])
    assert not found.is_installed
    assert found.detail == "not installed"


def test_a_login_is_a_file_or_a_variable(tmp_path: Path) -> None:
    preset = make_preset(command=("/bin/sh",), secret_names=("FAKE_KEY",), login_paths=(".fake/login",))

    def look(environ: dict[str, str]) -> Found:
        return find_runtimes(environ, tmp_path, [preset])[0]

    assert look({}).detail == "not logged in"
    assert look({"FAKE_KEY": "x"}).is_logged_in
    (tmp_path / ".fake").mkdir()
    (tmp_path / ".fake" / "login").touch()
    assert look({}).is_logged_in


async def test_the_scripted_agent_is_always_there(tmp_path: Path) -> None:
    (found,) = await probe({}, tmp_path, [PRESETS["scripted"]])
    assert found.is_installed
    assert found.is_logged_in
    assert found.version == "1.0"


async def test_probing_asks_each_program_for_its_version(tmp_path: Path) -> None:
    make_program(tmp_path / "fake", "print('v7.1')")
    (found,) = await probe({**os.environ, "PATH": str(tmp_path), "TRACE": "v3"}, tmp_path, [make_preset()])
    assert (found.version, found.path) == ("7.1", str(tmp_path / "fake"))
    assert marked("TRACE=v3") == []


async def test_no_program_is_given_our_own_settings(tmp_path: Path) -> None:
    make_program(tmp_path / "fake", "import os; print('0.' + str(len(os.environ.get('AGENTHUB_SECRET_KEY', ''))))")
    environ = {**os.environ, "PATH": str(tmp_path), "AGENTHUB_SECRET_KEY": "x" * 50}
    (found,) = await probe(environ, tmp_path, [make_preset()])
    assert found.version == "0.0"
