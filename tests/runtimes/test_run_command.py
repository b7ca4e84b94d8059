"""The command runtime with real programs."""

import asyncio
from pathlib import Path

import pytest

from nodes.contract.commands import RuntimeSpec
from nodes.contract.events import Output
from nodes.contract.reasons import Reason
from nodes.contract.runtime import RuntimeFailed, TurnEnd
from nodes.runtimes.command import CommandRuntime
from tests.fakes.small_host import SmallHost


async def run(tmp_path: Path, *command: str, prompt: str = "") -> tuple[SmallHost, TurnEnd]:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    host = SmallHost(workspace, RuntimeSpec(kind="command", command=list(command)))
    host.spec = host.spec.model_copy(update={"prompt": prompt})
    runtime = CommandRuntime()
    await runtime.start(host)
    try:
        async with asyncio.timeout(30):
            end = await runtime.prompt(prompt)
        await runtime.close()
    finally:
        host.end()
    return host, end


def printed(host: SmallHost) -> str:
    return "".join(event.text for event in host.of(Output))


async def test_the_prompt_is_the_programs_input(tmp_path: Path) -> None:
    host, end = await run(tmp_path, "cat", prompt="hello ☃")
    assert (printed(host), end.is_failure) == ("hello ☃", False)


async def test_a_placeholder_takes_the_prompt_and_no_shell_looks_at_it(tmp_path: Path) -> None:
    host, _ = await run(tmp_path, "printf", "%s", "say: {prompt}", prompt="$(id); {x}")
    assert printed(host) == "say: $(id); {x}"


async def test_a_prompt_that_looks_like_an_option_is_none(tmp_path: Path) -> None:
    host, end = await run(tmp_path, "cat", "{prompt}", prompt="--version")
    assert end.is_failure and "GNU" not in printed(host)


@pytest.mark.parametrize(
    ("command", "printed_"),
    [
        (("printf", "<%s>", "{prompt}"), "< -n>"),
        (("printf", "--", "<%s>", "{prompt}"), "<-n>"),
        (("printf", "<%s>", "task: {prompt}"), "<task: -n>"),
    ],
    ids=["guarded", "after_two_dashes", "within_an_argument"],
)
async def test_the_guard_is_a_space_where_it_is_needed(tmp_path: Path, command: tuple[str, ...], printed_: str) -> None:
    host, _ = await run(tmp_path, *command, prompt="-n")
    assert printed(host) == printed_


async def test_the_exit_status_decides(tmp_path: Path) -> None:
    _, end = await run(tmp_path, "sh", "-c", "exit 3")
    assert (end.is_failure, end.message) == (True, "exit status 3")


async def test_a_signal_is_named(tmp_path: Path) -> None:
    _, end = await run(tmp_path, "sh", "-c", "kill -9 $$")
    assert end.message == "killed by SIGKILL"


async def test_a_program_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeFailed) as failed:
        await run(tmp_path, "no-such-program")
    assert failed.value.reason is Reason.RUNTIME_NOT_INSTALLED


async def test_ten_megabytes_in_one_line_arrive(tmp_path: Path) -> None:
    host, _ = await run(tmp_path, "sh", "-c", "head -c 10000000 /dev/zero | tr '\\0' x")
    assert len(printed(host)) == 10_000_000


async def test_bytes_that_are_no_utf8_are_replaced(tmp_path: Path) -> None:
    host, end = await run(tmp_path, "printf", r"a\377b\303")
    assert (printed(host), end.is_failure) == ("a\ufffdb\ufffd", False)


async def test_a_program_that_reads_nothing_ends_all_the_same(tmp_path: Path) -> None:
    _, end = await run(tmp_path, "true", prompt="x" * 100_000)
    assert not end.is_failure


async def test_a_child_that_keeps_the_pipe_open_does_not_hold_up_the_end(tmp_path: Path) -> None:
    host, end = await run(tmp_path, "sh", "-c", "sleep 60 & echo done")
    assert (printed(host), end.is_failure) == ("done\n", False)
