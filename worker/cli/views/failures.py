"""Failures and warnings by code, with examples and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from worker.cli.printing import Console, Text
from worker.core.codes import MEANINGS, REMEDIES, SKIP_CODES, quote
from worker.core.counted import counted
from worker.core.shown import plain
from worker.db.outcomes import Group, Kind

MESSAGE_CUT: Final = 300


def group_fields(group: Group) -> dict[str, Any]:
    """A code with its examples as JSON."""
    return {
        **msgspec.structs.asdict(group),
        "meaning": MEANINGS.get(group.code),
        "next": REMEDIES.get(group.code),
    }


def print_groups(out: Console, kind: Kind, run_id: int | None, found: Sequence[Group]) -> None:
    """Print the codes with examples: in a run, or over the fleet if `run_id` is None."""
    where = "over the fleet" if run_id is None else f"in run {run_id}"
    if not found:
        out.print(f"no {kind} {where}")
        return
    for group in found:
        title = Text(f"{group.code}  ", "bold red" if kind == "failures" else "bold yellow")
        out.print(title.append(counted(group.bots, "bot"), "default"))
        if meaning := MEANINGS.get(group.code):
            out.print(f"  {meaning}")
        for one in group.examples:
            at = f" {quote(one.node)}" if one.node is not None else ""
            out.print(
                f"    {one.bot_id}  run {one.run_id}{at}: {plain(one.message or '', MESSAGE_CUT)}"
            )
        if group.bots > len(group.examples):
            out.print(f"    … and {group.bots - len(group.examples):,} more")
        if remedy := REMEDIES.get(group.code):
            out.print(f"  next: {remedy}")
    total = sum(group.bots for group in found)
    was_skipped = any(group.code in SKIP_CODES for group in found)
    what = counted(total, "bot failed", "bots failed")
    if was_skipped:
        what = counted(total, "bot failed or was skipped", "bots failed or were skipped")
    if kind == "warnings":
        what = f"{counted(total, 'warning')}, each bot once for each code"
    run = "" if run_id is None else f" {run_id}"
    out.print(f"{what} {where}; all of them: flowshift {kind}{run} --csv")
