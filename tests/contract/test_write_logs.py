"""Log lines: fields, ids, and no secrets, whoever wrote them."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from nodes.contract.logs import MASK, configure_logs, redact_text

SECRETS = [
    "aht_Zm9vYmFyYmF6cXV4",
    "sk-ant-api03-abcdefghijklmnop",
    "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    "github_pat_11ABCDEFG0abcdefghijkl",
    "xoxb-1234567890-abcdef",
    "AKIAIOSFODNN7EXAMPLE",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcdefghijklmnop",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
]


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What is logged, with the process's own set-up put back afterwards."""
    root = logging.getLogger()
    handlers, level, before = root.handlers[:], root.level, structlog.get_config()
    stream = io.StringIO()
    configure_logs("debug", "json", stream)
    yield stream
    root.handlers[:], root.level = handlers, level
    structlog.configure(**before)


def last(stream: io.StringIO) -> dict[str, Any]:
    line: dict[str, Any] = json.loads(stream.getvalue().splitlines()[-1])
    return line


def test_a_line_has_time_level_event_and_fields(lines: io.StringIO) -> None:
    structlog.get_logger("agents").info("run.started", run="r-1", seconds=0.5)
    line = last(lines)
    assert (line["level"], line["event"], line["run"], line["seconds"], line["logger"]) == (
        "info",
        "run.started",
        "r-1",
        0.5,
        "agents",
    )
    assert line["timestamp"].endswith("Z")


def test_bound_ids_are_in_lines_of_the_standard_library_too(lines: io.StringIO) -> None:
    with structlog.contextvars.bound_contextvars(run="r-1", node="n-1"):
        logging.getLogger("elsewhere").warning("took %s s", 3)
    line = last(lines)
    assert (line["event"], line["run"], line["node"], line["level"]) == ("took 3 s", "r-1", "n-1", "warning")


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_masked_by_its_shape_wherever_it_stands(lines: io.StringIO, secret: str) -> None:
    logger = structlog.get_logger("agents")
    logger.info(f"got {secret} here", deep={"list": [f"x {secret}"]})
    try:
        raise ValueError(f"no such {secret}")
    except ValueError:
        logger.exception("failed")
    logging.getLogger("elsewhere").error("also %s", secret)
    assert secret not in lines.getvalue() and json.dumps(secret)[1:-1] not in lines.getvalue()
    assert lines.getvalue().count(MASK) == 4


@pytest.mark.parametrize(
    "key",
    ["authorization", "Authorization", "password", "api_key", "ANTHROPIC_API_KEY", "token", "secret_key", "cookie"],
)
def test_a_secret_is_masked_by_the_name_of_its_field(lines: io.StringIO, key: str) -> None:
    structlog.get_logger("agents").info("called", headers={key: "hunter2"}, **{key: "hunter2"})
    assert "hunter2" not in lines.getvalue()


def test_numbers_and_harmless_names_stay(lines: io.StringIO) -> None:
    structlog.get_logger("agents").info("run.usage", input_tokens=12, tokens=3, keyboard="qwerty", author="Ann")
    line = last(lines)
    assert (line["input_tokens"], line["tokens"], line["keyboard"], line["author"]) == (12, 3, "qwerty", "Ann")


def test_a_header_or_an_address_keeps_all_but_its_secret() -> None:
    assert redact_text("Authorization: Bearer abc.def-123456") == f"Authorization: Bearer {MASK}"
    assert redact_text("postgresql://hub:hunter2@db:5432/hub") == f"postgresql://hub:{MASK}@db:5432/hub"
    assert redact_text("http://localhost:8080/runs/") == "http://localhost:8080/runs/"


def test_text_lines_are_for_people(lines: io.StringIO) -> None:
    stream = io.StringIO()
    configure_logs("info", "text", stream)
    structlog.get_logger("agents").info("run.started", run="r-1")
    assert "run.started" in stream.getvalue() and "run=r-1" in stream.getvalue()
