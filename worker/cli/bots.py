"""The command about one bot: show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
import msgspec
import sqlalchemy as sa
from rich.padding import Padding
from rich.tree import Tree

from worker.cli.arguments import TEXT
from worker.cli.executions import as_fields as execution_fields
from worker.cli.executions import print_executions
from worker.cli.lookup import existing_bot
from worker.cli.printing import Console, Table, Text, console, print_json
from worker.cli.session import configure_logging, opened, reading
from worker.cli.terminal import plain, short
from worker.cli.views.nodes import status_text, time_text
from worker.cli.views.parity import Examined, change_text, examine, print_verdict
from worker.cli.views.parity import as_fields as verdict_fields
from worker.core.codes import quote
from worker.core.targets.registry import DEFAULT
from worker.core.workflow import v1
from worker.core.workflow.config import Defaults
from worker.core.workflow.diff import Difference, differences
from worker.db import executions, inspect
from worker.db.executions import Execution, NodeExecution
from worker.db.inspect import BotView, LedgerView
from worker.errors import BotError
from worker.runtime import Runtime

EXECUTIONS_SHOWN = 5
NODES_SHOWN = 10


_BACKUPS = {
    "column": "V1 backed up",
    "table": "V1 backed up in flowshift.backups",
    None: "no backup yet",
}


class Recorded(msgspec.Struct, frozen=True):
    """What is recorded of a bot; `timings` are the nodes of the newest execution, slowest first."""

    history: tuple[LedgerView, ...]
    executions: tuple[Execution, ...]
    timings: tuple[NodeExecution, ...]


@click.command()
@click.argument("bot_id", metavar="BOT", type=TEXT)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
def show(*, bot_id: str, as_json: bool) -> int:
    """Show one bot: what runs did for it, its draft, and whether that does what V1 does.

    The draft is held against the checklist and executed beside V1, now, on the built-in messages;
    no model and no search is asked. Its last executions are listed, with the nodes of the newest.

    The exit code is 1 if the bot failed in the latest run that took it, or its draft differs from
    V1.
    """
    configure_logging()
    with opened(needs_redis=False) as current, reading(current) as connection:
        view = existing_bot(connection, bot_id)
        recorded = _recorded(connection, bot_id)
        defaults, equipment = current.defaults, current.echo
    examined = examine(view, defaults, equipment)
    if as_json:
        print_json(_as_json(view, recorded, _changes(view, defaults), examined))
    else:
        _print(console(), view, recorded, _changes(view, defaults), examined)
    failed = bool(recorded.history) and recorded.history[0].outcome == "failed"
    differs = examined is not None and examined.verdict.same is False
    return 1 if failed or differs else 0


def print_bot(out: Console, connection: sa.Connection, bot_id: str, current: Runtime) -> None:
    """Print a bot that exists as `show` does."""
    view = inspect.bot(connection, bot_id)
    if view is not None:
        recorded = _recorded(connection, bot_id)
        examined = examine(view, current.defaults, current.echo)
        _print(out, view, recorded, _changes(view, current.defaults), examined)


def _recorded(connection: sa.Connection, bot_id: str) -> Recorded:
    last = executions.of_bot(connection, bot_id, EXECUTIONS_SHOWN)
    newest = last[0].execution_id if last else None
    timed = [] if newest is None else executions.nodes(connection, newest, with_values=False)
    return Recorded(
        tuple(inspect.history(connection, bot_id)),
        tuple(last),
        tuple(executions.slowest_first(timed)),
    )


def _changes(view: BotView, defaults: Defaults) -> list[Difference]:
    """How the draft differs from V1; empty where there is nothing to compare."""
    if view.workflow is None or view.graph is None:
        return []
    try:
        renamed = DEFAULT.new_ids(v1.decode(view.workflow.encode(), defaults).nodes)
        workflow, graph = msgspec.json.decode(view.workflow), msgspec.json.decode(view.graph)
    except (BotError, msgspec.DecodeError, RecursionError):
        return []
    if not isinstance(workflow, dict) or not isinstance(graph, dict):
        return []
    return differences(workflow, graph, renamed)


def _as_json(
    view: BotView, recorded: Recorded, changes: list[Difference], examined: Examined | None
) -> dict[str, Any]:
    values = msgspec.structs.asdict(view)
    for key in ("workflow", "graph", "environment", "conversation"):
        values[key] = None if values[key] is None else msgspec.Raw(values[key])
    return {
        **values,
        "has_backup": view.has_backup,
        "history": recorded.history,
        "changes": changes,
        **verdict_fields(examined),
        "executions": [execution_fields(one) for one in recorded.executions],
        "slowest_nodes": [_timing_fields(node) for node in recorded.timings],
    }


def _timing_fields(node: NodeExecution) -> dict[str, Any]:
    return {
        name: getattr(node, name)
        for name in ("node_id", "type", "order", "status", "elapsed_us", "tokens")
    }


def _print(
    out: Console,
    view: BotView,
    recorded: Recorded,
    changes: list[Difference],
    examined: Examined | None,
) -> None:
    state = _runs(view)
    backup = _BACKUPS[view.backup]
    out.print(Text(f"{view.bot_id}  {view.name or ''}", "bold"), Text(f"  {state}, {backup}"))
    _print_history(out, recorded.history)
    if view.workflow is not None:
        out.print(_v1_tree(view.workflow))
    if view.graph is not None:
        out.print(_v2_tree(view.graph))
        if not view.has_draft:
            out.print("the draft has no nodes: nothing to examine")
    else:
        out.print("no draft")
    if changes:
        out.line()
        out.print(Text("what changed from V1", "bold"))
        for change in changes:
            out.print(Text("  ").append_text(change_text(change)))
    if examined is not None:
        print_verdict(out, view, examined)
    _print_executions(out, recorded)


def _runs(view: BotView) -> str:
    if not view.uses_v2:
        return "runs V1"
    if not view.is_published:
        return "flagged V2 without a published version (it cannot answer)"
    return "runs V2"


def _print_executions(out: Console, recorded: Recorded) -> None:
    if not recorded.executions:
        out.print("\nno executions recorded")
        return
    out.line()
    out.print(Text("last executions", "bold"))
    print_executions(out, recorded.executions, with_bot=False)
    if recorded.timings:
        out.line()
        out.print(Text("nodes of the newest, slowest first", "bold"))
        out.print(_timings_table(recorded.timings))
    newest = str(recorded.executions[0].execution_id)
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
            Text(time_text(node.elapsed_us)),
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
    for entry in history[:5]:
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
    marks = ("dry run" if entry.dry_run else "", "validation" if entry.kind == "validate" else "")
    said = ", ".join(filter(None, marks))
    return f" ({said})" if said else ""


def _v1_tree(workflow: str) -> Tree:
    tree = Tree(Text("V1", "bold"))
    value = _decode(workflow)
    for node in _items(value, "nodes"):
        branch = tree.add(_node_text(node))
        for target in _targets(value, node):
            branch.add(Text(f"→ {target}", "dim"))
    return tree


def _v2_tree(graph: str) -> Tree:
    tree = Tree(Text("V2 draft", "bold"))
    value = _decode(graph)
    for node in _items(value, "nodes"):
        branch = tree.add(_node_text(node))
        mappings = node.get("variable_mappings")
        for port, mapping in mappings.items() if isinstance(mappings, dict) else ():
            variable = mapping.get("variable") if isinstance(mapping, dict) else mapping
            branch.add(Text(f"{port} ← {short(variable)}"))
        for target in _targets(value, node):
            branch.add(Text(f"→ {target}", "dim"))
    return tree


def _node_text(node: dict[str, Any]) -> Text:
    data = node.get("data")
    data = data if isinstance(data, dict) else {}
    shown = {
        key: data[key] for key in ("model", "provider", "document_ids", "top_k") if key in data
    }
    details = "  ".join(f"{key}={short(value)}" for key, value in shown.items())
    return Text(f"{plain(node.get('id'))}  ", "bold").append(
        f"{plain(node.get('type'))}  {details}", "not bold"
    )


def _targets(graph: Any, node: dict[str, Any]) -> list[str]:
    found = [
        plain(edge.get("target"))
        for edge in _items(graph, "edges")
        if edge.get("source") == node.get("id")
    ]
    return list(dict.fromkeys(found))


def _items(value: Any, key: str) -> list[dict[str, Any]]:
    items = value.get(key) if isinstance(value, dict) else None
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _decode(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
