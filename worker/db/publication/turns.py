"""Which publications the gate looks at, one tick at a time each, and what keeps a wave from beginning."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import exc

from worker.db.expressions import seconds
from worker.db.publication.tables import publications
from worker.db.session import has_own


def open_publications(connection: sa.Connection, *, fresh_s: float = 0.0) -> list[int]:
    """The publications that are not over and were not looked at within `fresh_s`, the oldest first."""
    p = publications.c
    stale = sa.or_(p.looked_at.is_(None), p.looked_at < sa.func.now() - seconds(fresh_s))
    query = sa.select(p.publication_id).where(p.finished_at.is_(None), stale)
    return list(connection.scalars(query.order_by(p.publication_id)))


@contextmanager
def turn(engine: sa.Engine, publication_id: int) -> Iterator[bool]:
    """Keep other ticks from a publication; False if one has it.

    Not the lock of its state, which batches share: a tick looks while they publish. It belongs to a
    session that does nothing else and is in no transaction, for as long as a tick takes; a process that
    is killed loses it with its connection. Through a pooler, which lends sessions to others, it is a
    transaction that idles.
    """
    with engine.connect() as connection:
        is_kept = has_own(connection)
        if is_kept:
            connection.execution_options(isolation_level="AUTOCOMMIT")
        else:
            connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
        is_ours = bool(connection.scalar(_take(publication_id, is_kept=is_kept)))
        try:
            yield is_ours
        finally:
            if is_ours and is_kept:
                _give(connection, publication_id)


def _take(publication_id: int, *, is_kept: bool) -> sa.Select[tuple[bool]]:
    take = sa.func.pg_try_advisory_lock if is_kept else sa.func.pg_try_advisory_xact_lock
    return sa.select(take(_key(publication_id)))


def _give(connection: sa.Connection, publication_id: int) -> None:
    """Give the turn back; a session in which that fails is ended, and the lock with it."""
    try:
        connection.execute(sa.select(sa.func.pg_advisory_unlock(_key(publication_id))))
    except exc.DBAPIError:
        connection.invalidate()


def _key(publication_id: int) -> sa.ColumnElement[int]:
    return sa.func.hashtextextended(f"flowshift.tick {publication_id}", 0)


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
