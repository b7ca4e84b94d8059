"""Runs of the command runtime, from spec to ending, in a real supervisor."""

import sys

from nodes.contract.commands import CancelRun, SendInput
from nodes.contract.events import Who
from nodes.server.rundir import Standing
from tests.supervisor.conftest import HUB_SECRET, Node, only, texts
from tests.supervisor.repositories import git, make_repository


async def test_a_run_says_what_happened_in_order(node: Node) -> None:
    events = await node.finish("cat")
    assert [event.type for event in events] == [
        "run.started", "run.turn.started", "run.output", "run.turn.completed", "run.completed",
    ]  # fmt: skip
    assert [event.seq for event in events] == [1, 2, 3, 4, 5]
    assert texts(events) == "Do it."
    assert only(events, "run.completed") == {"stop_reason": "end_turn", "exit_code": 0}
    assert only(events, "run.started")["workspace"] == str(node.code)


async def test_the_prompt_may_be_an_argument_and_no_shell_reads_it(node: Node) -> None:
    events = await node.finish("echo", "<{prompt}>", prompt="$(id); `id` > x")
    assert texts(events) == "<$(id); `id` > x>\n"


async def test_a_prompt_too_long_for_an_argument_is_said_and_how_to_pass_it(node: Node) -> None:
    failed = only(await node.finish("echo", "{prompt}", prompt="x" * 131_072), "run.failed")
    assert failed["reason"] == "prompt_too_large" and "standard input" in failed["message"]
    assert texts(await node.finish("cat", prompt="x" * 131_072)) == "x" * 131_072


async def test_a_status_other_than_zero_is_a_failure(node: Node) -> None:
    events = await node.finish("sh", "-c", "echo bad >&2; exit 7")
    failed = only(events, "run.failed")
    assert (failed["reason"], failed["exit_code"], failed["signal"]) == ("agent_exited", 7, None)
    assert texts(events, "stderr") == "bad\n"


async def test_a_deadly_signal_is_named(node: Node) -> None:
    failed = only(await node.finish("sh", "-c", "kill -SEGV $$"), "run.failed")
    assert (failed["reason"], failed["exit_code"], failed["signal"]) == ("agent_killed", None, 11)


async def test_a_missing_program_is_said(node: Node) -> None:
    events = await node.finish("no-such-program")
    assert [event.type for event in events] == ["runtime.unavailable", "run.failed"]
    assert events[1].payload["reason"] == "runtime_not_installed"


async def test_a_workspace_outside_the_safe_paths_is_refused(node: Node) -> None:
    events = await node.finish("touch", "x", workspace={"mode": "use_existing", "workdir": "/etc"})
    assert [event.type for event in events] == ["run.failed"]
    assert events[0].payload["reason"] == "outside_safe_paths"
    assert "'/etc'" in events[0].payload["message"]


async def test_a_refusal_names_the_directory_that_the_agent_was_given_and_not_where_it_leads(node: Node) -> None:
    private, gone = str(node.home / "private/place"), str(node.code / "gone")
    (node.code / "out").symlink_to(private)
    for workdir, reason in ((private, "outside_safe_paths"), (gone, "workspace_missing"), (f"{node.code}/out/", "")):
        events = await node.finish("true", workspace={"mode": "use_existing", "workdir": workdir})
        failed = only(events, "run.failed")
        assert failed["reason"] == (reason or "outside_safe_paths")
        assert repr(workdir) in failed["message"] and (private == workdir or private not in failed["message"])


async def test_the_workspace_is_readable_by_the_name_it_was_configured_with(node: Node) -> None:
    (node.code / "real").mkdir()
    (node.code / "link").symlink_to(node.code / "real")
    link = str(node.code / "link")
    events = await node.finish(
        "echo",
        "{prompt}",
        prompt=f"see {link}/a.py, {node.code}/b",
        workspace={"mode": "use_existing", "workdir": link},
    )
    assert texts(events) == f"see {link}/a.py, [path]\n"
    assert only(events, "run.turn.started")["text"] == f"see {link}/a.py, [path]"


