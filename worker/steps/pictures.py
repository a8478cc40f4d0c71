"""A bot's V1 and draft as what is to be drawn: their nodes, and what the conversion did, to be marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from worker.core.codes import ConversionWarning
from worker.core.drawing import graph
from worker.core.drawing.graph import Graph
from worker.core.drawing.marks import NOTHING, Marks, of_both
from worker.core.targets.target import Target
from worker.core.workflow import v1
from worker.core.workflow.config import Defaults
from worker.core.workflow.json_values import NodeId
from worker.errors import BotError


class Pictured(msgspec.Struct, frozen=True):
    """A workflow and what to mark in it; `graph` is None where there is nothing that can be drawn.

    `version` is what the platform calls it, empty for V1.
    """

    graph: Graph | None
    version: str = ""
    marks: Marks = NOTHING


def pictures_of(
    workflow: str | None,
    v2: str | None,
    version: str,
    defaults: Defaults,
    target: Target,
    warnings: Sequence[ConversionWarning],
) -> tuple[Pictured, Pictured]:
    """V1 and a graph of V2 (JSON texts), each as far as it can be read; nothing is marked without both."""
    before, after = graph.read(workflow), graph.read(v2)
    if before is None or after is None:
        return Pictured(before), Pictured(after, version)
    new_ids = _new_ids(workflow or "", defaults, target)
    marks = of_both(_decoded(workflow), _decoded(v2), new_ids, warnings)
    return Pictured(before, "", marks[0]), Pictured(after, version, marks[1])


def _new_ids(workflow: str, defaults: Defaults, target: Target) -> dict[NodeId, str]:
    try:
        return target.new_ids(v1.decode(workflow.encode(), defaults).nodes)
    except BotError:
        return {}


def _decoded(text: str | None) -> Mapping[str, Any]:
    """JSON that `graph.read` could read, so it is an object."""
    found: Mapping[str, Any] = msgspec.json.decode(text or "{}")
    return found
