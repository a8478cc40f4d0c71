"""The fleet and its publications in a few lines: what answers, what waits, and why."""

from __future__ import annotations

from typing import Final

from worker.cli.printing import Text
from worker.core.codes import quote
from worker.core.counted import counted
from worker.core.shown import plain
from worker.core.units import duration
from worker.db.overview import Overview
from worker.db.publication.outline import Outline

REASON_WIDTH: Final = 500


def fleet_text(fleet: Overview, *, serves_drafts: bool = False) -> Text:
    """The fleet in one line; with `serves_drafts` the platform runs drafts where nothing is published."""
    means = "the platform runs their drafts" if serves_drafts else "they cannot answer"
    unpublished = (
        f" ({fleet.v2_unpublished:,} of them without a published version: {means})"
        if fleet.v2_unpublished
        else ""
    )
    without_id = (
        f"; {fleet.without_id:,} of these rows have no bot_id: every run passes them over"
        if fleet.without_id
        else ""
    )
    finished = (
        f"; besides {fleet.finished:,} finished, whose V1 is in flowshift.finished_bots"
        if fleet.finished
        else ""
    )
    about = "about " if fleet.is_estimate else ""
    return Text(
        f"fleet: {about}{counted(fleet.total_bots, 'bot')} with a workflow, "
        f"{fleet.migrated_bots:,} backed up, {fleet.v2_bots:,} on V2{unpublished}, "
        f"{counted(fleet.drafts, 'draft')}{finished}{without_id}"
    )


def live_text(fleet: Overview) -> Text | None:
    """What answers, in one line; None if nothing was ever published, by whomever."""
    back = fleet.rolled_back + fleet.quarantined
    if not (fleet.published_by_flowshift or fleet.published_by_person or back):
        return None
    about = "about " if fleet.is_estimate else ""
    parts = [
        f"{about}{counted(fleet.v1_bots, 'bot')} on V1",
        f"{fleet.published_by_flowshift:,} on a version of flowshift",
        f"{about}{fleet.published_by_person:,} on one of a person",
        f"{fleet.rolled_back:,} rolled back",
        f"{fleet.quarantined:,} quarantined",
        f"{about}{fleet.proven:,} proven",
    ]
    return Text(f"live: {', '.join(parts)}")


def twice_text(fleet: Overview) -> Text | None:
    """The bots that have several published versions; None if none was seen."""
    if not fleet.published_twice:
        return None
    about = "about " if fleet.is_estimate else ""
    bots = counted(fleet.published_twice, "bot has", "bots have")
    names = ", ".join(map(quote, fleet.published_twice_bots))
    more = ", …" if fleet.published_twice > len(fleet.published_twice_bots) else ""
    said = (
        f"{about}{bots} several published versions ({names}{more}): the platform serves the newest, and may"
        " fail to read it. flowshift versions BOT lists them"
    )
    return Text(said, "red")


def publication_lines(one: Outline) -> list[Text]:
    """A publication that is not over: its state and since when, then the wave it is at and the gate."""
    state = one.state.replace("_", " ")
    style = "yellow" if one.state in ("held", "rolling_back") else ""
    because = f" ({one.held_because})" if one.held_because else ""
    said = one.reason or (one.sentence if one.state != "publishing" else None)
    why = f": {plain(said, REASON_WIDTH)}" if said else ""
    return [
        Text(f"publication {one.publication_id}: ")
        .append(f"{state}{because}", style)
        .append(f" for {duration(one.moved_ago_s)}{why}"),
        Text(f"  {', '.join(_place(one))}; {_gate(one)}"),
    ]


def _place(one: Outline) -> list[str]:
    if one.wave is None or one.wave_state is None:
        wave = f"{counted(one.waves, 'wave')}, all decided"
    else:
        state = "next" if one.wave_state == "pending" else one.wave_state
        wave = f"wave {one.wave:,} of {one.waves:,} ({plain(one.label or '')}) {state}"
    parts = [wave, f"{one.published:,} of {counted(one.bot_count, 'bot')} published"]
    if one.taken_back:
        parts.append(f"{one.taken_back:,} taken back")
    if one.skipped:
        parts.append(f"{one.skipped:,} skipped")
    return parts


def _gate(one: Outline) -> str:
    if one.looked_ago_s is None:
        return "the gate has not looked at it yet"
    return f"the gate looked {duration(one.looked_ago_s)} ago"
