"""The command about one bot: show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
import msgspec
import sqlalchemy as sa
from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from worker.cli import render
from worker.cli.session import configure_logging, opened, reading
from worker.core import v1
from worker.core.codes import quote
from worker.core.config import Defaults
from worker.core.convert import new_ids
from worker.core.diff import Difference, differences
from worker.db import inspect
from worker.db.inspect import BotView, LedgerView
from worker.errors import BotError, UsageError

VALUE_WIDTH = 70


@click.command()
@click.argument("bot_id", metavar="BOT")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
def show(*, bot_id: str, as_json: bool) -> int:
    """Show one bot: what runs did for it, its draft, and how that differs from V1.

    The exit code is 1 if the bot failed in the latest run that took it.
    """
    configure_logging()
    with opened(needs_redis=False) as current, reading(current) as connection:
        view = inspect.bot(connection, bot_id)
        if view is None:
            close = inspect.similar_ids(connection, bot_id)
            hint = f"; did you mean {', '.join(close)}?" if close else ""
            raise UsageError(f"there is no bot {bot_id!r}{hint}")
        history = inspect.history(connection, bot_id)
        changes = _changes(view, current.defaults)
    if as_json:
        render.print_json(_as_json(view, history, changes))
    else:
        _print(render.console(), view, history, changes)
    return 1 if history and history[0].outcome == "failed" else 0


def print_bot(out: Console, connection: sa.Connection, bot_id: str, defaults: Defaults) -> None:
    """Print a bot that exists as `show` does."""
    view = inspect.bot(connection, bot_id)
    if view is not None:
        _print(out, view, inspect.history(connection, bot_id), _changes(view, defaults))


def _changes(view: BotView, defaults: Defaults) -> list[Difference]:
    """How the draft differs from V1; empty where there is nothing to compare."""
    if view.workflow is None or view.graph is None:
        return []
    renamed: Mapping[str, str] = {}
    try:
        renamed = new_ids(v1.decode(view.workflow.encode(), defaults).nodes)
        workflow, graph = msgspec.json.decode(view.workflow), msgspec.json.decode(view.graph)
    except (BotError, msgspec.DecodeError):
        return []
    if not isinstance(workflow, dict) or not isinstance(graph, dict):
        return []
    return differences(workflow, graph, renamed)


def _as_json(view: BotView, history: list[LedgerView], changes: list[Difference]) -> dict[str, Any]:
    values = msgspec.structs.asdict(view)
    for key in ("workflow", "graph"):
        values[key] = None if values[key] is None else msgspec.Raw(values[key])
    return {**values, "history": history, "changes": changes}


def _print(
    out: Console, view: BotView, history: list[LedgerView], changes: list[Difference]
) -> None:
    state = "runs V2" if view.uses_v2 else "runs V1"
    backup = "V1 backed up" if view.has_backup else "no backup yet"
    out.print(Text(f"{view.bot_id}  {view.name or ''}", "bold"), Text(f"  {state}, {backup}"))
    _print_history(out, history)
    if view.workflow is not None:
        out.print(_v1_tree(view.workflow))
    if view.graph is not None:
        out.print(_v2_tree(view.graph))
    else:
        out.print("no draft")
    if changes:
        out.print(Text("\nwhat changed from V1", "bold"))
        for change in changes:
            out.print(_change_text(change))


def _print_history(out: Console, history: list[LedgerView]) -> None:
    if not history:
        out.print("no run has taken this bot yet")
        return
    for entry in history[:5]:
        why = f" {entry.code}" if entry.code else ""
        said = f": {entry.message}" if entry.message else ""
        out.print(
            Text(f"run {entry.run_id}  {entry.recorded_at:%Y-%m-%d %H:%M:%S} UTC  "),
            Text(f"{entry.outcome}{why}", "red" if entry.outcome == "failed" else "green"),
            Text(said),
            sep="",
        )
    for warning in history[0].warnings:
        at = f" {quote(warning.node)}" if warning.node is not None else ""
        out.print(Text(f"  warning {warning.code}{at}: {warning.message}", "yellow"))
    if history[0].traceback:
        out.print(Text(history[0].traceback, "dim"))


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
            branch.add(Text(f"{port} ← {_short(variable)}"))
        for target in _targets(value, node):
            branch.add(Text(f"→ {target}", "dim"))
    return tree


def _node_text(node: dict[str, Any]) -> Text:
    data = node.get("data")
    data = data if isinstance(data, dict) else {}
    shown = {
        key: data[key] for key in ("model", "provider", "document_ids", "top_k") if key in data
    }
    details = "  ".join(f"{key}={_short(value)}" for key, value in shown.items())
    return Text(f"{_plain(node.get('id'))}  ", "bold").append(
        f"{_plain(node.get('type'))}  {details}", "not bold"
    )


def _targets(graph: Any, node: dict[str, Any]) -> list[str]:
    found = [
        _plain(edge.get("target"))
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


def _change_text(change: Difference) -> Text:
    sign, colour = {"added": ("+", "green"), "removed": ("-", "red"), "changed": ("~", "yellow")}[
        change.change
    ]
    text = Text(f"  {sign} {_plain(change.what)}", colour)
    if change.before is not None:
        text.append(f"  {_short(change.before)}", "dim")
    if change.after is not None:
        arrow = " →" if change.before is not None else ""
        text.append(f"{arrow}  {_short(change.after)}")
    return text


def _plain(value: object) -> str:
    """A stranger's text for a terminal: unprintable characters escaped, cut."""
    return quote(str(value), VALUE_WIDTH)[1:-1]


def _short(value: object) -> str:
    return _plain(value if isinstance(value, str) else msgspec.json.encode(value).decode())
