"""A list of recorded executions."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from worker.cli.printing import Console, Table, Text
from worker.cli.terminal import plain
from worker.cli.views.nodes import status_text
from worker.cli.views.units import milliseconds
from worker.db.executions import Execution

WIDE: Final = 110
SHORT_ID: Final = 8
ERROR_CUT: Final = 200


def execution_fields(one: Execution) -> dict[str, Any]:
    """An execution as JSON has it; `run_id` and `message` where a run made it, else null."""
    run_id, message = one.validates or (None, None)
    return {**msgspec.structs.asdict(one), "run_id": run_id, "message": message}


def print_executions(out: Console, found: Sequence[Execution], *, with_bot: bool) -> None:
    """Print executions in the order given, then why some failed, as wide as the terminal allows.

    Ids are cut where there is no room, but never so far that two of them look alike.
    """
    wide = out.width >= WIDE
    length = 36 if wide else _distinct_length([one.execution_id for one in found])
    table = Table(box=None, pad_edge=False)
    for name in ("id", "at (UTC)", "status"):
        table.add_column(name, no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    if wide or not with_bot:
        table.add_column("tokens", justify="right", no_wrap=True)
    if with_bot:
        table.add_column("bot", overflow="fold")
    table.add_column("run or session", overflow="fold")
    for one in found:
        row = [
            Text(str(one.execution_id)[:length]),
            Text(f"{one.created_at:{'%Y-%m-%d %H:%M:%S' if wide else '%m-%d %H:%M:%S'}}"),
            status_text(one.status, 9),
            Text(milliseconds(None if one.elapsed_ms is None else one.elapsed_ms * 1000)),
        ]
        if wide or not with_bot:
            row.append(Text("–" if one.tokens is None else f"{one.tokens:,}"))
        if with_bot:
            row.append(Text(plain(one.bot_id)))
        table.add_row(*row, session_text(one))
    out.print(table)
    why = Table(title="why", title_justify="left", box=None, pad_edge=False, show_header=False)
    why.add_column(no_wrap=True)
    why.add_column(overflow="fold")
    for one in found:
        if one.error:
            shown = Text(plain(one.error, ERROR_CUT), "red")
            why.add_row(Text(str(one.execution_id)[:length]), shown)
    if why.row_count:
        out.print(why)


def _distinct_length(ids: Sequence[uuid.UUID]) -> int:
    """How many characters of each id tell it from the others."""
    texts = {str(one) for one in ids}
    return next(
        length
        for length in range(SHORT_ID, 37)
        if len({text[:length] for text in texts}) == len(texts)
    )


def session_text(one: Execution) -> Text:
    """The run and message of an execution that a run made, else its session."""
    if one.validates:
        return Text("run {} message {}".format(*one.validates), "cyan")
    return Text(plain(one.session_id, 40) if one.session_id else "–")
