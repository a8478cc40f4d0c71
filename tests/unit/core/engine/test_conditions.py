"""The conditions of if-else."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from worker.core.engine.conditions import Case, Condition, IfElseData, case_holds, holds


@pytest.mark.parametrize(
    ("value", "operator", "wanted", "expected"),
    [
        ("a", "is", "a", True),
        ("a", "is", "A", False),
        ("a", "is not", "b", True),
        ("a", "is not", "a", False),
        (None, "is", "", True),
        ("abc", "contains", "b", True),
        ("abc", "contains", "", True),
        (["a", "b"], "contains", "b", True),
        (["ab"], "contains", "b", False),
        ("abc", "not contains", "b", False),
        (None, "not contains", "b", True),
        ("", "empty", "", True),
        (None, "empty", "", True),
        ([], "empty", "", True),
        (0, "empty", "", False),
        (" ", "empty", "", False),
        ("x", "not empty", "", True),
        ("", "not empty", "", False),
        ("3", "=", 3, True),
        ("3.0", "=", "3", True),
        (" 3 ", "=", 3, True),
        (3, "≠", 3, False),
        (4, "≠", "3", True),
        ("2", "<", 10, True),
        (10, "<", 10, False),
        (10, ">", 9, True),
        (10, "≤", 10, True),
        (11, "≤", 10, False),
        (10, "≥", 10, True),
        (9, "≥", 10, False),
        (3, "==", 3, True),
        (3, "!=", 3, False),
        (3, "<=", 3, True),
        (2, ">=", 3, False),
        ("three", "=", 3, False),
        ("three", "≠", 3, False),
        ("", "<", 3, False),
        (None, "≥", 0, False),
        (True, "=", 1, False),
        ("nan", "≠", 1, False),
        ("9" * 400, ">", 1, False),
    ],
)
def test_an_operator_says(value: Any, operator: Any, wanted: Any, expected: bool) -> None:
    assert holds(Condition("x", operator, wanted), value) is expected


@pytest.mark.parametrize(
    ("a", "b", "together", "either"),
    [("1", "1", True, True), ("1", "0", False, True), ("0", "0", False, False)],
)
def test_and_wants_all_and_or_wants_one(a: str, b: str, together: bool, either: bool) -> None:
    conditions = (Condition("a", "is", "1"), Condition("b", "is", "1"))

    assert case_holds(Case("x", conditions, "and"), {"a": a, "b": b}) is together
    assert case_holds(Case("x", conditions, "or"), {"a": a, "b": b}) is either


def test_a_case_without_conditions_never_holds() -> None:
    assert not case_holds(Case("x", ()), {})


@pytest.mark.parametrize(
    "data",
    [
        b'{"conditions": [{"input": "a", "operator": "<", "value": "many"}]}',
        b'{"conditions": [{"input": "a", "operator": "like", "value": "x"}]}',
        b'{"conditions": []}',
        b"{}",
        b'{"conditions": [{"input": "a", "operator": "empty"}], "cases": [{"id": "x", "conditions": []}]}',
    ],
)
def test_conditions_that_mean_nothing_are_refused(data: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(data, type=IfElseData)
