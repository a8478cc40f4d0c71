"""What is printed of a bot's versions, and of a draft that was written."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec

from worker.cli.printing import Console, Table, Text, say
from worker.cli.views.standing import print_disagreement
from worker.core.publication.answering import answers_text
from worker.core.shown import plain
from worker.db.versions import Version
from worker.steps.versions.draft import Written
from worker.steps.versions.listing import Listed
from worker.steps.versions.standing import Standing

ISSUES_SHOWN: Final = 50
_TIMES: Final = {"created_at": 100, "updated_at": 120, "published_at": 0}
"""The columns with times, and the least width of a terminal on which each is shown."""


def versions_fields(listed: Listed) -> dict[str, Any]:
    """A bot's versions as JSON; `live` is the name of the one that answers, null if V1 or nothing does."""
    standing = listed.standing
    return {
        "bot_id": listed.bot_id,
        "uses_v2": listed.uses_v2,
        "live": None if standing.live is None else standing.live.version,
        "answers": standing.answers,
        "versions": [_fields(one, standing) for one in standing.versions],
    }


def _fields(one: Version, standing: Standing) -> dict[str, Any]:
    part = standing.made_by(one)
    return {
        **msgspec.structs.asdict(one),
        "is_live": one == standing.live,
        "whose": _whose(one),
        "publication_id": None if part is None else part.publication_id,
        "wave": None if part is None else part.wave,
        "publication_state": None if part is None else part.state,
    }


def _whose(one: Version) -> str:
    return "flowshift" if one.is_ours else "person"


def print_versions(out: Console, listed: Listed) -> None:
    """Print a bot's versions, a line each."""
    standing = listed.standing
    says = answers_text(standing.answers, uses_v2=listed.uses_v2)
    out.print(Text(plain(listed.bot_id), "bold").append(f"  {says}", "not bold"))
    print_disagreement(out, standing)
    if not standing.versions:
        out.print("no versions")
        return
    times = [name for name, least in _TIMES.items() if out.width >= least]
    table = Table(box=None, pad_edge=False)
    for name in ("version", "status"):
        table.add_column(name, overflow="fold")
    table.add_column("nodes", justify="right", no_wrap=True)
    table.add_column("graph by", no_wrap=True)
    if standing.parts:
        table.add_column("published by", overflow="fold")
    for name in times:
        table.add_column(f"{name.removesuffix('_at')} (UTC)", no_wrap=True)
    for one in standing.versions:
        is_live = one == standing.live
        table.add_row(
            Text(plain(one.version), "bold green" if is_live else ""),
            Text(plain(one.status) + (" (live)" if is_live else "")),
            f"{one.nodes:,}",
            _whose(one),
            *([_published_by(one, standing)] if standing.parts else []),
            *(_time(getattr(one, name)) for name in times),
        )
    out.print(table)


def _published_by(one: Version, standing: Standing) -> str:
    part = standing.made_by(one)
    if part is not None:
        return f"{part.publication_id}, wave {part.wave}"
    return "–" if one.published_at is None else "person"


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
