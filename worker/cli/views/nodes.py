"""An execution node by node, as `executions show` and `test` print it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from rich.padding import Padding

from worker.cli.printing import Console, Table, Text
from worker.core.codes import quote
from worker.core.shown import fields, plain, short, whole_lines
from worker.core.units import milliseconds
from worker.core.workflow.calls import NodeRecord, Trace
from worker.db.executions import NodeExecution

# A node that succeeded is `completed` in the platform's tables; a run there, and a trial, `succeeded`.
STATUS_COLOURS: Final[Mapping[str, str]] = {
    "succeeded": "green",
    "completed": "green",
    "failed": "red",
    "running": "yellow",
    "skipped": "dim",
}
VALUE_CUT: Final = 300

_NUMBER: Final = re.compile(r"[0-9]{1,18}")


class ShownNode(msgspec.Struct, frozen=True):
    """What is shown of a node; `cut` says of a field what was cut when it was recorded."""

    order: int
    node_id: str
    type: str
    status: str
    error: str | None
    elapsed_us: int | None
    tokens: int | None
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    cut: Mapping[str, str] = {}
    is_cut: bool = False


def recorded(node: NodeExecution) -> ShownNode:
    """A node of a recorded execution."""
    return ShownNode(
        node.order,
        node.node_id,
        node.type,
        node.status,
        node.error,
        node.elapsed_us,
        node.tokens,
        fields(node.inputs),
        fields(node.outputs),
        fields(node.truncated),
        node.is_truncated,
    )


def executed(node: NodeRecord) -> ShownNode:
    """A node of an execution that has just run."""
    return ShownNode(
        node.order,
        node.node_id,
        node.type,
        node.status,
        node.error,
        node.elapsed_us,
        node.tokens,
        node.inputs,
        node.outputs,
    )


def trace_time(trace: Trace) -> str:
    """How long an execution took; none if it never began."""
    began = trace.error is None or trace.elapsed_us > 0
    return milliseconds(trace.elapsed_us if began else None)


def status_text(status: str, width: int = 20) -> Text:
    """A status in its colour."""
    return Text(plain(status, width), STATUS_COLOURS.get(status, ""))


def print_nodes(out: Console, nodes: Sequence[ShownNode], *, full: bool) -> None:
    """Print nodes in the order given: a line for each, its inputs and outputs below."""
    for node in nodes:
        line = Text(f"{node.order:>3}  ").append(plain(node.node_id), "bold")
        line.append(f"  {plain(node.type)}  ").append_text(status_text(node.status))
        if node.status != "skipped":
            line.append(f"  {milliseconds(node.elapsed_us)}")
        if node.tokens:
            line.append(f"  {node.tokens:,} tokens")
        out.print(line)
        values = Table.grid(padding=(0, 1))
        for _ in range(2):
            values.add_column(no_wrap=True)
        values.add_column(overflow="fold")
        for row in _rows(node, full=full):
            values.add_row(*row)
        if values.row_count:
            out.print(Padding(values, (0, 0, 0, 5)))


def _rows(node: ShownNode, *, full: bool) -> Iterator[tuple[Text, Text, Text]]:
    for sign, side, values in (("←", "inputs", node.inputs), ("→", "outputs", node.outputs)):
        for name, value in values.items():
            cut = node.cut.get(f"{side}.{name}")
            yield (
                Text(sign, "dim"),
                Text(plain(name, 24), "cyan"),
                value_text(value, full=full).append(_cut_text(cut), "yellow"),
            )
    if node.is_cut and not any(key.partition(".")[0] in ("inputs", "outputs") for key in node.cut):
        yield Text("!", "yellow"), Text("cut", "yellow"), Text("when it was recorded", "yellow")
    if node.error:
        yield Text("!", "red"), Text("error", "red"), value_text(node.error, full=full)


def value_text(value: Any, *, full: bool) -> Text:
    """A value for a terminal, cut or whole; blank text is shown in quotes."""
    if isinstance(value, str) and not value.strip():
        return Text(quote(value, VALUE_CUT), "dim")
    if full:
        return Text(whole_lines(value), keep_lines=True)
    return Text(short(value, VALUE_CUT))


def _cut_text(original_bytes: str | None) -> str:
    """How much there was; the platform may have written anything there."""
    if original_bytes is None:
        return ""
    size = f": {int(original_bytes):,} bytes" if _NUMBER.fullmatch(original_bytes) else ""
    return f"  (cut when it was recorded{size})"
