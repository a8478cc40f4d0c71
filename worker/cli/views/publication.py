"""Publications and their waves, as people and scripts read them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from worker.cli.printing import Console, Table, Text, say
from worker.cli.views.fleet import REASON_WIDTH
from worker.core.counted import counted
from worker.core.policy.states import words
from worker.core.publication.folding import Span, fold
from worker.core.shown import plain
from worker.core.units import duration
from worker.db.publication.outline import Outline
from worker.db.publication.waves import Wave
from worker.steps.publication.plan import Planned
from worker.steps.publication.report import Found


def print_plan(planned: Planned) -> None:
    """Print the waves, which ask for a backup, and what would keep bots out as they stand."""
    plan = planned.plan
    if plan.asked:
        asked = counted(plan.asked, "bot")
        say(
            f"{asked} of {len(plan.bot_ids):,} had executions of late: canaries are taken from these"
        )
    else:
        say("nothing is known of executions of late: name bots that are often asked with --first")
    for number, wave in enumerate(plan.waves, 1):
        asks = "; asks for a verified backup" if number in planned.asking else ""
        say(f"wave {number} ({wave.label}): {counted(wave.size, 'bot')}{asks}")
    if planned.asking and planned.lacking:
        say(f"{_waves(planned.asking)} for now: {planned.lacking}")
    for code, bots in sorted(planned.codes.items(), key=lambda one: (one[0] != "ready", one[0])):
        said = "can be published" if code == "ready" else f"would be skipped: {code}"
        say(f"{counted(bots, 'bot')} {said}")


def _waves(numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return f"wave {numbers[0]} would wait"
    return f"waves {numbers[0]} to {numbers[-1]} would wait"


def plan_fields(planned: Planned) -> dict[str, Any]:
    """The plan for scripts."""
    return {
        "bots": len(planned.plan.bot_ids),
        "asked_of_late": planned.plan.asked,
        "waves": [
            {**msgspec.to_builtins(wave), "asks_for_backup": number in planned.asking}
            for number, wave in enumerate(planned.plan.waves, 1)
        ],
        "codes": planned.codes,
        "lacks_backup": planned.lacking,
    }


def publication_head(found: Found) -> dict[str, Any]:
    """One publication without its waves; `gate_late_s` is not null where the gate should have looked."""
    return {**msgspec.to_builtins(found.publication), "gate_late_s": found.unlooked_s}


def wave_fields(found: Found) -> Iterator[dict[str, Any]]:
    """Its waves for scripts, every one of them, in their order."""
    for wave in found.waves:
        yield {
            **msgspec.to_builtins(wave),
            "live": found.live.by_wave.get(wave.number, 0),
            "verdict": _verdict_fields(found, wave),
        }


def _verdict_fields(found: Found, wave: Wave) -> dict[str, Any] | None:
    kept = found.verdicts.get(wave.number)
    if kept is None:
        return None
    counts = {one.metric: msgspec.to_builtins(one.count) for one in kept.reading.metrics}
    fields = {"read_at": kept.read_at, "outcome": kept.outcome, "sentence": kept.sentence}
    return {**msgspec.to_builtins(fields), "metrics": counts}


_LISTED: Final = {
    "publication": 0,
    "state": 0,
    "for": 0,
    "bots": 0,
    "out": 0,
    "back": 80,
    "wave": 70,
    "started (UTC)": 100,
    "by": 100,
}
"""Each column of the list, and the least width of a terminal on which it is shown."""


def print_publications(to: Console, found: Sequence[Outline]) -> None:
    """Print publications in the order given, a line each, and below why those wait that do."""
    shown = [name for name, least in _LISTED.items() if to.width >= least]
    table = Table(box=None, pad_edge=False)
    for name in shown:
        if name in ("state", "wave", "by"):
            table.add_column(name, overflow="fold")
        else:
            table.add_column(name, justify="right", no_wrap=True)
    for one in found:
        cells = _listed(one)
        table.add_row(*(cells[name] for name in shown))
    to.print(table)
    for one in found:
        if not one.is_over and one.reason:
            to.print(Text(f"publication {one.publication_id}: {plain(one.reason, REASON_WIDTH)}"))


def _listed(one: Outline) -> dict[str, Text]:
    because = f" ({one.held_because})" if one.held_because else ""
    at = f"{one.waves:,} waves" if one.wave is None else f"{one.wave:,} of {one.waves:,}"
    label = f" ({plain(one.label)})" if one.label else ""
    return {
        "publication": Text(str(one.publication_id)),
        "state": Text(words(one.state) + because, "yellow" if one.state == "held" else ""),
        "for": Text(duration(one.moved_ago_s)),
        "bots": Text(f"{one.bot_count:,}"),
        "out": Text(f"{one.published:,}"),
        "back": Text(f"{one.taken_back:,}"),
        "wave": Text(f"{at}{label}"),
        "started (UTC)": Text(f"{one.created_at:%Y-%m-%d %H:%M:%S}"),
        "by": Text(one.requested_by),
    }


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
        if folded := sum(_size(one) for one in fold([wave.state for wave in found.waves])):
            to.print(
                f"{counted(folded, 'wave is', 'waves are')} folded:"
                f" flowshift publication {one.publication_id} --json"
            )
    for line in _next_lines(found):
        to.print(line)


def _size(span: Span) -> int:
    return 1 + span.last - span.first if span.is_folded else 0


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
    """The waves in their order, a line each, or folded: as many columns as fit into `width`."""
    shown = [name for name, least in _COLUMNS.items() if width >= least]
    table = Table(box=None, pad_edge=False)
    for name in shown:
        if name in _TEXTS:
            table.add_column(name, overflow="fold")
        else:
            table.add_column(name, justify="right", no_wrap=True)
    for span in fold([wave.state for wave in found.waves]):
        its = found.waves[span.first : span.last + 1]
        cells = _folded(found, its) if span.is_folded else _cells(found, its[0])
        table.add_row(*(cells.get(name, Text("")) for name in shown))
    return table


def _folded(found: Found, its: Sequence[Wave]) -> dict[str, Text]:
    """Waves that follow one another, as one line: their states, and the sums of their bots."""
    states = Counter(wave.state for wave in its)
    names = {"bots": "bot_count", "pending": "pending", "skipped": "skipped"}
    sums = {name: sum(getattr(wave, of) for wave in its) for name, of in names.items()}
    sums["live"] = sum(found.live.by_wave.get(wave.number, 0) for wave in its)
    sums["taken back"] = sum(wave.rolled_back + wave.quarantined for wave in its)
    return {
        "wave": Text(f"{its[0].number} to {its[-1].number}", "dim"),
        "state": Text(", ".join(f"{n:,} {words(state)}" for state, n in states.items()), "dim"),
        **{name: Text(f"{value:,}", "dim") for name, value in sums.items()},
    }


def _cells(found: Found, wave: Wave) -> dict[str, Text]:
    kept = found.verdicts.get(wave.number)
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
        "live": Text(f"{found.live.by_wave.get(wave.number, 0):,}"),
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
        lines.append(
            f"the gate decides; to accept wave {judged.number} now:"
            f" flowshift accept {number} {judged.number} --reason TEXT"
        )
    if one.held_because == "alarm":
        lines.append("the gate decides whether it is this wave or an outage; you need not wait:")
    if one.state == "held":
        is_decided = judged is not None and judged.state in ("failed", "inconclusive")
        if judged is not None and is_decided and not judged.pending:
            lines.append(f"accept it: flowshift accept {number} {judged.number} --reason TEXT")
        else:
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
