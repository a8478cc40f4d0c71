"""An execution as rows: the platform's names and values, those of the target that ran it."""

from __future__ import annotations

import msgspec
import pytest

from worker.core.parity.recording import ExecutionRow, as_row
from worker.core.parity.trial import Executed
from worker.core.targets.registry import TARGETS
from worker.core.targets.target import Recording, Target
from worker.core.workflow.calls import NodeRecord, Trace

NODES = (
    NodeRecord("start", "start", 1, "succeeded"),
    NodeRecord("llm", "llm", 2, "failed", error="no answer"),
    NodeRecord("end", "end", 3, "skipped"),
)


def a_row(trace: Trace, recording: Recording) -> ExecutionRow:
    """The rows of an execution on the message `hi`."""
    return as_row("bot-1", Executed(1, "hi", "s-1", 0.0, trace), recording)


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_the_names_and_values_are_the_platforms_on_every_target(target: Target) -> None:
    row = a_row(Trace("hello", (), nodes=NODES), target.recording)

    assert msgspec.json.decode(row.inputs) == {"user_message": "hi"}
    assert msgspec.json.decode(row.outputs or b"") == {"final_response": "hello"}
    assert [node.status for node in row.nodes] == ["completed", "failed", "skipped"]
    assert (row.status, row.steps) == ("succeeded", 2)


def test_an_execution_without_an_answer_has_no_outputs_and_failed() -> None:
    row = a_row(Trace(None, (), "node 'llm' failed", NODES), TARGETS["guide"].recording)

    assert (row.status, row.outputs, row.error) == ("failed", None, "node 'llm' failed")


def test_a_platform_that_records_otherwise_is_a_target_with_other_words() -> None:
    other = Recording("asked", "said", {"succeeded": "ok", "failed": "bad", "skipped": "none"})
    row = a_row(Trace("hello", (), nodes=NODES), other)

    assert (row.inputs, row.outputs) == (b'{"asked":"hi"}', b'{"said":"hello"}')
    assert [node.status for node in row.nodes] == ["ok", "bad", "none"]
