"""What must hold of the gate's verdicts, whatever happened: every bot of the round is healthy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tests.fleet import Fleet
from tests.invariants import Verdict
from worker.core.publication.evidence import decode
from worker.core.publication.gate import judge

READINGS = """
SELECT r.publication_id, r.wave, r.read_at, r.outcome, r.sentence, r.reading::text AS reading,
       w.decided_at, w.state, row_number() OVER (PARTITION BY r.publication_id, r.wave
                                                 ORDER BY r.reading_id DESC) AS back
FROM flowshift.gate_readings r
JOIN flowshift.waves w ON w.publication_id = r.publication_id AND w.number = r.wave
ORDER BY r.reading_id
"""

AGAINST = """
SELECT action, reason FROM flowshift.audit
WHERE action IN ('publication.wave_failed', 'publication.quarantined') ORDER BY id
"""

PASSED = """
SELECT w.number, (SELECT count(*) FROM flowshift.audit a WHERE a.action = 'publication.wave_passed'
                  AND a.detail ->> 'wave' = w.number::text) AS said
FROM flowshift.waves w ORDER BY 1
"""


def of_the_gate(fleet: Fleet) -> list[Verdict]:
    """Each claim, of every look that there was in the round."""
    readings = fleet.rows(READINGS)
    print(f"  the gate's verdicts: {sorted(row.outcome for row in readings if row.back == 1)}")
    claims = {
        "no wave failed and no bot was quarantined, since none is sick": _none_against(fleet),
        "every verdict follows from its reading": _judged_again(readings),
        "no verdict was given on a wave after it was decided": _none_late(readings),
        "a wave passes once at most": _once(fleet),
    }
    return [Verdict(claim, tuple(found)) for claim, found in claims.items()]


def _none_against(fleet: Fleet) -> Iterator[str]:
    yield from (f"{row.action}: {row.reason}" for row in fleet.rows(AGAINST))


def _judged_again(readings: Sequence[Any]) -> Iterator[str]:
    for row in readings:
        again = judge(decode(row.reading))
        if (again.outcome, again.sentence) != (row.outcome, row.sentence):
            yield f"wave {row.wave}: {row.sentence}, and now {again.sentence}"


def _none_late(readings: Sequence[Any]) -> Iterator[str]:
    for row in readings:
        if row.decided_at is not None and row.read_at > row.decided_at:
            yield f"wave {row.wave}, {row.state} at {row.decided_at}: read at {row.read_at}"


def _once(fleet: Fleet) -> Iterator[str]:
    yield from (
        f"wave {row.number}: {row.said} times" for row in fleet.rows(PASSED) if row.said > 1
    )
