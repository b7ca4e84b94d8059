"""What an agent puts into ``AGENTHUB_ARTIFACTS`` leaves the node when the run is over, and nothing else does."""

import os
import sys
from pathlib import Path

import pytest

from nodes.contract.events import BlobRef
from nodes.contract.limits import BLOB_BYTES
from nodes.server.artifacts import MOST, Left
from nodes.server.node_secrets import NodeSecrets
from nodes.server.redaction import Redactor
from nodes.server.rundir import RunDir
from nodes.server.sandbox import why_not
from tests.supervisor.conftest import Node, only, texts

needs_mask = pytest.mark.skipif(bool(why_not()) and "CI" not in os.environ, reason=why_not() or "it can be masked")
AGENT = """
import os
from pathlib import Path
left = Path(os.environ["AGENTHUB_ARTIFACTS"])
(left / "sub").mkdir()
(left / "sub/report.html").write_text("<p>" + os.environ["DEPLOY"] + "</p>")
(left / "plot.png").write_bytes(bytes(range(256)))
(left / "dump.bin").write_bytes(b"\\xff" + os.environ["DEPLOY"].encode())
(left / "shadow").symlink_to("/etc/shadow")
os.mkfifo(left / "pipe")
"""


class Kept(dict[str, bytes]):
    def keep(self, data: bytes) -> BlobRef:
        self[f"{len(self):064}"] = data
        return BlobRef(digest=f"{len(self) - 1:064}", size=len(data))


@pytest.mark.parametrize("isolation", ["none", pytest.param("masked", marks=needs_mask)])
async def test_files_become_events_with_their_bytes_and_no_secret(node: Node, isolation: str) -> None:
    NodeSecrets(node.home / "node/secrets").set("deploy", "cAnAry-7Xq-secret", ("demo",))
    runtime = {
        "kind": "command", "command": [sys.executable, "-c", AGENT], "environment": {"DEPLOY": "secret:deploy"},
    }  # fmt: skip
    run = await node.start("true", runtime=runtime, isolation=isolation)
    await node.ended(run)
    events = node.events(run)
    told = [event.payload for event in events if event.type == "run.artifact.ready"]
    assert [(each["name"], each["media_type"]) for each in told] == [
        ("plot.png", "image/png"), ("sub/report.html", "text/html"),
    ]  # fmt: skip
    picture, report = (run.blob_path(each["blob"]["digest"]).read_bytes() for each in told)
    assert (picture, report) == (bytes(range(256)), b"<p>[secret]</p>")
    said = texts(events, "stderr")
    for name in ("dump.bin: it is no text, and holds a secret", "shadow: it is no plain file", "pipe: it is no plain"):
        assert f"did not keep the artifact {name}" in said
    assert [event.type for event in events][-1] == "run.completed" and not run.artifacts.exists()


async def test_a_run_that_leaves_nothing_says_nothing(node: Node) -> None:
    events = await node.finish("true")
    assert not [event for event in events if event.type == "run.artifact.ready"]
    assert only(events, "run.completed")


async def test_they_are_bounded_in_number_and_size(tmp_path: Path) -> None:
    for number in range(MOST + 2):
        (tmp_path / f"{number:03}").write_text("x")
    (tmp_path / "a-large").write_bytes(b"x" * (BLOB_BYTES + 1))
    left = Left(tmp_path, Redactor(), Kept().keep)
    await left.collect()
    assert len(left.kept) == MOST
    assert sorted(problem.partition(": ")[2][:9] for problem in left.problems) == ["there are"] * 3


async def test_a_node_without_the_directory_has_nothing_to_keep(tmp_path: Path) -> None:
    left = Left(tmp_path / "absent", Redactor(), Kept().keep)
    await left.collect()
    assert (left.kept, left.problems) == ([], [])


def test_a_buried_run_leaves_no_directory(tmp_path: Path) -> None:
    run = RunDir(tmp_path, "0199a1b2-0000-7000-8000-00000000abcd")
    run.make()
    run.make_artifacts()
    (run.artifacts / "x").write_text("x")
    run.bury("ended")
    assert not run.artifacts.exists()
