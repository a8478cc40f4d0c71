"""Records of publications that are too old: proofs of bots that are gone, and what the gate has read.

A publication itself, its waves and what became of each bot are kept: they say what was live when.
"""

from __future__ import annotations

import datetime as dt
from typing import Final

import sqlalchemy as sa

from worker.db.prune.piece import Piece

_COUNTED: Final = ("gate_bots", "gate_bad_minutes", "gate_control_minutes")
"""What the gate has counted of executions, from which it has made its readings."""

# Of the next bots in the order of their ids; an index finds each bot.
_PROOFS: Final = sa.text("""
    WITH page AS MATERIALIZED (
        SELECT bot_id FROM flowshift.proofs
        WHERE CAST(:after AS text) IS NULL OR bot_id > :after
        ORDER BY bot_id LIMIT :size
    ), gone AS (
        DELETE FROM flowshift.proofs p
        WHERE p.bot_id = ANY (ARRAY(SELECT bot_id FROM page)) AND p.proven_at < :before
          AND NOT EXISTS (SELECT FROM bots b WHERE b.bot_id COLLATE "default" = p.bot_id)
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM page) AS seen, (SELECT count(*) FROM gone) AS gone,
           (SELECT max(bot_id) FROM page) AS mark
""")

_SEES_BOTS: Final = sa.text("SELECT has_column_privilege('bots', 'bot_id', 'SELECT')")

# The last reading of a wave is the one that it was decided by.
_OLD_READINGS: Final = """
    FROM flowshift.gate_readings r
    JOIN flowshift.publications p ON p.publication_id = r.publication_id
    WHERE p.finished_at < :before AND EXISTS (
        SELECT FROM flowshift.gate_readings newer
        WHERE newer.publication_id = r.publication_id AND newer.wave = r.wave
          AND newer.reading_id > r.reading_id)
"""

_READINGS: Final = sa.text(f"""
    DELETE FROM flowshift.gate_readings WHERE reading_id = ANY (ARRAY(
        SELECT r.reading_id {_OLD_READINGS} ORDER BY r.reading_id LIMIT :size))
""")

_COUNTS: Final = {
    table: sa.text(f"""
        DELETE FROM flowshift.{table} WHERE ctid = ANY (ARRAY(
            SELECT c.ctid FROM flowshift.{table} c
            JOIN flowshift.publications p ON p.publication_id = c.publication_id
            WHERE p.finished_at < :before LIMIT :size))
    """)
    for table in _COUNTED
}

_PROOFS_WOULD_GO: Final = sa.text("""
    SELECT count(*) FROM flowshift.proofs p
    WHERE p.proven_at < :ledger
      AND NOT EXISTS (SELECT FROM bots b WHERE b.bot_id COLLATE "default" = p.bot_id)
""")

_WOULD_GO: Final = sa.text(f"""
    SELECT (SELECT count(*) {_OLD_READINGS.replace(":before", ":runs")}) AS gate_readings,
           {
    " + ".join(
        f"(SELECT count(*) FROM flowshift.{table} c JOIN flowshift.publications p"
        " ON p.publication_id = c.publication_id WHERE p.finished_at < :runs)"
        for table in _COUNTED
    )
} AS gate_counts
""")


def sees_bots(connection: sa.Connection) -> bool:
    """Whether the role may read which bots exist; one that only prunes executions need not."""
    return bool(connection.execute(_SEES_BOTS).scalar_one())


def delete_proofs(
    connection: sa.Connection, before: dt.datetime, *, after: str | None, size: int
) -> Piece:
    """Look at the next `size` proofs; delete those from before `before` whose bots are gone."""
    row = connection.execute(_PROOFS, {"before": before, "after": after, "size": size}).one()
    return Piece(row.seen, {"proofs": row.gone}, row.mark)


def delete_readings(connection: sa.Connection, before: dt.datetime, *, size: int) -> Piece:
    """Delete up to `size` readings of publications that were over before `before`, but each wave's last."""
    gone = connection.execute(_READINGS, {"before": before, "size": size}).rowcount
    return Piece(gone, {"gate_readings": gone})


def delete_counts(connection: sa.Connection, before: dt.datetime, *, size: int) -> Piece:
    """Delete up to `size` rows of what the gate counted for such publications, table by table."""
    gone = 0
    for statement in _COUNTS.values():
        if gone < size:
            values = {"before": before, "size": size - gone}
            gone += connection.execute(statement, values).rowcount
    return Piece(gone, {"gate_counts": gone})


def count(connection: sa.Connection, *, ledger: dt.datetime, runs: dt.datetime) -> dict[str, int]:
    """What would go, by kind, without deleting anything."""
    found = connection.execute(_WOULD_GO, {"runs": runs}).mappings().one()
    would_go = {kind: int(number) for kind, number in found.items()}
    if sees_bots(connection):
        proofs = connection.execute(_PROOFS_WOULD_GO, {"ledger": ledger}).scalar_one()
        would_go = {"proofs": int(proofs), **would_go}
    return would_go
