"""Publications and their waves, as people and scripts read them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from worker.cli.printing import Console, Table, Text, say
from worker.db.publication.waves import Publication, Wave
from worker.steps.publication.plan import Planned


def print_plan(planned: Planned) -> None:
    """Print the waves, and what would keep bots out as they stand."""
    for number, wave in enumerate(planned.plan.waves, 1):
        say(f"wave {number} ({wave.label}): {wave.size:,} bots")
    for code, bots in sorted(planned.codes.items(), key=lambda one: (one[0] != "ready", one[0])):
        said = "can be published" if code == "ready" else f"would be skipped: {code}"
        say(f"{bots:,} bots {said}")


def plan_fields(planned: Planned) -> dict[str, Any]:
    """The plan for scripts."""
    return {
        "bots": len(planned.plan.bot_ids),
        "waves": [msgspec.to_builtins(wave) for wave in planned.plan.waves],
        "codes": planned.codes,
    }


def publication_fields(one: Publication, waves: Sequence[Wave]) -> dict[str, Any]:
    """A publication for scripts."""
    return {**msgspec.to_builtins(one), "waves": msgspec.to_builtins(list(waves))}


def publications_table(found: Iterable[tuple[Publication, Sequence[Wave]]]) -> Table:
    """Publications in the order given, a line each."""
    table = Table(box=None, pad_edge=False)
    for name in ("publication", "bots", "live", "waves"):
        table.add_column(name, justify="right")
    for name in ("state", "started (UTC)", "by"):
        table.add_column(name, overflow="fold")
    for one, waves in found:
        begun = sum(wave.state != "pending" for wave in waves)
        table.add_row(
            str(one.publication_id),
            f"{one.bot_count:,}",
            f"{sum(wave.live for wave in waves):,}",
            f"{begun}/{len(waves)}",
            Text(one.state.replace("_", " ")),
            f"{one.created_at:%Y-%m-%d %H:%M:%S}",
            Text(one.requested_by),
        )
    return table


def print_publication(to: Console, one: Publication, waves: Sequence[Wave]) -> None:
    """Print a publication: its state, then a line for each wave."""
    why = f": {one.state_reason}" if one.state_reason else ""
    to.print(f"publication {one.publication_id} is {one.state.replace('_', ' ')}{why}")
    table = Table(box=None, pad_edge=False)
    for name in ("wave", "bots", "pending", "live", "skipped", "rolled back", "run"):
        table.add_column(name, justify="right")
    for name in ("state", "accepted by"):
        table.add_column(name, overflow="fold")
    for wave in waves:
        table.add_row(
            f"{wave.number} ({wave.label})",
            f"{wave.bot_count:,}",
            f"{wave.pending:,}",
            f"{wave.live:,}",
            f"{wave.skipped:,}",
            f"{wave.rolled_back:,}",
            str(wave.run_id or ""),
            Text(wave.state.replace("_", " ")),
            Text(wave.accepted_by or ""),
        )
    to.print(table)
    if one.state == "watching":
        to.print(f"accept the wave and begin the next: flowshift go {one.publication_id}")
    elif one.state == "held":
        to.print(f"let it go on: flowshift go {one.publication_id}")
