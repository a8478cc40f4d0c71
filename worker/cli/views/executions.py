"""A list of recorded executions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from worker.cli.printing import Console, Table, Text
from worker.cli.views.nodes import status_text
from worker.core.shown import distinct_length, plain
from worker.core.units import milliseconds
from worker.db.executions import Execution

WIDE: Final = 136
"""From this width on ids and dates are whole."""

NARROW: Final = 80
"""Below this width a list says less of each execution: `executions show` says the rest."""

_FOLDED: Final = ("bot", "run or session")

ERROR_CUT: Final = 200


def execution_fields(one: Execution) -> dict[str, Any]:
    """An execution as JSON has it; `run_id` and `message` where a run made it, else null."""
    run_id, message = one.validates or (None, None)
    return {**msgspec.structs.asdict(one), "run_id": run_id, "message": message}


def print_executions(out: Console, found: Sequence[Execution], *, with_bot: bool) -> None:
    """Print executions in the order given, then why some failed, as wide as the terminal allows.

    Ids are cut if there is no room, but never so far that two of them look alike.
    """
    wide = out.width >= WIDE
    length = 36 if wide else distinct_length(one.execution_id for one in found)
    shown = _columns(out.width, with_bot=with_bot)
    table = Table(box=None, pad_edge=False)
    for name in shown:
        if name in _FOLDED:
            table.add_column(name, overflow="fold", min_width=len(name))
        else:
            right = name in ("time", "tokens")
            table.add_column(name, no_wrap=True, justify="right" if right else "left")
    for one in found:
        cells = _cells(one, length, "%Y-%m-%d" if wide else "%m-%d")
        table.add_row(*(cells[name] for name in shown))
    out.print(table)
    _print_errors(out, found, length)


def _columns(width: int, *, with_bot: bool) -> list[str]:
    if not with_bot:
        tokens = ["tokens"] if width >= NARROW else []
        return ["id", "at (UTC)", "status", "time", *tokens, "run or session"]
    if width < NARROW:
        return ["id", "status", "time", "bot"]
    tokens = ["tokens"] if width >= WIDE else []
    return ["id", "at (UTC)", "status", "time", *tokens, "bot", "run or session"]


def _cells(one: Execution, length: int, day: str) -> dict[str, Text]:
    return {
        "id": Text(str(one.execution_id)[:length]),
        "at (UTC)": Text(f"{one.created_at:{day} %H:%M:%S}"),
        "status": status_text(one.status, 9),
        "time": Text(milliseconds(None if one.elapsed_ms is None else one.elapsed_ms * 1000)),
        "tokens": Text("–" if one.tokens is None else f"{one.tokens:,}"),
        "bot": Text(plain(one.bot_id)),
        "run or session": session_text(one),
    }


def _print_errors(out: Console, found: Sequence[Execution], length: int) -> None:
    why = Table(title="why", title_justify="left", box=None, pad_edge=False, show_header=False)
    why.add_column(no_wrap=True)
    why.add_column(overflow="fold")
    for one in found:
        if one.error:
            shown = Text(plain(one.error, ERROR_CUT), "red")
            why.add_row(Text(str(one.execution_id)[:length]), shown)
    if why.row_count:
        out.print(why)


def session_text(one: Execution) -> Text:
    """The run and message of an execution that a run made, else its session."""
    if one.validates:
        return Text("run {} message {}".format(*one.validates), "cyan")
    return Text(plain(one.session_id, 40) if one.session_id else "–")
