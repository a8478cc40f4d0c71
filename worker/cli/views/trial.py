"""What `test` prints: a draft's nodes, its answer and V1's."""

from __future__ import annotations

from typing import Any

from worker.cli.printing import Console, Table, Text
from worker.cli.views.nodes import executed, print_nodes, trace_time, value_text
from worker.cli.views.target import print_stale
from worker.core.parity.trial import Compared
from worker.core.shown import plain
from worker.steps.try_bot import Tried


def trial_fields(tried: Tried) -> dict[str, Any]:
    """A trial as JSON."""
    compared = tried.compared
    return {
        "bot_id": tried.bot_id,
        "draft": tried.draft,
        "draft_target": tried.target,
        "target": tried.platform,
        "message": compared.message,
        "v1": {
            name: getattr(compared.v1, name)
            for name in ("answer", "calls", "error", "tokens", "elapsed_us")
        },
        "v2": compared.v2,
        "parity": compared.parity.same,
        "difference": compared.parity.difference,
    }


def print_trial(out: Console, tried: Tried, *, full: bool) -> None:
    """Print a trial, values whole if `full`."""
    compared = tried.compared
    which = "its draft" if tried.draft == "stored" else "no draft is stored: converted just now"
    out.print(Text(plain(tried.bot_id), "bold").append(f"  {which}", "not bold"))
    out.print(Text("message  ").append_text(value_text(compared.message, full=full)))
    out.print()
    if compared.v2.nodes:
        print_nodes(out, [executed(node) for node in compared.v2.nodes], full=full)
        out.print()
    out.print(_sides(compared, full=full))
    if tried.is_stale:
        print_stale(out, tried.target, tried.platform, tried.bot_id)


def _sides(compared: Compared, *, full: bool) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for name, trace in (("V1", compared.v1), ("V2", compared.v2)):
        said = value_text(trace.answer if trace.error is None else trace.error, full=full)
        said.stylize("red" if trace.error else "")
        table.add_row(name, Text(trace_time(trace)), said)
    same = compared.parity.same
    colour = {True: "green", False: "red", None: "yellow"}[same]
    verdict = {True: "yes", False: "no", None: "–"}[same]
    why = plain(compared.parity.difference or "the same calls and the same answer", 400)
    table.add_row("parity", Text(verdict, colour), Text(why, colour))
    return table
