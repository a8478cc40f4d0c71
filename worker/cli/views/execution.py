"""One recorded execution with its nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from worker.cli.printing import Console, Table, Text
from worker.cli.views.executions import execution_fields, session_text
from worker.cli.views.nodes import print_nodes, recorded, status_text, value_text
from worker.core.shown import fields, plain
from worker.core.units import milliseconds
from worker.db.executions import NodeExecution, Whole


def whole_fields(whole: Whole, nodes: Sequence[NodeExecution]) -> dict[str, Any]:
    """An execution with its nodes as JSON."""
    values = msgspec.structs.asdict(whole)
    values = {**execution_fields(values.pop("execution")), **values}
    return {
        **_with_json(values, "inputs", "outputs"),
        "nodes": [
            _with_json(msgspec.structs.asdict(node), "inputs", "outputs", "truncated")
            for node in nodes
        ],
    }


def _with_json(values: dict[str, Any], *names: str) -> dict[str, Any]:
    """`values` with JSON text as the JSON that it is, digit by digit."""
    texts = {name: values[name] for name in names if values[name] is not None}
    return {**values, **{name: msgspec.Raw(text.encode()) for name, text in texts.items()}}


def print_whole(out: Console, whole: Whole, nodes: Sequence[NodeExecution], *, full: bool) -> None:
    """Print an execution with its nodes, values whole if `full`."""
    one = whole.execution
    title = Text(f"execution {one.execution_id}  ", "bold")
    out.print(title.append_text(status_text(one.status)))
    facts = Table.grid(padding=(0, 2))
    facts.add_column(no_wrap=True, style="dim")
    facts.add_column(overflow="fold")
    for name, value in _facts(whole, full=full):
        facts.add_row(name, value)
    out.print(facts)
    out.print()
    if nodes:
        print_nodes(out, [recorded(node) for node in nodes], full=full)
    else:
        out.print("no nodes were recorded")


def _facts(whole: Whole, *, full: bool) -> list[tuple[str, Text]]:
    one = whole.execution
    version = whole.version or (str(whole.version_id) if whole.version_id else "–")
    elapsed = milliseconds(None if one.elapsed_ms is None else one.elapsed_ms * 1000)
    tokens, steps = ("–" if n is None else f"{n:,}" for n in (one.tokens, one.steps))
    facts = [
        ("bot", Text(plain(one.bot_id))),
        ("version", Text(plain(version))),
        ("session", session_text(one)),
        ("at (UTC)", Text(f"{whole.started_at or one.created_at:%Y-%m-%d %H:%M:%S.%f}"[:-3])),
        ("took", Text(f"{elapsed}, {steps} steps, {tokens} tokens")),
    ]
    for sign, values in (("←", whole.inputs), ("→", whole.outputs)):
        for name, value in fields(values).items():
            facts.append((f"{sign} {plain(name, 24)}", value_text(value, full=full)))
    if one.error:
        facts.append(("error", value_text(one.error, full=full)))
    return facts
