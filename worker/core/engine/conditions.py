"""The node type if-else: the first case whose conditions hold decides which way it goes."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import msgspec

from worker.core.engine.nodes import as_text
from worker.core.workflow.calls import Providers
from worker.core.workflow.node_types import Inputs, Node
from worker.core.workflow.v2 import Port, Ports

TRUE: Final = "true"
ELSE: Final = "false"

TextOperator = Literal["is", "is not", "contains", "not contains", "empty", "not empty"]
NumberOperator = Literal["=", "≠", "<", ">", "≤", "≥", "==", "!=", "<=", ">="]

_NUMBER_TESTS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "=": operator.eq,
    "≠": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "≤": operator.le,
    "≥": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
}


class Condition(msgspec.Struct, frozen=True):
    """A test of one input port; `value` is compared as a text, or as a number by = ≠ < > ≤ ≥.

    (Also spelled == != <= >=.) An input without a value is empty. One that is no number passes no
    test of numbers, ≠ included.
    """

    input: str
    operator: TextOperator | NumberOperator
    value: str | int | float | bool = ""

    def __post_init__(self) -> None:
        if self.operator in _NUMBER_TESTS and number(self.value) is None:
            raise ValueError(f"{self.operator} needs a number to compare with")


class Case(msgspec.Struct, frozen=True):
    """Conditions of which all (`and`) or any (`or`) must hold; without one it never does."""

    id: str
    conditions: tuple[Condition, ...]
    logical_operator: Literal["and", "or"] = "and"


class IfElseData(msgspec.Struct, frozen=True):
    """`cases` in order, or the conditions of one case, whose output is then `true`."""

    cases: tuple[Case, ...] = ()
    conditions: tuple[Condition, ...] = ()
    logical_operator: Literal["and", "or"] = "and"

    def __post_init__(self) -> None:
        if bool(self.cases) == bool(self.conditions):
            raise ValueError("it needs cases or conditions, not both")


class IfElse(Node[IfElseData]):
    """Gives one output: the id of the case that holds (`true` for plain conditions), else `false`."""

    type = "if-else"
    ports = Ports(outputs=(Port(TRUE, "boolean"), Port(ELSE, "boolean")))
    data_type = IfElseData
    branches = True

    def run(self, inputs: Inputs, data: IfElseData, providers: Providers) -> dict[str, Any]:
        cases = data.cases or (Case(TRUE, data.conditions, data.logical_operator),)
        return {next((case.id for case in cases if case_holds(case, inputs)), ELSE): True}


def case_holds(case: Case, inputs: Mapping[str, Any]) -> bool:
    """Whether the conditions of a case hold together."""
    together = all if case.logical_operator == "and" else any
    return bool(case.conditions) and together(
        holds(condition, inputs.get(condition.input)) for condition in case.conditions
    )


def holds(condition: Condition, value: object) -> bool:
    """Whether one condition holds of an input's value.

    >>> holds(Condition("query", "contains", "환불"), "환불해 주세요")
    True
    >>> holds(Condition("score", "≥", 3), "3.0"), holds(Condition("score", "≠", 3), "three")
    (True, False)
    """
    if test := _NUMBER_TESTS.get(condition.operator):
        left, right = number(value), number(condition.value)
        return left is not None and right is not None and test(left, right)
    negated = condition.operator.startswith("not ") or condition.operator == "is not"
    return negated != _text_test(condition.operator.removeprefix("not "), value, condition.value)


def _text_test(name: str, value: object, wanted: object) -> bool:
    if name == "empty":
        return value is None or value in ("", [], {}, ())
    if name == "contains":
        if isinstance(value, list | tuple):
            return any(as_text(item) == as_text(wanted) for item in value)
        return as_text(wanted) in as_text(value)
    return as_text(value) == as_text(wanted)


def number(value: object) -> float | None:
    """The finite number that a number or a text holds, None if it holds none.

    >>> number(" 2.50 "), number(True), number("nan"), number("")
    (2.5, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None
