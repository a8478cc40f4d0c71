"""The target `guide`: the engine of the platform guide's day.

Its node types are start, knowledge-retrieval, llm and end, and flowshift's own text-join, which the
platform has to register.
"""

from __future__ import annotations

from typing import Final

from worker.core.engine.conditions import IfElse
from worker.core.engine.nodes import End, KnowledgeRetrieval, Start
from worker.core.engine.registry import register
from worker.core.engine.rules import Rules
from worker.core.targets.guide.nodes import Llm, TextJoin
from worker.core.targets.guide.ports import TEXT_JOIN
from worker.core.targets.guide.rendering import REMOVED, TRIMMED
from worker.core.targets.guide.writer import WRITER
from worker.core.targets.target import AS_THE_PLATFORM, Target
from worker.core.workflow.v2 import DrawnGraph


def refuse(graph: DrawnGraph) -> str | None:
    """Why this engine does not run a graph; None if it does."""
    starts = sum(node.type == "start" for node in graph.nodes)
    return None if starts == 1 else f"{starts} start nodes; exactly one is needed"


GUIDE: Final = Target(
    name="guide",
    title="the engine of the platform guide's day",
    writer=WRITER,
    rules=Rules(
        register({}, Start(), KnowledgeRetrieval(), Llm(), TextJoin(), IfElse(), End()),
        refuse=refuse,
    ),
    recording=AS_THE_PLATFORM,
    differences=(REMOVED, TRIMMED),
    types=frozenset({TEXT_JOIN}),
    adds=(TEXT_JOIN,),
)
