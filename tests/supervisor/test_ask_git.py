"""git's answers and complaints, within bounds."""

from pathlib import Path

import pytest

from nodes.server.git import SAID_BYTES, Git, GitFailed


async def test_of_a_long_complaint_the_end_is_kept(tmp_path: Path) -> None:
    complaint = "!yes noise | head -c 200000 >&2; echo the reason >&2; exit 3"
    with pytest.raises(GitFailed) as failed:
        await Git(tmp_path, {}).text("-c", f"alias.complain={complaint}", "complain")
    assert failed.value.data["said"].endswith("the reason")
    assert len(failed.value.data["said"]) <= SAID_BYTES
