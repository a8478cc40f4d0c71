"""Whether the numbers, states and records of publications agree with their rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tests.publication_rows import After
from worker.core.policy.states import OVER as RUN_OVER

LIVE = ("published", "confirmed")
OVER = ("completed", "rolled_back", "stopped")


def _counters(after: After) -> Iterator[str]:
    for wave in after.waves:
        rows = [
            row
            for row in after.bots
            if (row.publication_id, row.wave) == (wave.publication_id, wave.number)
        ]
        counted = {
            "bot_count": len(rows),
            "published": sum(row.went_out for row in rows),
            "skipped": sum(row.state == "skipped" for row in rows),
            "failed": sum(row.state == "failed" for row in rows),
            "rolled_back": sum(row.state == "rolled_back" for row in rows),
            "quarantined": sum(row.state == "quarantined" for row in rows),
        }
        for name, n in counted.items():
            if getattr(wave, name) != n:
                where = f"publication {wave.publication_id}, wave {wave.number}"
                yield f"{where}: {name} says {getattr(wave, name)}, rows say {n}"


def _run_counters(after: After) -> Iterator[str]:
    for row in after.fleet.rows(_RUNS):
        counts = after.fleet.progress(row.run_id).counts
        if (counts.published, counts.skipped) != (row.published, row.skipped):
            yield f"run {row.run_id} says {counts}, rows say {row.published}, {row.skipped}"
        if row.publication_state in OVER and row.state not in RUN_OVER:
            yield f"run {row.run_id} is {row.state}, its publication {row.publication_state}"


def _runs_back(after: After) -> Iterator[str]:
    """A bot goes back once; what the runs say of it is what the rows say, and none is counted twice."""
    took: dict[tuple[int, str], list[int]] = {}
    for row in after.fleet.rows(_BACK):
        took.setdefault((row.publication_id, row.bot_id), []).append(row.run_id)
    states = {(row.publication_id, row.bot_id): row.state for row in after.bots}
    for (publication_id, bot_id), run_ids in took.items():
        if len(run_ids) > 1:
            yield f"runs {run_ids} all took {bot_id} of {publication_id} back"
        if (state := states[publication_id, bot_id]) != "rolled_back":
            yield f"run {run_ids[0]} took {bot_id} of {publication_id} back, which is {state}"
    for row in after.fleet.rows(_RUNS_BACK):
        counts = after.fleet.progress(row.run_id).counts
        said = (counts.rolled_back, counts.unchanged, counts.skipped, counts.failed)
        rows = (row.rolled_back, row.unchanged, row.skipped, row.failed)
        if said != rows:
            yield f"run {row.run_id} says {said}, the ledger {rows}"


def _states(after: After) -> Iterator[str]:
    for row in after.fleet.rows("SELECT * FROM flowshift.publications"):
        own = [wave for wave in after.waves if wave.publication_id == row.publication_id]
        states = [wave.state for wave in own]
        if row.state == "rolling_back":
            yield f"publication {row.publication_id} is still rolling back"
        if row.state == "completed" and not {*states} <= {"accepted", "passed", "rolled_back"}:
            yield f"publication {row.publication_id} is completed, its waves are {states}"
        if states.count("publishing") + states.count("watching") > 1:
            yield f"publication {row.publication_id} has waves {states}"
        live = [one.bot_id for one in after.bots if _is_of(one, row) and one.state in LIVE]
        if row.state == "rolled_back" and live:
            yield f"publication {row.publication_id} is rolled back, {live[:3]} are live"


def _audit(after: After) -> Iterator[str]:
    actions = [(row.publication_id, row.action, row.wave) for row in after.fleet.rows(_AUDIT)]
    for wave in after.waves:
        key = (wave.publication_id, "publication.publishing", wave.number)
        if wave.started_at is not None and key not in actions:
            yield f"nothing about the beginning of wave {wave.number} of {wave.publication_id}"
    for row in after.fleet.rows("SELECT publication_id, state FROM flowshift.publications"):
        created = [one for one in actions if one[:2] == (row.publication_id, "publication.created")]
        if len(created) != 1:
            yield f"publication {row.publication_id} was created {len(created)} times"
        ended = (row.publication_id, f"publication.{row.state}", None)
        if row.state in OVER and ended not in actions:
            yield f"nothing about publication {row.publication_id} being {row.state}"


def _is_of(bot: Any, publication: Any) -> bool:
    return bool(bot.publication_id == publication.publication_id)


_RUNS = """
    SELECT r.run_id, r.state, p.state AS publication_state,
           count(*) FILTER (WHERE l.outcome = 'published') AS published,
           count(*) FILTER (WHERE l.outcome = 'skipped') AS skipped
    FROM flowshift.runs r
    JOIN flowshift.publications p ON r.request_id LIKE 'publication-' || p.publication_id || '-wave-%'
    LEFT JOIN flowshift.ledger l ON l.run_id = r.run_id
    GROUP BY 1, 2, 3
"""

_BACK = """
    SELECT CAST(r.options ->> 'publication' AS int8) AS publication_id, l.bot_id, l.run_id
    FROM flowshift.ledger l JOIN flowshift.runs r ON r.run_id = l.run_id AND r.kind = 'roll_back'
    WHERE l.outcome = 'rolled_back'
"""

_RUNS_BACK = """
    SELECT r.run_id, count(*) FILTER (WHERE l.outcome = 'rolled_back') AS rolled_back,
           count(*) FILTER (WHERE l.outcome = 'unchanged') AS unchanged,
           count(*) FILTER (WHERE l.outcome = 'skipped') AS skipped,
           count(*) FILTER (WHERE l.outcome = 'failed') AS failed
    FROM flowshift.runs r LEFT JOIN flowshift.ledger l ON l.run_id = r.run_id
    WHERE r.kind = 'roll_back' GROUP BY 1
"""

_AUDIT = """
    SELECT CAST(detail ->> 'publication' AS int8) AS publication_id, action,
           CAST(detail ->> 'wave' AS int4) AS wave
    FROM flowshift.audit WHERE action LIKE 'publication.%'
"""

CLAIMS: dict[str, Callable[[After], Iterable[str]]] = {
    "counters of waves equal rows": _counters,
    "counters of runs equal rows, and no run outlives its publication": _run_counters,
    "runs take a bot back once, and count it once": _runs_back,
    "states of publications and waves agree": _states,
    "the audit trail has what happened": _audit,
}

AT_THE_END = ("states of publications and waves agree",)
"""What holds only once nothing of it is left to do."""
