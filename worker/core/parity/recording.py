"""An execution as the rows that the target's platform keeps of one (design section 1).

Values are JSON, ready to be stored: nothing in them that jsonb refuses, no field beyond a size.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from worker.core.parity.trial import Executed
from worker.core.targets.target import Recording
from worker.core.workflow.calls import NodeRecord

MAX_FIELD_BYTES: Final = 16 * 1024
"""A field of inputs or outputs that is longer as JSON is cut, and the node marked `is_truncated`."""

SESSION_PREFIX: Final = "flowshift:"
"""What the session ids of flowshift's own executions begin with; real traffic has others."""

SESSION_OF_TEST: Final = f"{SESSION_PREFIX}test"
"""The session of a draft that a person tries out; nothing of it is recorded."""

_OF_RUN: Final = re.compile(r"flowshift:run-([0-9]+):message-([0-9]+)")
_MAX_ID: Final = 255
_MAX_TYPE: Final = 50
_CUT: Final = "…"

_encode = msgspec.json.Encoder().encode


class NodeRow(msgspec.Struct, frozen=True):
    """A row of `workflow_node_executions`; `since_us` counts from the execution's beginning.

    `truncated` has the size in bytes that each cut field had, by its path (`outputs.response`).
    """

    node_id: str
    node_type: str
    order: int
    inputs: bytes
    outputs: bytes
    status: str
    error: str | None
    since_us: int
    elapsed_us: int
    tokens: int
    truncated: bytes | None


class ExecutionRow(msgspec.Struct, frozen=True):
    """A row of `workflow_execution_runs`, with its nodes in order; `began` is the clock's reading."""

    bot_id: str
    number: int
    session_id: str
    inputs: bytes
    outputs: bytes | None
    status: str
    error: str | None
    began: float
    elapsed_us: int
    tokens: int
    steps: int
    nodes: tuple[NodeRow, ...]


def session_id(run_id: int, number: int) -> str:
    """What tells an execution of ours from real traffic: run 12's of the third message.

    >>> session_id(12, 3)
    'flowshift:run-12:message-3'
    """
    return f"{SESSION_PREFIX}run-{run_id}:message-{number}"


def run_and_message(session_id: str | None) -> tuple[int, int] | None:
    """The run and the number of the message of a session id; None for real traffic.

    >>> run_and_message("flowshift:run-12:message-3"), run_and_message("s-17")
    ((12, 3), None)
    """
    found = _OF_RUN.fullmatch(session_id or "")
    return None if found is None else (int(found[1]), int(found[2]))


def as_row(bot_id: str, executed: Executed, recording: Recording) -> ExecutionRow:
    """The rows of one execution, in the names and values by which a target's platform records it.

    The status of the run is `succeeded` or `failed` on every platform.
    """
    trace = executed.trace
    answer = {} if trace.answer is None else {recording.answer: trace.answer}
    since_us = 0
    nodes = []
    for record in trace.nodes:
        if record.since_us is not None:
            since_us = record.since_us
        nodes.append(_node(record, since_us, recording))
        since_us += record.elapsed_us
    return ExecutionRow(
        bot_id=bot_id,
        number=executed.number,
        session_id=executed.session_id,
        inputs=_fields({recording.message: executed.message}, "inputs")[0],
        outputs=_fields(answer, "outputs")[0] if answer else None,
        status="succeeded" if trace.error is None else "failed",
        error=trace.error and storable(trace.error),
        began=executed.began,
        elapsed_us=trace.elapsed_us,
        tokens=trace.tokens,
        steps=sum(record.status != "skipped" for record in trace.nodes),
        nodes=tuple(nodes),
    )


def _node(record: NodeRecord, since_us: int, recording: Recording) -> NodeRow:
    inputs, cut_inputs = _fields(record.inputs, "inputs")
    outputs, cut_outputs = _fields(record.outputs, "outputs")
    cut = cut_inputs | cut_outputs
    if len(record.node_id) > _MAX_ID:
        cut["node_id"] = len(record.node_id.encode())
    return NodeRow(
        node_id=record.node_id[:_MAX_ID],
        node_type=record.type[:_MAX_TYPE],
        order=record.order,
        inputs=inputs,
        outputs=outputs,
        status=recording.node_status[record.status],
        error=record.error and storable(record.error),
        since_us=since_us,
        elapsed_us=record.elapsed_us,
        tokens=record.tokens,
        truncated=_encode(cut) if cut else None,
    )


def _fields(values: Mapping[str, Any], path: str) -> tuple[bytes, dict[str, int]]:
    """Values as JSON, and the sizes of those that were cut."""
    try:
        encoded = _encode(values)
    except UnicodeEncodeError:  # half of a surrogate pair, in what a provider answered
        encoded = b"\\u0000"
    if len(encoded) <= MAX_FIELD_BYTES and b"\\u0000" not in encoded:
        return encoded, {}
    kept, cut = {}, {}
    for name, value in values.items():
        clean = _cleaned(value)
        size = len(_encode(clean))
        if size > MAX_FIELD_BYTES:
            cut[f"{path}.{name}"] = size
            clean = _shortened(clean)
        kept[name] = clean
    return _encode(kept), cut


def _cleaned(value: Any) -> Any:
    """A value whose texts jsonb can hold."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, Mapping):
        return {storable(str(key)): _cleaned(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(item) for item in value]
    return value


def _shortened(value: Any) -> str:
    """The beginning of a text, or of a value's JSON, that fits."""
    text = value if isinstance(value, str) else _encode(value).decode()
    kept = text[:MAX_FIELD_BYTES]
    while len(_encode(kept)) > MAX_FIELD_BYTES - 8:
        kept = kept[: len(kept) * (MAX_FIELD_BYTES - 8) // len(_encode(kept)) - 1]
    return kept + _CUT


def storable(text: str) -> str:
    """Text without what PostgreSQL cannot store: messages quote untrusted text.

    >>> storable("a\\x00b")
    'a\\\\x00b'
    """
    if text.isascii() and "\x00" not in text:
        return text
    return text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode()
