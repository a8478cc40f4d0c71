"""The audit trail."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from worker.cli.printing import Console, Table, Text
from worker.core.shown import plain
from worker.db.control import Entry

REASON_WIDTH: Final = 2_000
"""A reason is printed whole, but not without end."""


WIDE: Final = 110


def print_audit(out: Console, entries: Iterable[Entry]) -> None:
    """Print the audit trail, a line each; on a narrow terminal the reason is on a line below."""
    if out.width >= WIDE:
        out.print(_table(entries))
        return
    for entry in entries:
        run = "" if entry.run_id is None else f"  run {entry.run_id}"
        out.print(f"{_at(entry)}{run}  {entry.action}  {plain(entry.actor, REASON_WIDTH)}")
        if why := _why(entry):
            out.print(f"    {why}")


def _table(entries: Iterable[Entry]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("when (UTC)", no_wrap=True)
    table.add_column("run", justify="right", no_wrap=True)
    for name in ("who", "what", "why"):
        table.add_column(name, overflow="fold")
    for entry in entries:
        table.add_row(
            _at(entry),
            "" if entry.run_id is None else str(entry.run_id),
            Text(plain(entry.actor, REASON_WIDTH)),
            Text(entry.action),
            Text(_why(entry)),
        )
    return table


def _at(entry: Entry) -> str:
    return f"{entry.at:%Y-%m-%d %H:%M:%S}"


def _why(entry: Entry) -> str:
    return plain(entry.reason or _changes(entry), REASON_WIDTH)


def _changes(entry: Entry) -> str:
    """The limits that were changed, before and after, or the bot and its version."""
    if entry.action.startswith(("draft.", "version.")):
        said = [entry.detail.get(name) for name in ("bot_id", "version")]
        return " ".join(str(one) for one in said if one is not None)
    if entry.action != "run.tuned":
        return ""
    return ", ".join(f"{name} {old} → {new}" for name, (old, new) in entry.detail.items())
