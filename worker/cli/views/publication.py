"""Publications and their waves, as people and scripts read them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from worker.cli.printing import Console, Table, Text, say
from worker.core.counted import counted
from worker.core.policy.states import words
from worker.core.units import duration
from worker.db.publication.readings import Kept
from worker.db.publication.waves import Publication, Wave
from worker.steps.publication.plan import Planned
from worker.steps.publication.report import Found


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


def publications_fields(one: Publication, waves: Sequence[Wave]) -> dict[str, Any]:
    """A publication of the list, for scripts."""
    return {**msgspec.to_builtins(one), "waves": msgspec.to_builtins(list(waves))}


def publication_fields(found: Found) -> dict[str, Any]:
    """One publication for scripts; `gate_late_s` is not null where the gate should have looked since."""
    waves = [
        {**msgspec.to_builtins(wave), "verdict": _verdict_fields(found, wave)}
        for wave in found.waves
    ]
    return {
        **msgspec.to_builtins(found.publication),
        "gate_late_s": found.unlooked_s,
        "waves": waves,
    }


def _verdict_fields(found: Found, wave: Wave) -> dict[str, Any] | None:
    kept = found.verdicts.get(wave.number)
    if kept is None:
        return None
    counts = {one.metric: msgspec.to_builtins(one.count) for one in kept.reading.metrics}
    fields = {"read_at": kept.read_at, "outcome": kept.outcome, "sentence": kept.sentence}
    return {**msgspec.to_builtins(fields), "metrics": counts}


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
            Text(words(one.state) + (f" ({one.held_because})" if one.held_because else "")),
            f"{one.created_at:%Y-%m-%d %H:%M:%S}",
            Text(one.requested_by),
        )
    return table


def print_publication(to: Console, found: Found) -> None:
    """Print a publication: its state, the gate's last look, a line for each wave, what to do next."""
    one = found.publication
    why = f": {one.state_reason}" if one.state_reason else ""
    to.print(f"publication {one.publication_id} is {words(one.state)}{why}")
    if one.retry_of is not None:
        to.print(
            f"it retries publication {one.retry_of}: its bots are those of run {one.source_run_id}"
        )
    for line in _gate_lines(found):
        to.print(line)
    if found.waves:
        to.print(waves_table(found, width=to.width))
    for line in _next_lines(found):
        to.print(line)


def _gate_lines(found: Found) -> list[str]:
    one = found.publication
    looked = "has not looked yet"
    if one.looked_at is not None:
        looked = f"last looked {one.looked_at:%Y-%m-%d %H:%M:%S} UTC"
    lines = [f"gate: {one.gate}; it {looked}"]
    if found.unlooked_s is not None:
        lines.append(
            f"no look for {duration(found.unlooked_s)}: nothing judges this publication now. The beat and"
            " a worker of the publisher's role must run: flowshift health"
        )
    return lines


_COLUMNS: Final = {
    "wave": 0,
    "state": 0,
    "bots": 0,
    "live": 0,
    "pending": 120,
    "skipped": 120,
    "taken back": 90,
    "executions": 0,
    "failed": 0,
    "slow": 100,
    "costly": 100,
    "run": 80,
    "accepted by": 140,
}
"""Each column, and the least width of a terminal on which it is shown."""

_TEXTS: Final = ("wave", "state", "accepted by")


def waves_table(found: Found, *, width: int) -> Table:
    """The waves in their order, a line each: as many columns as fit into `width`."""
    shown = [name for name, least in _COLUMNS.items() if width >= least]
    table = Table(box=None, pad_edge=False)
    for name in shown:
        if name in _TEXTS:
            table.add_column(name, overflow="fold")
        else:
            table.add_column(name, justify="right", no_wrap=True)
    for wave in found.waves:
        cells = _cells(wave, found.verdicts.get(wave.number))
        table.add_row(*(cells[name] for name in shown))
    return table


def _cells(wave: Wave, kept: Kept | None) -> dict[str, Text]:
    metrics = {} if kept is None else {one.metric: one.count for one in kept.reading.metrics}
    counts = {
        name: Text(f"{metrics[name].failed:,}" if name in metrics else "")
        for name in ("failed", "slow", "costly")
    }
    executions = f"{metrics['failed'].executions:,}" if "failed" in metrics else ""
    back = wave.rolled_back + wave.quarantined
    return {
        "wave": Text(f"{wave.number} ({wave.label})"),
        "state": Text(words(wave.state), "red" if wave.state == "failed" else ""),
        "bots": Text(f"{wave.bot_count:,}"),
        "live": Text(f"{wave.live:,}"),
        "pending": Text(f"{wave.pending:,}"),
        "skipped": Text(f"{wave.skipped:,}"),
        "taken back": Text(f"{back:,}"),
        "executions": Text(executions),
        **counts,
        "run": Text(str(wave.run_id or "")),
        "accepted by": Text(wave.accepted_by or ""),
    }


def _next_lines(found: Found) -> list[str]:
    """What the gate says of the wave that counts now, and what a person can do."""
    one = found.publication
    number = one.publication_id
    judged = next((w for w in found.waves if w.state in _JUDGED), None)
    lines = []
    if not found.waves and one.finished_at is None:
        lines.append(f"follow the run that it waits for: flowshift watch {one.source_run_id}")
    if judged is not None and judged.sentence:
        lines.append(f"wave {judged.number}: {judged.sentence}")
    if one.state == "watching" and judged is not None:
        lines.append(f"the gate decides; to accept it now: flowshift accept {number} --reason TEXT")
    if one.held_because == "alarm":
        lines.append("the gate decides whether it is this wave or an outage; you need not wait:")
    if one.state == "held":
        is_decided = judged is not None and judged.state in ("failed", "inconclusive")
        reason = " --reason TEXT" if is_decided else ""
        lines.append(f"let it go on: flowshift go {number}{reason}")
        is_one = is_decided or one.held_because == "alarm"
        wave = f" --wave {judged.number}" if judged is not None and is_one else ""
        if found.waves:
            lines.append(f"or take it back: flowshift rollback --publication {number}{wave}")
    if back := sum(wave.rolled_back + wave.quarantined for wave in found.waves):
        lines.append(
            f"{counted(back, 'bot was', 'bots were')} taken back; once the cause is gone:"
            f" flowshift retry --publication {number}"
        )
    return lines


_JUDGED: Final = ("publishing", "watching", "inconclusive", "failed")
