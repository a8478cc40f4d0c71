"""What `show` prints of a bot: what runs did for it, its workflow, its draft, its executions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from rich.padding import Padding

from worker.cli.printing import Console, Table, Text
from worker.cli.views.executions import execution_fields, print_executions
from worker.cli.views.graph import v1_tree, v2_tree
from worker.cli.views.nodes import status_text
from worker.cli.views.parity import change_text, print_verdict, verdict_fields
from worker.cli.views.standing import print_standing, standing_fields
from worker.core.codes import quote
from worker.core.publication.answering import answers_text
from worker.core.shown import plain
from worker.core.units import milliseconds
from worker.db.executions import NodeExecution
from worker.db.inspect import LedgerView
from worker.steps.batch.kinds import KINDS
from worker.steps.examine import Examination

NODES_SHOWN: Final = 10
RUNS_SHOWN: Final = 5

_BACKUPS: Final = {
    "column": "V1 backed up",
    "table": "V1 backed up in flowshift.backups",
    None: "no backup yet",
}
_FINISHED: Final = "V1 cleared by flowshift finish, kept in flowshift.finished_bots"


def bot_fields(found: Examination) -> dict[str, Any]:
    """A bot as JSON."""
    values = msgspec.structs.asdict(found.view)
    for key in ("workflow", "graph", "environment", "conversation"):
        values[key] = None if values[key] is None else msgspec.Raw(values[key])
    return {
        **values,
        "has_backup": found.view.has_backup,
        "history": found.history,
        **standing_fields(found.standing),
        "changes": found.changes,
        "target": found.target,
        "draft_target": None if found.examined is None else found.examined.target,
        **verdict_fields(found.examined),
        "executions": [execution_fields(one) for one in found.executions],
        "slowest_nodes": [_timing_fields(node) for node in found.timings],
    }


def _timing_fields(node: NodeExecution) -> dict[str, Any]:
    return {
        name: getattr(node, name)
        for name in ("node_id", "type", "order", "status", "elapsed_us", "tokens")
    }


def print_bot(out: Console, found: Examination) -> None:
    """Print a bot for a person."""
    view = found.view
    state = answers_text(found.standing.answers, uses_v2=view.uses_v2)
    backup = _BACKUPS[view.backup]
    if view.is_finished:
        backup = _FINISHED if view.workflow is None else f"{backup}; {_FINISHED}"
    out.print(Text(f"{view.bot_id}  {view.name or ''}", "bold"), Text(f"  {state}, {backup}"))
    print_standing(out, found.standing)
    _print_history(out, found.history)
    if view.workflow is not None:
        out.print(v1_tree(view.workflow))
    if view.graph is not None:
        out.print(v2_tree(view.graph))
        if not view.has_draft:
            out.print("the draft has no nodes: nothing to examine")
    else:
        out.print("no draft")
    if found.changes:
        out.line()
        out.print(Text("what changed from V1", "bold"))
        for change in found.changes:
            out.print(Text("  ").append_text(change_text(change)))
    if found.examined is not None:
        print_verdict(out, view, found.examined, found.target.target)
    _print_executions(out, found)


def _print_executions(out: Console, found: Examination) -> None:
    if not found.executions:
        out.print("\nno executions recorded")
        return
    out.line()
    out.print(Text("last executions", "bold"))
    print_executions(out, found.executions, with_bot=False)
    if found.timings:
        out.line()
        out.print(Text("nodes of the newest, slowest first", "bold"))
        out.print(_timings_table(found.timings))
    newest = str(found.executions[0].execution_id)
    out.print(Text(f"In detail: flowshift executions show {newest}"))


def _timings_table(timings: Sequence[NodeExecution]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("time", "tokens"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("node", overflow="fold")
    table.add_column("type", overflow="fold")
    for node in timings[:NODES_SHOWN]:
        table.add_row(
            Text(milliseconds(node.elapsed_us)),
            Text(f"{node.tokens or 0:,}"),
            status_text(node.status, 9),
            Text(plain(node.node_id)),
            Text(plain(node.type)),
        )
    if (more := len(timings) - NODES_SHOWN) > 0:
        table.add_row("", "", "", f"… and {more:,} more")
    return table


def _print_history(out: Console, history: Sequence[LedgerView]) -> None:
    if not history:
        out.print("no run has taken this bot yet")
        return
    for entry in history[:RUNS_SHOWN]:
        why = f" {entry.code}" if entry.code else ""
        said = f": {entry.message}" if entry.message else ""
        out.print(
            Text(
                f"run {entry.run_id}{_kind_text(entry)}  {entry.recorded_at:%Y-%m-%d %H:%M:%S} UTC  "
            ),
            Text(f"{entry.outcome}{why}", "red" if entry.outcome == "failed" else "green"),
            Text(said),
            sep="",
        )
    for warning in history[0].warnings:
        at = f" {quote(warning.node)}" if warning.node is not None else ""
        out.print(Text(f"  warning {warning.code}{at}: {warning.message}", "yellow"))
    if history[0].traceback:
        lines = Text(history[0].traceback.rstrip(), "dim", keep_lines=True)
        out.print(Padding(lines, (0, 0, 0, 2)))  # none of its lines looks like one of ours


def _kind_text(entry: LedgerView) -> str:
    marks = ("dry run" if entry.dry_run else "", KINDS[entry.kind].mark if entry.kind else "")
    said = ", ".join(filter(None, marks))
    return f" ({said})" if said else ""
