"""The branch of the engine `answer`: the first case that holds is the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from worker.core.targets.answer.ports import IF_ELSE
from worker.core.targets.answer.selectors import outputs_named, value_named
from worker.core.workflow.calls import Providers
from worker.core.workflow.node_types import Inputs, Node
from worker.core.workflow.v2 import Port, Ports


class Condition(msgspec.Struct, frozen=True):
    """A test of what a selector names."""

    variable_selector: str
    comparison_operator: str
    value: Any = None
    var_type: str = msgspec.field(default="string", name="varType")


class Case(msgspec.Struct, frozen=True):
    """Tests of which all (`and`) or any (`or`) must hold; without a test it holds."""

    conditions: tuple[Condition, ...] = ()
    logical_operator: str = "and"


class IfElseData(msgspec.Struct, frozen=True):
    """The ways, in order: the first that holds is taken."""

    cases: tuple[Case, ...] = ()


class IfElse(Node[IfElseData]):
    """Takes the way of the first case that holds: `if`, `elif_1`, `elif_2` …, else `else`."""

    type = IF_ELSE
    ports = Ports(outputs=(Port("if", "boolean"), Port("else", "boolean")))
    data_type = IfElseData
    branches = True

    def variables(self, data: IfElseData) -> tuple[str, ...]:
        tests = [test for case in data.cases for test in case.conditions]
        return outputs_named([test.variable_selector for test in tests])

    def run(self, inputs: Inputs, data: IfElseData, providers: Providers) -> dict[str, Any]:
        ways = ["if", *(f"elif_{number}" for number in range(1, len(data.cases)))]
        held = (way for way, case in zip(ways, data.cases, strict=False) if _holds(case, inputs))
        taken = next(held, "else")
        return {way: way == taken for way in [*ways[: len(data.cases)], "else"]}

    def follows(self, outputs: Mapping[str, Any], port: str) -> bool:
        return outputs.get(port) is True


def _holds(case: Case, inputs: Inputs) -> bool:
    tests = [_passes(test, value_named(inputs, test.variable_selector)) for test in case.conditions]
    return any(tests) if tests and case.logical_operator.lower() == "or" else all(tests)


def _passes(test: Condition, value: Any) -> bool:
    name = test.comparison_operator.lower()
    if name in ("empty", "not empty"):
        is_empty = value is None or (isinstance(value, str | list | dict) and not value)
        return is_empty == (name == "empty")
    if test.var_type.lower() != "string" or name not in ("is", "is not", "=", "≠", "contains"):
        raise ValueError(f"tests of {test.var_type} by {name} are not executed here")
    one, other = ("" if text is None else str(text) for text in (value, test.value))
    if name == "contains":
        return other.lower() in one.lower()
    return (one == other) == (name in ("is", "="))
