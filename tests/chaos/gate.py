"""What must hold of the gate's verdicts, whatever happened: it is known which bots were ever sick."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

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

DID = """
SELECT concat_ws(' ', split_part(action, '.', 2), detail ->> 'because', 'wave', detail ->> 'wave') AS did
FROM flowshift.audit WHERE actor = 'gate' AND action LIKE 'publication.%'
    AND action <> 'publication.publishing' ORDER BY id
"""

FAILED = """
SELECT a.reason, a.detail ->> 'wave' AS wave,
       (SELECT array_agg(b.bot_id) FROM flowshift.publication_bots b
        WHERE b.publication_id = (a.detail ->> 'publication')::bigint
          AND b.wave = (a.detail ->> 'wave')::int) AS bot_ids
FROM flowshift.audit a WHERE a.action = 'publication.wave_failed' ORDER BY a.id
"""

QUARANTINED = """
SELECT bot_id, message FROM flowshift.publication_bots WHERE state = 'quarantined' ORDER BY 1
"""

PASSED = """
SELECT w.number, (SELECT count(*) FROM flowshift.audit a WHERE a.action = 'publication.wave_passed'
                  AND a.detail ->> 'wave' = w.number::text) AS said
FROM flowshift.waves w ORDER BY 1
"""


class Trouble(msgspec.Struct):
    """What the round did to the bots: which were `sick` at any time, and how many outages there were."""

    sick: set[str] = set()
    still_sick: set[str] = set()
    outages: int = 0


def of_the_gate(fleet: Fleet, trouble: Trouble) -> list[Verdict]:
    """Each claim, of every look that there was in the round."""
    readings = fleet.rows(READINGS)
    print(f"  the gate's verdicts: {sorted(row.outcome for row in readings if row.back == 1)}")
    print(f"  what it did: {', '.join(row.did for row in fleet.rows(DID)) or 'nothing'}")
    claims = {
        "no wave failed but one with sick bots, or in an outage": _failed_well(fleet, trouble),
        "no bot was quarantined that was never sick": _quarantined_sick(fleet, trouble),
        "every verdict follows from its reading": _judged_again(readings),
        "no verdict was given on a wave after it was decided": _none_late(readings),
        "a wave passes once at most": _once(fleet),
    }
    return [Verdict(claim, tuple(found)) for claim, found in claims.items()]


def _failed_well(fleet: Fleet, trouble: Trouble) -> Iterator[str]:
    for row in fleet.rows(FAILED):
        if not (trouble.outages or trouble.sick & {*row.bot_ids}):
            yield f"wave {row.wave}, without a sick bot: {row.reason}"


def _quarantined_sick(fleet: Fleet, trouble: Trouble) -> Iterator[str]:
    for row in fleet.rows(QUARANTINED):
        if row.bot_id not in trouble.sick:
            yield f"{row.bot_id}: {row.message}"


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
