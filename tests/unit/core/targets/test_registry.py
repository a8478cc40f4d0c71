"""Which targets there are, and that a further one is one module and one line."""

from __future__ import annotations

import msgspec
import pytest

from tests.builders import DEFAULTS, a_workflow, as_text
from worker.core.codes import Issue
from worker.core.targets.convert import convert_text
from worker.core.targets.guide import GUIDE
from worker.core.targets.registry import DEFAULT, TARGETS
from worker.core.targets.target import by_name
from worker.core.workflow.v2 import Graph
from worker.errors import BotError


def test_every_target_is_found_by_its_name() -> None:
    assert all(target.name == name for name, target in TARGETS.items())
    assert DEFAULT is TARGETS["guide"]


def test_two_targets_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two targets are called guide"):
        by_name((GUIDE, GUIDE))


def test_the_checklist_asks_the_target() -> None:
    def wants_more(graph: Graph) -> list[Issue]:
        return [Issue("target", graph.nodes[0].id, "it has no hat")]

    other = msgspec.structs.replace(GUIDE, name="other", rule=wants_more)
    graph = convert_text(as_text(a_workflow()), DEFAULTS).graph

    assert other.check(graph) == [Issue("target", "start", "it has no hat")]
    *_, sound = other.checklist(graph)
    assert (sound.yes, sound.issues) == (False, (Issue("target", "start", "it has no hat"),))
    with pytest.raises(BotError, match="start: it has no hat"):
        convert_text(as_text(a_workflow()), DEFAULTS, other)