async def test_a_link_that_leads_out_of_the_safe_paths_is_refused(node: Node) -> None:
    (node.code / "out").symlink_to("/etc")
    events = await node.finish("true", workspace={"mode": "use_existing", "workdir": str(node.code / "out")})
    assert only(events, "run.failed")["reason"] == "outside_safe_paths"


async def test_ten_megabytes_in_one_line_arrive_whole(node: Node) -> None:
    events = await node.finish(sys.executable, "-c", "print('x' * 10_000_000, end='')")
    assert only(events, "run.completed")["exit_code"] == 0
    assert texts(events) == "x" * 10_000_000


async def test_bytes_that_are_no_text_are_replaced(node: Node) -> None:
    events = await node.finish("printf", r"a\377b\000c\355\240\200d")
    assert texts(events) == "a\ufffdb\ufffdc\ufffd\ufffd\ufffdd"


async def test_output_ends_though_a_grandchild_holds_the_pipe(node: Node) -> None:
    events = await node.finish("sh", "-c", "sleep 300 & echo done")
    assert texts(events) == "done\n" and only(events, "run.completed")["exit_code"] == 0
    assert node.leftovers() == []


async def test_the_environment_is_a_list_of_what_is_allowed(node: Node) -> None:
    runtime = {"kind": "command", "command": ["env"], "environment": {"MINE": "1", "AGENTHUB_RUN_ID": "forged"}}
    run = await node.start(runtime=runtime)
    await node.ended(run)
    found = dict(line.partition("=")[::2] for line in texts(node.events(run)).splitlines())
    assert found["MINE"] == "1" and found["AGENTHUB_RUN_ID"] == run.run_id
    ours = {f"AGENTHUB_{name}" for name in ("RUN_ID", "ACTOR_ID", "ACTOR_SOCKET", "ACTOR_TOKEN", "ARTIFACTS")}
    assert {name for name in found if name.startswith("AGENTHUB_")} == ours
    assert found["AGENTHUB_ACTOR_TOKEN"] == "[secret]"
    assert not {"PYTHONPATH", "DJANGO_SETTINGS_MODULE", "PYTEST_CURRENT_TEST"} & set(found)


async def test_no_secret_of_the_agent_or_the_node_leaves(node: Node) -> None:
    secret = "own-secret-of-the-agent"
    script = f"printf own-sec; sleep 0.1; echo ret-of-the-agent; echo {HUB_SECRET}; echo ls /root/x"
    runtime = {"kind": "command", "command": ["sh", "-c", script], "environment": {"API_TOKEN": secret}}
    output = texts(await node.finish(runtime=runtime))
    assert output == "[secret]\n[secret]\nls [path]\n"


async def test_a_cancelled_run_leaves_nothing(node: Node) -> None:
    run = await node.start("sh", "-c", "trap '' INT TERM; echo up; sleep 300")
    await node.event(run, "run.output")
    await node.tell(run, CancelRun(run=run.run_id, by=Who(kind="user", id="1", label="Alice")))
    await node.ended(run)
    events = node.events(run)
    assert only(events, "run.state.changed") == {
        "state": "stopping", "reason": "cancel_requested", "message": "", "by": None,
    }  # fmt: skip
    assert only(events, "run.cancelled")["message"] == "Cancelled by Alice."
    assert node.leftovers() == []


async def test_an_interrupt_is_enough_for_a_program_that_listens(node: Node) -> None:
    run = await node.start("sh", "-c", "trap 'echo bye; exit 0' INT; echo up; while :; do sleep 0.05; done")
    await node.event(run, "run.output")
    await node.tell(run, CancelRun(run=run.run_id))
    await node.ended(run)
    events = node.events(run)
    assert texts(events) == "up\nbye\n" and only(events, "run.cancelled")["exit_code"] == 0


