"""flowshift's own records that are too old: the ledger, runs with their batches, the audit trail."""

from __future__ import annotations

import datetime as dt
from typing import Any

import sqlalchemy as sa

from worker.db.expressions import graph_hash
from worker.db.prune.piece import Piece


def run_to_thin(connection: sa.Connection, before: dt.datetime) -> int | None:
    """A run, over since before `before`, whose ledger rows are to go; the oldest first."""
    return _id(connection, _TO_THIN, before)


def thin_ledger(connection: sa.Connection, run_id: int, *, after: str | None, size: int) -> Piece:
    """Delete what the ledger says of a run's next `size` bots after `after`, except what is still needed.

    A draft counts as ours if the ledger holds the hash of its content (worker/db/drafts.py), so for
    each bot the newest row with a hash stays, and the newest with the hash of the draft as it is
    now. Rows of earlier runs that were kept for that, and need not be any more, go with these.
    """
    row = connection.execute(_THIN, {"run_id": run_id, "after": after, "size": size}).one()
    return Piece(row.seen, {"ledger": row.gone}, row.mark)


def thinned(connection: sa.Connection, run_id: int) -> None:
    """Note that the ledger holds no more of a run than is needed."""
    connection.execute(_THINNED, {"run_id": run_id})


def run_to_delete(connection: sa.Connection, before: dt.datetime) -> int | None:
    """A run, over since before `before`, that may go: its ledger is thinned, no retry names it."""
    return _id(connection, _TO_DELETE, before)


def delete_batches(connection: sa.Connection, run_id: int, *, size: int) -> Piece:
    """Delete up to `size` batches of a run."""
    return _delete(connection, "batches", _BATCHES, run_id=run_id, size=size)


def delete_run(connection: sa.Connection, run_id: int) -> Piece:
    """Delete a run that has no batches any more, with what it was allowed to spend."""
    return _delete(connection, "own_runs", _RUN, run_id=run_id)


def delete_audit(connection: sa.Connection, before: dt.datetime, *, size: int) -> Piece:
    """Delete up to `size` of the oldest lines of the audit trail from before `before`."""
    return _delete(connection, "audit", _AUDIT, before=before, size=size)


def delete_prunes(connection: sa.Connection, before: dt.datetime, *, size: int) -> Piece:
    """Delete up to `size` records of prunes that ended before `before`."""
    return _delete(connection, "prunes", _PRUNES, before=before, size=size)


def delete_notifications(connection: sa.Connection, before: dt.datetime, *, size: int) -> Piece:
    """Delete up to `size` notifications from before `before`, with what channels got of them."""
    return _delete(connection, "notifications", _NOTIFICATIONS, before=before, size=size)


def count(
    connection: sa.Connection, *, ledger: dt.datetime, runs: dt.datetime, audit: dt.datetime
) -> dict[str, int]:
    """What would go, by kind, without deleting anything."""
    found = connection.execute(_COUNT, {"ledger": ledger, "runs": runs, "audit": audit})
    return {kind: int(number) for kind, number in found.mappings().one().items()}


def _delete(connection: sa.Connection, kind: str, statement: sa.TextClause, **bound: Any) -> Piece:
    gone = connection.execute(statement, bound).rowcount
    return Piece(gone, {kind: gone})


def _id(connection: sa.Connection, query: sa.TextClause, before: dt.datetime) -> int | None:
    found = connection.execute(query, {"before": before}).scalar()
    return None if found is None else int(found)


# A row `l` of the ledger by which a later run knows a draft as ours.
_NEEDED = f"""
    l.draft_hash IS NOT NULL AND (
        NOT EXISTS (
            SELECT FROM flowshift.ledger newer
            WHERE newer.bot_id = l.bot_id AND newer.run_id > l.run_id
              AND newer.draft_hash IS NOT NULL
        )
        OR NOT EXISTS (
            SELECT FROM flowshift.ledger newer
            WHERE newer.bot_id = l.bot_id AND newer.run_id > l.run_id
              AND newer.draft_hash = l.draft_hash
        )
        AND EXISTS (
            SELECT FROM bot_workflow_versions d
            WHERE d.bot_id = l.bot_id AND d.status = 'draft'
              AND {graph_hash("d")} = l.draft_hash
        )
    )
"""

_OVER = "r.state IN ('completed', 'completed_with_failures', 'cancelled', 'failed')"

_TO_THIN = sa.text(f"""
    SELECT r.run_id FROM flowshift.runs r
    WHERE {_OVER} AND r.finished_at < :before AND r.ledger_pruned_at IS NULL
    ORDER BY r.run_id LIMIT 1
""")

