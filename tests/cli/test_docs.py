"""The pages about commands and settings name all of them."""

from pathlib import Path

from pydantic import BaseModel

from agenthub_site.main import CLIENT, SERVER
from integrations.cli.exits import Exit
from nodes.contract.config import Config

DOCS = Path(__file__).parents[2] / "docs"


def keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    found = []
    for name, field in model.model_fields.items():
        inner = field.annotation
        is_section = isinstance(inner, type) and issubclass(inner, BaseModel)
        found += keys(inner, f"{prefix}{name}.") if is_section and isinstance(inner, type) else [prefix + name]
    return found


def test_every_key_is_documented() -> None:
    page = (DOCS / "configuration.md").read_text()
    assert [key for key in keys(Config) if f"`{key}`" not in page] == []


def test_every_command_is_documented() -> None:
    page = (DOCS / "cli.md").read_text()
    assert [name for name in (*CLIENT, *SERVER) if f"`agenthub {name}" not in page and f"`{name}`" not in page] == []


def test_every_exit_code_is_documented() -> None:
    page = (DOCS / "cli.md").read_text()
    assert [code for code in Exit if f"| {code.value} |" not in page] == []