async def test_a_cancel_accepted_before_the_start_is_found_in_the_log(node: Node) -> None:
    run = node.accept("sleep", "300")
    run.commands.accept("c1", "cancel_run", {"run": run.run_id})
    await node.spawner.start(run.run_id)
    await node.ended(run)
    assert node.events(run)[-1].type == "run.cancelled"


async def test_a_run_is_started_at_most_once(node: Node) -> None:
    run = node.accept("sh", "-c", "echo once >> started; sleep 0.3")
    for _ in range(5):
        await node.spawner.start(run.run_id)
    await node.ended(run)
    await node.spawner.start(run.run_id)
    assert (node.code / "started").read_text() == "once\n"
    assert run.standing() is Standing.ENDED


async def test_a_command_has_one_turn(node: Node) -> None:
    run = await node.start("sh", "-c", "until [ -e go ]; do sleep 0.05; done")
    await node.event(run, "run.turn.started")
    await node.tell(run, SendInput(run=run.run_id, input_id="i2", text="more"))
    (node.code / "go").touch()
    await node.ended(run)
    assert [event.type for event in node.events(run)].count("run.turn.started") == 1


async def test_a_turn_that_takes_too_long_is_ended(node: Node) -> None:
    events = await node.finish("sleep", "300", turn_seconds=0.3)
    assert [event.type for event in events[-2:]] == ["runtime.timeout", "run.failed"]
    assert events[-1].payload["reason"] == "turn_timeout" and events[-2].payload["what"] == "turn"


async def test_silence_is_said_once_and_taken_back(node: Node) -> None:
    events = await node.finish("sh", "-c", "sleep 1.2; echo hi", stall_seconds=0.3)
    states = [(e.payload["state"], e.payload["reason"]) for e in events if e.type == "run.state.changed"]
    assert states[:2] == [("running", "stalled"), ("running", "")]


async def test_a_diff_that_cannot_be_made_is_said(node: Node) -> None:
    make_repository(node.code / "shop")
    run = await node.start("rm", "-rf", ".git", workspace={"mode": "use_existing", "workdir": str(node.code / "shop")})
    await node.ended(run)
    said = "".join(event.payload["text"] for event in node.events(run) if event.type == "run.output")
    assert "could not make this run's diff" in said and "not a git repository" in said
    assert node.events(run)[-1].type == "run.completed"


async def test_what_a_repositorys_filter_starts_is_ended_too(node: Node) -> None:
    make_repository(node.code / "trap")
    start = "setsid sleep 347 </dev/null >/dev/null 2>&1 & cat"
    trap = f"git config filter.t.clean '{start}'; echo '* filter=t' > .gitattributes; echo a > new"
    workspace = {"mode": "use_existing", "workdir": str(node.code / "trap")}
    events = await node.finish("sh", "-c", trap, workspace=workspace)
    assert only(events, "run.diff.ready")["files_changed"] == 2
    assert node.leftovers() == []


async def test_a_repository_gets_its_diff_before_the_ending(node: Node) -> None:
    repository = make_repository(node.code / "shop")
    workspace = {"mode": "create_worktree", "repository": str(repository)}
    run = await node.start("sh", "-c", "echo more >> readme.txt; echo new > new.txt", workspace=workspace)
    await node.ended(run)
    events = node.events(run)
    assert [event.type for event in events[-2:]] == ["run.diff.ready", "run.completed"]
    diff = events[-2].payload
    assert [change["path"] for change in diff["files"]] == ["new.txt", "readme.txt"]
    assert diff["base_commit"] == git(repository, "rev-parse", "HEAD")
    assert "+more" in run.blob_path(diff["patch"]["digest"]).read_text()


async def test_a_workspace_removed_under_a_run_is_said(node: Node) -> None:
    (node.code / "w").mkdir()
    workspace = {"mode": "use_existing", "workdir": str(node.code / "w")}
    events = await node.finish("sh", "-c", "rm -rf ../w", workspace=workspace)
    assert only(events, "run.failed")["reason"] == "workspace_missing"
