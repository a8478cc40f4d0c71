"""The statements of an attempt that no batch has: choosing bots, and looking at what is there after."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence

import sqlalchemy as sa

from worker.db.prune import delete
from worker.db.prune import executions as prune

LOOKED_AT = 500
"""Rows looked at from each end of the key's index for bots with a workflow."""


def begin(connection: sa.Connection, *, lock_timeout_ms: int, statement_timeout_ms: int) -> str:
    """Set this transaction's limits, and let constraints answer at once; returns the role."""
    connection.execute(
        _LIMIT, {"lock": f"{lock_timeout_ms}ms", "statement": f"{statement_timeout_ms}ms"}
    )
    connection.execute(sa.text("SET CONSTRAINTS ALL IMMEDIATE"))
    role: str = connection.execute(sa.text("SELECT current_user::text")).scalar_one()
    return role


def lock_some_bots(connection: sa.Connection, most: int) -> list[str]:
    """Lock up to `most` bots with a workflow, of either end of the key; those in use are passed over.

    Nor is a bot taken whose draft is in use. In key order.
    """
    chosen = connection.execute(_CHOOSE, {"looked_at": LOOKED_AT, "each": most // 2})
    locked = connection.execute(_LOCK, {"ids": list(chosen.scalars())})
    ids = list(locked.scalars())
    with_draft = set(connection.execute(_WITH_DRAFT, {"ids": ids}).scalars())
    free = set(connection.execute(_LOCK_DRAFTS, {"ids": ids}).scalars())
    return [bot_id for bot_id in ids if bot_id not in with_draft or bot_id in free]


def any_bot(connection: sa.Connection) -> bool:
    """Whether this role sees a bot with a workflow at all."""
    return bool(connection.execute(_ANY_BOT).scalar_one())


def with_a_version_called_draft(connection: sa.Connection, ids: Sequence[str]) -> set[str]:
    """Which of these bots have a version that keeps a draft from being inserted."""
    return set(connection.execute(_CALLED_DRAFT, {"ids": list(ids)}).scalars())


def without_a_backup(connection: sa.Connection, ids: Sequence[str]) -> set[str]:
    """Which of these bots have no backup of their workflow."""
    return set(connection.execute(_EMPTY_BACKUP, {"ids": list(ids)}).scalars())


def without_their_backup(connection: sa.Connection, ids: Sequence[str]) -> set[str]:
    """Which of these bots do not hold their workflow in `legacy_workflow`."""
    return set(connection.execute(_NOT_BACKED_UP, {"ids": list(ids)}).scalars())


def in_ledger(connection: sa.Connection, run_id: int) -> set[str]:
    """The bots of a run that are in the ledger."""
    return set(connection.execute(_IN_LEDGER, {"run_id": run_id}).scalars())


def delete_executions(connection: sa.Connection, executions: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    """Delete executions by the statements of a prune; those that are left and should not be.

    Raises:
        ConfigError: references to executions are hidden from this role.
    """
    found = prune.find(connection, prune.now(connection) + dt.timedelta(days=1))
    wanted = [str(key) for key in executions]
    kept = set(delete.delete_runs(connection, found, wanted))
    ids = {"ids": [key for key in wanted if key not in kept]}
    return {uuid.UUID(str(key)) for key in connection.execute(_LEFT, ids).scalars()}


_LIMIT = sa.text("""
    SELECT set_config('lock_timeout', :lock, true), set_config('statement_timeout', :statement, true)
""")

_CHOOSE = sa.text("""
    WITH first AS (
        SELECT bot_id FROM (
            SELECT bot_id, workflow IS NOT NULL AND use_workflow_v2 IS NOT TRUE AS converts
            FROM bots WHERE bot_id IS NOT NULL ORDER BY bot_id LIMIT :looked_at
        ) looked_at WHERE converts ORDER BY bot_id LIMIT :each
    ), last AS (
        SELECT bot_id FROM (
            SELECT bot_id, workflow IS NOT NULL AND use_workflow_v2 IS NOT TRUE AS converts
            FROM bots WHERE bot_id IS NOT NULL ORDER BY bot_id DESC LIMIT :looked_at
        ) looked_at WHERE converts ORDER BY bot_id DESC LIMIT :each
    )
    SELECT bot_id::text FROM first UNION SELECT bot_id::text FROM last
""")
_LOCK = sa.text("""
    SELECT bot_id::text FROM bots WHERE bot_id = ANY (CAST(:ids AS text[]))
    ORDER BY bot_id FOR NO KEY UPDATE SKIP LOCKED
""")
_WITH_DRAFT = sa.text("""
    SELECT bot_id::text FROM bot_workflow_versions
    WHERE bot_id = ANY (CAST(:ids AS text[])) AND status = 'draft'
""")
_LOCK_DRAFTS = sa.text(f"{_WITH_DRAFT.text} FOR UPDATE SKIP LOCKED")
_ANY_BOT = sa.text("""
    SELECT EXISTS (SELECT FROM bots WHERE bot_id IS NOT NULL AND workflow IS NOT NULL)
""")
_CALLED_DRAFT = sa.text("""
    SELECT bot_id::text FROM bot_workflow_versions
    WHERE bot_id = ANY (CAST(:ids AS text[])) AND version = 'draft'
""")
_EMPTY_BACKUP = sa.text("""
    SELECT n.bot_id FROM unnest(CAST(:ids AS text[])) AS n (bot_id) JOIN bots b ON b.bot_id = n.bot_id
    WHERE b.legacy_workflow IS NULL
      AND NOT EXISTS (SELECT FROM flowshift.backups k WHERE k.bot_id = n.bot_id)
""")
_NOT_BACKED_UP = sa.text("""
    SELECT bot_id::text FROM bots WHERE bot_id = ANY (CAST(:ids AS text[]))
      AND (
          legacy_workflow IS NULL
          OR pg_typeof(workflow) = pg_typeof(legacy_workflow)
             AND workflow::text <> legacy_workflow::text
      )
""")
_IN_LEDGER = sa.text("SELECT bot_id FROM flowshift.ledger WHERE run_id = :run_id")
_LEFT = sa.text("""
    SELECT id FROM workflow_execution_runs WHERE id = ANY (CAST(:ids AS uuid[]))
""")
