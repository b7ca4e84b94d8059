"""Imports point downwards, and what runs beside agents stays small: no Django on a node, no gRPC in a supervisor."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("agenthub_site", "agents", "audit", "integrations", "mailboxes", "nodes")

LAYERS = (
    "agenthub_site", "integrations", "agents.coordination", "agents", "mailboxes", "nodes", "agenthub_site.accounts",
    "audit", "nodes.contract",
)  # fmt: skip
"""From the top down. A module belongs to the longest name that it begins with."""

WITHOUT_DJANGO = (
    "audit.proof",
    "nodes.contract",
    "nodes.link",
    "nodes.pb",
    "nodes.pki",
    "nodes.runtimes",
    "nodes.server",
    "integrations.cli",
)
DJANGO = {"django", "rest_framework", "channels", "django_q", "unfold"}

SMALL = {
    "nodes.server.supervisor": {"django", "grpc", "agenthub_site"},
    "nodes.server.spawner": {"django", "grpc", "agenthub_site"},
    "nodes.server.main": {"django", "agenthub_site"},
    "nodes.contract.logs": {"django", "grpc", "pydantic"},
    "integrations.cli.commands": {"django", "grpc", "agenthub_site.settings"},
    "agenthub_site.main": {"django", "grpc", "agenthub_site.settings"},
    "agenthub_site.up": {"django", "grpc"},
}
"""What must not be in a process that has imported the module."""


def modules() -> Iterator[tuple[str, Path]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if "migrations" not in parts and "pb" not in parts:
                yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


@cache
def imports(module: str, path: Path) -> frozenset[str]:
    """Every module that the file imports anywhere, functions and type checking included."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base]).rstrip(".")
            found |= {f"{base}.{name.name}" for name in node.names} | {base}
    return frozenset(found)


def is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def layer(module: str) -> int | None:
    names = [name for name in LAYERS if is_in(module, name)]
    return LAYERS.index(max(names, key=len)) if names else None


def test_imports_point_downwards() -> None:
    upwards = [
        f"{module} imports {target}"
        for module, path in modules()
        for target in imports(module, path)
        if (own := layer(module)) is not None and (theirs := layer(target)) is not None and theirs < own
    ]
    assert upwards == []


def test_what_runs_on_a_node_or_as_a_client_names_no_django() -> None:
    guilty = [
        f"{module} imports {target}"
        for module, path in modules()
        if any(is_in(module, package) for package in WITHOUT_DJANGO)
        for target in imports(module, path)
        if target.partition(".")[0] in DJANGO
        or is_in(target, "agenthub_site.accounts")
        or is_in(target, "nodes.models")
    ]
    assert guilty == []


def test_a_package_by_itself_imports_nothing() -> None:
    guilty = [module for module, path in modules() if path.name == "__init__.py" and imports(module, path)]
    assert guilty == []


@pytest.mark.parametrize(("module", "unwanted"), SMALL.items(), ids=SMALL)
def test_a_small_process_stays_small(module: str, unwanted: set[str]) -> None:
    code = f"import sys, {module}\nprint(*sorted(set({sorted(unwanted)}) & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr
