"""What is printed of a bot's versions, and of a draft that was written."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec

from worker.cli.printing import Console, Table, Text, say
from worker.cli.terminal import plain
from worker.db.versions import Version
from worker.steps.versions.draft import Written
from worker.steps.versions.listing import Listed

ISSUES_SHOWN: Final = 50
_TIMES: Final = {"created_at": 100, "updated_at": 120, "published_at": 0}
"""The columns with times, and the least width of a terminal on which each is shown."""


def versions_fields(listed: Listed) -> dict[str, Any]:
    """A bot's versions as JSON."""
    return {
        "bot_id": listed.bot_id,
        "uses_v2": listed.uses_v2,
        "live": None if listed.live is None else listed.live.version,
        "versions": [_fields(one, listed) for one in listed.versions],
    }


def _fields(one: Version, listed: Listed) -> dict[str, Any]:
    return {**msgspec.structs.asdict(one), "is_live": one == listed.live, "whose": _whose(one)}


def _whose(one: Version) -> str:
    return "flowshift" if one.is_ours else "person"


def print_versions(out: Console, listed: Listed) -> None:
    """Print a bot's versions, a line each."""
    out.print(Text(plain(listed.bot_id), "bold").append(f"  {_answers(listed)}", "not bold"))
    if not listed.versions:
        out.print("no versions")
        return
    times = [name for name, least in _TIMES.items() if out.width >= least]
    table = Table(box=None, pad_edge=False)
    for name in ("version", "status"):
        table.add_column(name, overflow="fold")
    table.add_column("nodes", justify="right", no_wrap=True)
    table.add_column("whose", no_wrap=True)
    for name in times:
        table.add_column(f"{name.removesuffix('_at')} (UTC)", no_wrap=True)
    for one in listed.versions:
        is_live = one == listed.live
        table.add_row(
            Text(plain(one.version), "bold green" if is_live else ""),
            Text(plain(one.status) + (" (live)" if is_live else "")),
            f"{one.nodes:,}",
            _whose(one),
            *(_time(getattr(one, name)) for name in times),
        )
    out.print(table)


def _answers(listed: Listed) -> str:
    if not listed.uses_v2:
        return "runs V1"
    if listed.live is None:
        return "flagged V2 without a published version (it cannot answer)"
    if listed.live.status == "draft":
        return "flagged V2 without a published version (its draft is live)"
    return f"runs {plain(listed.live.version)}"


def _time(at: datetime | None) -> str:
    return "–" if at is None else f"{at:%Y-%m-%d %H:%M:%S}"


def print_written(written: Written) -> None:
    """Print what became of a corrected draft; what is wrong with it goes to standard error."""
    for issue in written.issues[:ISSUES_SHOWN]:
        where = f" {issue.path}" if issue.path else ""
        say(f"{issue.code}{where}: {issue.message}", err=True)
    if (more := len(written.issues) - ISSUES_SHOWN) > 0:
        say(f"… and {more:,} more", err=True)
    if written.issues:
        say(f"nothing was written to the draft of {written.bot_id}: correct the file", err=True)
    elif written.changed:
        say(f"the draft of {written.bot_id} is written: flowshift test executes it")
        if written.note is not None:
            say(written.note)
    else:
        say(f"the draft of {written.bot_id} holds this already")
