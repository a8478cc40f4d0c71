"""What the gate read and said, kept so that every verdict can be computed again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
import sqlalchemy as sa

from worker.core.publication.evidence import Reading, decode, encode, shown
from worker.core.publication.gate import Outcome, Verdict
from worker.db.measuring import totals


class Kept(msgspec.Struct, frozen=True):
    """A verdict as it was said, and the reading that `worker.core.publication.gate.judge` judged."""

    read_at: datetime
    outcome: Outcome
    sentence: str
    reading: Reading


_INSERT: Final = sa.text("""
    INSERT INTO flowshift.gate_readings (publication_id, wave, outcome, sentence, reading)
    VALUES (:publication_id, :wave, :outcome, :sentence, CAST(:reading AS jsonb))
""")

_OF_WAVE: Final = sa.text("""
    SELECT read_at, outcome, sentence, reading::text AS reading FROM flowshift.gate_readings
    WHERE publication_id = :publication_id AND wave = :wave
    ORDER BY reading_id DESC LIMIT :limit
""")


_LAST_TWO: Final = sa.text("""
    SELECT reading_id, read_at, outcome, sentence, reading::text AS reading
    FROM flowshift.gate_readings WHERE publication_id = :publication_id AND wave = :wave
    ORDER BY reading_id DESC LIMIT 2
""")

_FORGET: Final = sa.text("DELETE FROM flowshift.gate_readings WHERE reading_id = :reading_id")


def keep(connection: sa.Connection, reading: Reading, verdict: Verdict) -> None:
    """Add a verdict with its reading, in the transaction of what follows from it.

    Of readings that say the same, one after the other, the first and the last are kept: a wave that
    is watched for a day without an execution has two rows.
    """
    place = {"publication_id": reading.publication_id, "wave": reading.wave}
    before = connection.execute(_LAST_TWO, place).all()
    now = (verdict.outcome, shown(reading))
    if len(before) == 2 and all((row.outcome, shown(decode(row.reading))) == now for row in before):
        connection.execute(_FORGET, {"reading_id": before[0].reading_id})
    connection.execute(
        _INSERT,
        {
            "publication_id": reading.publication_id,
            "wave": reading.wave,
            "outcome": verdict.outcome,
            "sentence": verdict.sentence,
            "reading": encode(reading).decode(),
        },
    )
    totals.add_one(connection, "flowshift_gate_verdicts", verdict.outcome)


_NEWEST: Final = sa.text("""
    SELECT w.number AS wave, r.* FROM flowshift.waves w
    CROSS JOIN LATERAL (
        SELECT g.read_at, g.outcome, g.sentence, g.reading::text AS reading
        FROM flowshift.gate_readings g
        WHERE g.publication_id = w.publication_id AND g.wave = w.number
        ORDER BY g.reading_id DESC LIMIT 1) r
    WHERE w.publication_id = :publication_id
      AND (CAST(:waves AS int[]) IS NULL OR w.number = ANY(CAST(:waves AS int[])))
    ORDER BY w.number
""")


def newest(
    connection: sa.Connection, publication_id: int, waves: Sequence[int] | None = None
) -> dict[int, Kept]:
    """The last verdict of each wave that has one; of these `waves` only, if given."""
    given = {"publication_id": publication_id, "waves": None if waves is None else list(waves)}
    return {
        row.wave: Kept(row.read_at, row.outcome, row.sentence, decode(row.reading))
        for row in connection.execute(_NEWEST, given)
    }


def of_wave(
    connection: sa.Connection, publication_id: int, wave: int, *, limit: int = 1
) -> list[Kept]:
    """The last verdicts of a wave, the newest first."""
    rows = connection.execute(
        _OF_WAVE, {"publication_id": publication_id, "wave": wave, "limit": limit}
    )
    return [Kept(row.read_at, row.outcome, row.sentence, decode(row.reading)) for row in rows]
