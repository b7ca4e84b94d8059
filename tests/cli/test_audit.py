"""``agenthub audit verify`` of an export: exit 0 and what was verified, or exit 1 and the place."""

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audit.proof.chain import FIELDS, Checkpoint, digest_of, first_link, links, texts_of
from audit.proof.keys import LIST, load_or_make, rotate
from integrations.cli.audit import main
from integrations.cli.where import Where

STREAM = "instance"
AT = "2026-11-21T06:19:48.832000Z"


@pytest.fixture
def lines(tmp_path: Path) -> list[dict[str, Any]]:
    """An export of three sealed events and one that is not, made here by what ``docs/audit.md`` says."""
    signer = load_or_make(tmp_path / "audit")
    events = [_event(number) for number in (1, 2, 3, 4)]
    values = links(first_link(STREAM), [digest_of(texts_of(event)) for event in events[:3]])
    checkpoint = Checkpoint(
        serial=1, stream=STREAM, first=1, last=3, at=AT, previous=first_link(STREAM).hex(), hash=values[-32:].hex(),
        links=hashlib.sha256(values).hexdigest(), parent="0" * 64, key=signer.key,
    )  # fmt: skip
    sealed = checkpoint.signed(signer.sign(checkpoint.statement)).as_json()
    return [
        {"type": "key", **signer.record.as_json()},
        {"type": "head", "version": 1, "project": None, "after": 0, "streams": {STREAM: 4}, "missing_triggers": []},
        {"type": "checkpoint", **sealed, "values": base64.b64encode(values).decode()},
        *events,
        {"type": "serial", **sealed},
        {"type": "end"},
    ]


def _event(number: int) -> dict[str, Any]:
    blank = dict.fromkeys(FIELDS, "")
    return {
        "type": "event",
        **blank,
        "stream": STREAM,
        "number": number,
        "at": AT,
        "project": None,
        "data": {"b": 1.5, "a": "ü"},
    }


@pytest.fixture
def verify(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, Any]]:
    def run(lines: list[dict[str, Any]], *more: str) -> tuple[int, Any]:
        file = tmp_path / "trail.ndjson"
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
        code = main(["verify", "--from-export", str(file), "--json", *more], Where(tmp_path))
        return code, json.loads(capsys.readouterr().out)

    return run


def test_a_whole_export_says_what_was_verified(lines: list[dict[str, Any]], verify: Any, tmp_path: Path) -> None:
    code, told = verify(lines, "--key", str(tmp_path / "audit" / LIST))
    assert (code, told["ok"], told["events"], told["unsealed"], told["keys_from"]) == (0, True, 4, 1, "file")


def test_a_changed_event_is_named_with_exit_code_1(lines: list[dict[str, Any]], verify: Any) -> None:
    lines[4]["actor_label"] = "Mallory"
    code, told = verify(lines)
    assert code == 1
    assert [(p["stream"], p["number"], p["what"]) for p in told["problems"]] == [(STREAM, 2, "changed")]


def test_events_in_another_order_are_named(lines: list[dict[str, Any]], verify: Any) -> None:
    lines[3], lines[4] = lines[4], lines[3]
    assert {p["what"] for p in verify(lines)[1]["problems"]} == {"missing", "reordered"}


def test_a_key_that_is_not_known_is_not_believed(lines: list[dict[str, Any]], verify: Any, tmp_path: Path) -> None:
    load_or_make(tmp_path / "other")
    code, told = verify(lines, "--key", str(tmp_path / "other" / LIST))
    assert (code, told["problems"][0]["what"]) == (1, "unknown_key")


def test_a_key_that_a_known_one_vouches_for_is_believed(
    lines: list[dict[str, Any]], verify: Any, tmp_path: Path
) -> None:
    kept = tmp_path / "kept.ndjson"
    kept.write_text((tmp_path / "audit" / LIST).read_text())
    lines.insert(0, {"type": "key", **rotate(tmp_path / "audit").record.as_json()})
    assert verify(lines, "--key", str(kept))[0] == 0


def test_a_checkpoint_kept_elsewhere_that_is_not_there_any_more_is_named(
    lines: list[dict[str, Any]], verify: Any, tmp_path: Path
) -> None:
    kept = tmp_path / "elsewhere.ndjson"
    seal = next(line for line in lines if line["type"] == "serial")
    kept.write_text(json.dumps(seal) + "\n")
    assert verify(lines, "--against", str(kept))[1]["witnessed"] == 1
    without = [line for line in lines if line["type"] not in ("serial", "checkpoint")]
    code, told = verify(without, "--against", str(kept))
    assert (code, [(p["number"], p["last"], p["what"]) for p in told["problems"]]) == (1, [(1, 3, "rewritten")])


@pytest.mark.parametrize("cut", [0, 1, -1])
def test_what_is_no_whole_export_is_refused(lines: list[dict[str, Any]], verify: Any, cut: int) -> None:
    code, told = verify(lines[:cut])
    assert (code, told["error"]["code"]) == (1, "malformed")


def test_a_file_that_is_not_there_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--from-export", "nowhere.ndjson"], Where(tmp_path)) == 2
    assert capsys.readouterr().err.count("\n") == 1
