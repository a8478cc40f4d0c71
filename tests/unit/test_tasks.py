"""Tasks are thin: ids in, one step."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TASKS = Path(__file__).parents[2] / "tasks"


def task_functions() -> Iterator[ast.FunctionDef]:
    """Every function that is a Celery task."""
    for path in sorted(TASKS.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and (node.name == "do_batch" or _is_task(node)):
                yield node


def _is_task(node: ast.FunctionDef) -> bool:
    return any(ast.unparse(one).startswith("app.task(") for one in node.decorator_list)


def test_every_task_has_fewer_than_ten_lines_after_its_docstring() -> None:
    lines = {}
    for function in task_functions():
        first, *rest = function.body
        assert isinstance(first, ast.Expr), f"{function.name} has no docstring"
        lines[function.name] = (function.end_lineno or 0) - rest[0].lineno + 1
    assert len(lines) >= 8
    assert {name: count for name, count in lines.items() if count >= 10} == {}