_THIN = sa.text(f"""
    WITH page AS MATERIALIZED (
        SELECT bot_id FROM flowshift.ledger
        WHERE run_id = :run_id AND (CAST(:after AS text) IS NULL OR bot_id > :after)
        ORDER BY bot_id LIMIT :size
    ), gone AS (
        DELETE FROM flowshift.ledger l
        WHERE l.bot_id = ANY (ARRAY(SELECT bot_id FROM page)) AND l.run_id <= :run_id
          AND (
              l.run_id = :run_id
              OR NOT EXISTS (
                  SELECT FROM flowshift.runs r
                  WHERE r.run_id = l.run_id AND r.ledger_pruned_at IS NULL
              )
          )
          AND NOT ({_NEEDED})
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM page) AS seen, (SELECT count(*) FROM gone) AS gone,
           (SELECT max(bot_id) FROM page) AS mark
""")

_THINNED = sa.text("UPDATE flowshift.runs SET ledger_pruned_at = now() WHERE run_id = :run_id")

_DELETABLE = f"""
    {_OVER} AND r.finished_at < :before AND r.ledger_pruned_at IS NOT NULL
    AND NOT EXISTS (SELECT FROM flowshift.runs child WHERE child.parent_run_id = r.run_id)
"""

_TO_DELETE = sa.text(f"""
    SELECT r.run_id FROM flowshift.runs r WHERE {_DELETABLE} ORDER BY r.run_id LIMIT 1
""")

_BATCHES = sa.text("""
    DELETE FROM flowshift.batches WHERE run_id = :run_id AND number = ANY (ARRAY(
        SELECT number FROM flowshift.batches WHERE run_id = :run_id ORDER BY number LIMIT :size
    ))
""")

_RUN = sa.text("""
    WITH budget AS (
        DELETE FROM flowshift.budgets WHERE run_id = :run_id
    )
    DELETE FROM flowshift.runs r WHERE r.run_id = :run_id
      AND NOT EXISTS (SELECT FROM flowshift.batches b WHERE b.run_id = r.run_id)
""")

_AUDIT = sa.text("""
    DELETE FROM flowshift.audit WHERE id = ANY (ARRAY(
        SELECT id FROM flowshift.audit WHERE at < :before ORDER BY at LIMIT :size
    ))
""")

_PRUNES = sa.text("""
    DELETE FROM flowshift.prunes WHERE prune_id = ANY (ARRAY(
        SELECT prune_id FROM flowshift.prunes WHERE finished_at < :before
        ORDER BY prune_id LIMIT :size
    ))
""")

_NOTIFICATIONS = sa.text("""
    DELETE FROM flowshift.notifications WHERE notification_id = ANY (ARRAY(
        SELECT notification_id FROM flowshift.notifications WHERE happened_at < :before
        ORDER BY happened_at LIMIT :size
    ))
""")

# A run goes with its batches once every retry of it is as old.
_COUNT = sa.text(f"""
    WITH RECURSIVE thin AS (
        SELECT r.run_id FROM flowshift.runs r
        WHERE {_OVER} AND r.finished_at < :ledger AND r.ledger_pruned_at IS NULL
    ), kept AS (
        SELECT r.run_id, r.parent_run_id FROM flowshift.runs r
        WHERE NOT ({_OVER} AND r.finished_at < :runs
                   AND (r.ledger_pruned_at IS NOT NULL OR r.finished_at < :ledger))
        UNION
        SELECT r.run_id, r.parent_run_id FROM flowshift.runs r
        JOIN kept ON kept.parent_run_id = r.run_id
    ), going AS (
        SELECT r.run_id FROM flowshift.runs r WHERE r.run_id NOT IN (SELECT run_id FROM kept)
    )
    SELECT (
               SELECT count(*) FROM flowshift.ledger l
               WHERE EXISTS (SELECT FROM thin) AND (
                   l.run_id IN (SELECT run_id FROM thin)
                   OR NOT EXISTS (
                       SELECT FROM flowshift.runs r
                       WHERE r.run_id = l.run_id AND r.ledger_pruned_at IS NULL
                   ) AND EXISTS (
                       SELECT FROM flowshift.ledger taken
                       WHERE taken.bot_id = l.bot_id AND taken.run_id > l.run_id
                         AND taken.run_id IN (SELECT run_id FROM thin)
                   )
               ) AND NOT ({_NEEDED})
           ) AS ledger,
           (SELECT count(*) FROM going) AS own_runs,
           (
               SELECT count(*) FROM flowshift.batches b WHERE b.run_id IN (SELECT run_id FROM going)
           ) AS batches,
           (SELECT count(*) FROM flowshift.audit WHERE at < :audit) AS audit,
           (SELECT count(*) FROM flowshift.notifications WHERE happened_at < :audit) AS notifications
""")
