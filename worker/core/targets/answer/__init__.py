"""The target `answer`: the platform's last version, whose drafts answer through an answer node."""

from __future__ import annotations

from typing import Final

from worker.core.engine.registry import register
from worker.core.engine.rules import Rules
from worker.core.targets.answer.filling import mappings
from worker.core.targets.answer.nodes import NODE_TYPES
from worker.core.targets.answer.ports import ANSWER_TYPE, ASSIGNER, IF_ELSE
from worker.core.targets.answer.validation import answer, reading, refuse, rule
from worker.core.targets.answer.writer import WRITER
from worker.core.targets.target import AS_THE_PLATFORM, KnownDifference, Target

# No message holds a NUL: V1 does not change what is marked, and the mark is removed again.
_MARKED: Final = "{\0context}"
CONTEXT_KEPT: Final = KnownDifference(
    "context_in_message",
    lambda prompt: prompt.replace(_MARKED, "{context}"),
    "V1 replaces {context} in a message that holds it; this platform leaves the message as it is",
    asked=lambda message: message.replace("{context}", _MARKED),
)

ANSWER: Final = Target(
    name="answer",
    title="the platform's last version, with answer nodes",
    writer=WRITER,
    rules=Rules(register({}, *NODE_TYPES), refuse, mappings, answer),
    recording=AS_THE_PLATFORM,
    rule=rule,
    reading=reading,
    differences=(CONTEXT_KEPT,),
    types=frozenset({ANSWER_TYPE}),
    adds=(ANSWER_TYPE, ASSIGNER, IF_ELSE),
    columns=(
        "bot_workflow_versions.is_in_library",
        "bot_workflow_versions.library_*",
        "bot_workflow_versions.port_definitions",
        "bot_workflow_versions.api_endpoint_alias",
        "bot_workflow_versions.api_default_response_mode",
        "workflow_execution_runs.api_request_id",
    ),
    shared_columns=(
        "bot_workflow_versions.node_count",
        "bot_workflow_versions.edge_count",
        "bot_workflow_versions.input_schema",
        "bot_workflow_versions.output_schema",
        "workflow_execution_runs.api_key_id",
    ),
    serves_drafts=True,
)
