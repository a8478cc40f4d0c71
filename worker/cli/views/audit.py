"""The audit trail."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from worker.cli.printing import Table, Text
from worker.cli.terminal import plain
from worker.db.control import Entry

REASON_WIDTH: Final = 2_000
"""A reason is printed whole, but not without end."""


def audit_table(entries: Iterable[Entry]) -> Table:
    """The audit trail, a line each."""
    table = Table(box=None, pad_edge=False)
    table.add_column("when (UTC)", no_wrap=True)
    table.add_column("run", justify="right")
    for name in ("who", "what", "why"):
        table.add_column(name, overflow="fold")
    for entry in entries:
        table.add_row(
            f"{entry.at:%Y-%m-%d %H:%M:%S}",
            "" if entry.run_id is None else str(entry.run_id),
            Text(plain(entry.actor, REASON_WIDTH)),
            Text(entry.action),
            Text(plain(entry.reason or _changes(entry), REASON_WIDTH)),
        )
    return table


def _changes(entry: Entry) -> str:
    """The limits that were changed, before and after."""
    if entry.action != "run.tuned":
        return ""
    return ", ".join(f"{name} {old} → {new}" for name, (old, new) in entry.detail.items())
