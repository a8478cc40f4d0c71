"""A command parses, calls one step and shows: it reads nothing from the database itself."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import worker.cli

CLI = Path(worker.cli.__file__).parent
MODULES = sorted(CLI.rglob("*.py"))


def names_of_db(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """What a module imports of `worker.db`: the module, and the name in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("worker.db"):
            yield from ((node.module or "", one.name) for one in node.names)
        elif isinstance(node, ast.Import):
            yield from ((one.name, "") for one in node.names if one.name.startswith("worker.db"))


def queries(module: str, name: str) -> bool:
    """Whether a name is a module or a function of `worker.db`: no type, and no constant."""
    found = getattr(import_module(module), name, None) if name else None
    return found is None or inspect.ismodule(found) or inspect.isroutine(found)


def connections(tree: ast.AST) -> Iterator[str]:
    """Where an engine is asked for a connection."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in ("connect", "begin"):
            owner = ast.unparse(node.value)
            if owner.endswith("engine"):
                yield f"{owner}.{node.attr}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(CLI)))
def test_a_command_takes_types_of_the_database_and_asks_it_nothing(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))

    assert [found for found in names_of_db(tree) if queries(*found)] == []
    assert list(connections(tree)) == []


def test_a_query_in_a_command_is_seen() -> None:
    tree = ast.parse(
        "from worker.db import runs\n"
        "from worker.db.heartbeats import processes\n"
        "from worker.db.runs import ECHO, Run\n"
        "import worker.db.control\n"
        "with current.engine.connect() as connection: pass\n"
    )

    assert [name for module, name in names_of_db(tree) if queries(module, name)] == [
        *("runs", "processes", ""),
    ]
    assert list(connections(tree)) == ["current.engine.connect"]
