"""Which publications the gate looks at, one tick at a time each, and what keeps a wave from beginning."""

from __future__ import annotations

from typing import Final

import msgspec
import sqlalchemy as sa

from worker.db.expressions import seconds
from worker.db.publication.tables import publications


def open_publications(connection: sa.Connection, *, fresh_s: float = 0.0) -> list[int]:
    """The publications that are not over and were not looked at within `fresh_s`, the oldest first."""
    p = publications.c
    stale = sa.or_(p.looked_at.is_(None), p.looked_at < sa.func.now() - seconds(fresh_s))
    query = sa.select(p.publication_id).where(p.finished_at.is_(None), stale)
    return list(connection.scalars(query.order_by(p.publication_id)))


def take_turn(connection: sa.Connection, publication_id: int) -> bool:
    """Keep other ticks from a publication until this transaction ends; False if one has it.

    Not the lock of its state, which batches share: a tick looks while they publish. The transaction
    may idle for as long as the tick takes, and keeps nothing else.
    """
    connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
    key = sa.func.hashtextextended(f"flowshift.tick {publication_id}", 0)
    return connection.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(key))) or False


class Holder(msgspec.Struct, frozen=True):
    """A run that has bots of a wave to do."""

    run_id: int
    kind: str


# A batch without a list is a range of the fleet: by which order, only the platform's column knows.
_HOLDER: Final = sa.text("""
    SELECT r.run_id, r.kind FROM flowshift.runs r
    WHERE NOT r.dry_run AND r.state IN ('planning', 'running', 'paused', 'finishing') AND (
        r.state = 'planning'
        OR EXISTS (
            SELECT FROM flowshift.batches b
            WHERE b.run_id = r.run_id
              AND (b.state = 'running' OR b.state = 'pending' AND r.state = 'running')
              AND (b.bot_ids IS NULL OR EXISTS (
                  SELECT FROM flowshift.publication_bots p
                  WHERE p.publication_id = :publication_id AND p.wave = :wave
                    AND p.state = 'pending' AND p.bot_id = ANY(b.bot_ids)))))
    ORDER BY r.run_id LIMIT 1
""")


def holder(connection: sa.Connection, publication_id: int, wave: int) -> Holder | None:
    """A run that has bots of this wave at work, or is about to; None if none has.

    What one run does to a draft, another would publish, or skip as changed. A dry run changes
    nothing, and a paused run has at work what its workers have claimed, and no more.
    """
    values = {"publication_id": publication_id, "wave": wave}
    row = connection.execute(_HOLDER, values).one_or_none()
    return None if row is None else Holder(row.run_id, row.kind)


_SINCE_LOOK: Final = sa.text("""
    SELECT EXTRACT(epoch FROM now() - greatest(looked_at, moved_at))
    FROM flowshift.publications WHERE publication_id = :id
""")


def unlooked_s(connection: sa.Connection, publication_id: int) -> float:
    """Seconds since the gate looked, or the publication moved: by the database's clock."""
    return float(connection.scalar(_SINCE_LOOK, {"id": publication_id}) or 0)
