"""A run's directory: what is written is there after a crash, and nothing is started twice."""

import subprocess
import sys
from pathlib import Path

import pytest

from nodes.contract.commands import RuntimeSpec, StartRun, Workspace
from nodes.contract.ids import new_id, now_us
from nodes.server.commandlog import Answer
from nodes.server.rundir import RunDir, RunLocked, Standing, all_runs
from nodes.server.spool import SpoolWriter
from tests.support import eventually


def make_spec(run_id: str) -> StartRun:
    return StartRun(
        run=run_id,
        project=str(new_id()),
        project_slug="demo",
        agent=str(new_id()),
        agent_name="demo",
        runtime=RuntimeSpec(kind="command", command=["true"]),
        workspace=Workspace(mode="use_existing", workdir="/nowhere"),
        prompt="Say \ud800 hello",
        input_id="i1",
    )


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path / "runs", str(new_id()))


def test_a_spec_is_read_back_as_it_was_accepted(run: RunDir) -> None:
    spec = make_spec(run.run_id)
    run.write_spec(spec)
    assert run.read_spec() == spec
    assert run.path.stat().st_mode & 0o777 == 0o700


def test_a_second_spec_changes_nothing(run: RunDir) -> None:
    run.write_spec(make_spec(run.run_id))
    run.write_spec(make_spec(run.run_id).model_copy(update={"prompt": "other"}))
    assert run.read_spec().prompt != "other"


@pytest.mark.parametrize("run_id", ["../../etc", "", "0190-x", "{0193a5c5-0000-7000-8000-000000000000}"])
def test_what_is_no_run_id_never_becomes_a_path(tmp_path: Path, run_id: str) -> None:
    with pytest.raises(ValueError):
        RunDir(tmp_path, run_id)


def test_a_repeated_command_gets_the_stored_answer(run: RunDir) -> None:
    run.make()
    assert run.commands.accept("c1", "cancel_run", {"run": run.run_id}).accepted
    assert run.commands.reject("c1", "late", "no").accepted
    assert not run.commands.reject("c2", "unknown_run", "no such run").accepted
    assert run.commands.accept("c2", "cancel_run", {}).code == "unknown_run"


def test_applied_commands_are_pending_no_more(run: RunDir) -> None:
    run.make()
    for number in range(3):
        run.commands.accept(f"c{number}", "send_input", {"text": str(number)})
    run.commands.mark_applied("c1")
    assert [command.id for command in run.commands.pending()] == ["c0", "c2"]


def test_a_line_cut_off_by_a_crash_is_skipped(run: RunDir) -> None:
    run.make()
    run.commands.accept("c1", "send_input", {"text": "one"})
    with (run.path / "commands").open("ab") as file:
        file.write(b'{"id": "c2", "kind": "send_in')
    assert run.commands.answer_of("c2") is None
    run.commands.accept("c2", "send_input", {"text": "two"})
    assert [command.body["text"] for command in run.commands.pending()] == ["one", "two"]


def test_the_lock_is_known_from_outside_and_falls_with_its_process(run: RunDir) -> None:
    run.make()
    code = "import sys,time; from pathlib import Path; from nodes.server.rundir import RunDir\n"
    code += f"run = RunDir(Path({str(run.path.parent)!r}), {run.run_id!r}); run.take_lock().sign(); print('held')\n"
    code += "sys.stdout.flush(); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline() == b"held\n"
        assert run.is_locked() and run.standing() is Standing.LIVE
        holder = run.holder()
        assert holder and holder.pid == process.pid
        with pytest.raises(RunLocked):
            run.take_lock(wait=0)
        process.kill()
    eventually(lambda: not run.is_locked())
    run.take_lock().release()


def test_standing_follows_a_run_from_spec_to_grave(run: RunDir) -> None:
    assert run.standing() is Standing.UNKNOWN
    run.write_spec(make_spec(run.run_id))
    assert run.standing() is Standing.ACCEPTED
    SpoolWriter(run.path, run.generation()).close()
    assert run.standing() is Standing.ORPHANED
    run.write_blob(b"patch")
    run.write_ended(7)
    assert run.standing() is Standing.ENDED
    run.commands.accept("c1", "cancel_run", {})
    run.bury("ended")
    assert run.standing() is Standing.BURIED
    assert sorted(path.name for path in run.path.iterdir()) == ["commands", "tombstone"]
    stone = run.tombstone()
    assert stone and (stone.code, stone.origin_seq) == ("ended", 7)


def test_a_tombstone_is_removed_after_thirty_days(run: RunDir) -> None:
    run.bury("cancelled")
    assert not run.remove_if_old(now_us() + 29 * 86_400_000_000)
    assert run.remove_if_old(now_us() + 31 * 86_400_000_000)
    assert list(all_runs(run.path.parent)) == []


def test_a_burial_that_a_crash_cut_off_is_finished_later(run: RunDir) -> None:
    run.bury("ended")
    SpoolWriter(run.path, run.generation()).close()
    run.write_blob(b"patch")
    assert not run.remove_if_old(now_us())
    assert [path.name for path in run.path.iterdir()] == ["tombstone"]


def test_a_lock_file_that_a_power_loss_filled_with_zeros_names_nobody(run: RunDir) -> None:
    run.make()
    (run.path / "lock").write_bytes(bytes(7))
    assert run.holder() is None


def test_a_blob_lies_under_its_digest(run: RunDir) -> None:
    run.make()
    ref = run.write_blob(b"patch")
    assert run.blob_path(ref.digest).read_bytes() == b"patch" and ref.size == 5
    with pytest.raises(ValueError):
        run.blob_path("../spec.json")


def test_a_new_generation_is_remembered(run: RunDir) -> None:
    run.make()
    assert run.generation() == 1
    assert run.begin_generation() == 2
    assert run.generation() == 2


def test_a_buried_run_keeps_its_answers_and_no_prompts(run: RunDir) -> None:
    run.make()
    run.commands.accept("c1", "send_input", {"text": "my prompt"})
    run.commands.mark_applied("c1")
    run.commands.reject("c2", "run_ended", "The run has ended.")
    run.bury("ended")
    assert b"my prompt" not in (run.path / "commands").read_bytes()
    assert run.commands.answer_of("c1") == Answer(True)
    assert run.commands.answer_of("c2") == Answer(False, "run_ended", "The run has ended.")
    assert run.commands.pending() == []


def test_prompts_that_an_earlier_version_left_in_a_grave_are_removed(run: RunDir) -> None:
    run.bury("ended")
    run.commands.accept("c1", "send_input", {"text": "my prompt"})
    run.remove_if_old(now_us())
    assert b"my prompt" not in (run.path / "commands").read_bytes()
    assert run.commands.answer_of("c1") == Answer(True)


def test_a_run_that_is_being_buried_is_never_unknown(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    def probe() -> bool:
        run.bury("ended")
        return False

    monkeypatch.setattr(run, "is_locked", probe)
    assert run.standing() is Standing.BURIED
