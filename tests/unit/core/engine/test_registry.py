"""Which node types there are."""

from __future__ import annotations

import pytest

from tests.graphs import BUILT_IN
from worker.core.engine.registry import register
from worker.core.targets.guide.nodes import Llm


class Other(Llm):
    type = "other"


class Loop(Llm):
    type = "loop"


def test_the_types_of_the_design_and_if_else_are_built_in() -> None:
    assert set(BUILT_IN) == {
        "start", "knowledge-retrieval", "llm", "text-join", "if-else", "end",
    }  # fmt: skip


def test_registering_makes_another_registry() -> None:
    more = register(BUILT_IN, Other())

    assert set(more) - set(BUILT_IN) == {"other"}


def test_a_type_is_registered_once() -> None:
    with pytest.raises(ValueError, match="'llm' is registered already"):
        register(BUILT_IN, Llm())


def test_a_loop_cannot_be_registered() -> None:
    with pytest.raises(ValueError, match="loops are not executed"):
        register(BUILT_IN, Loop())
