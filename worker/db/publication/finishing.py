"""Clear the V1 of bots that are finished with it, and bring it back: always with a copy of ours.

    lock ─► read ─► copy into flowshift.finished_bots ─► count, compare by hash ─► clear ─► look again

The caller decides which bots, and commits. Each function is one batch, set-based.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from psycopg import errors, sql

from worker.core.publication.finishing import Archived, Fact
from worker.db.bulk import driver
from worker.db.column_types import type_of
from worker.db.publication.content import workflow_hash
from worker.db.publication.finishing_rights import not_null
from worker.errors import BotError, UsageError

PAGE: Final = 2_000

_IS_JSON_NULL: Final = "'^[[:space:]]*null[[:space:]]*$'"
_WENT_OUT: Final = "('published', 'confirmed', 'superseded')"

_CANDIDATES: Final = f"""
    SELECT DISTINCT p.bot_id FROM flowshift.publication_bots p
    WHERE p.bot_id > %s AND p.state IN {_WENT_OUT} ORDER BY p.bot_id LIMIT %s
"""  # noqa: S608  (constants)

_FINISHED: Final = """
    SELECT f.bot_id FROM flowshift.finished_bots f WHERE f.bot_id > %s ORDER BY f.bot_id LIMIT %s
"""

# Since when: the first publication after the last rollback. What a person published later runs on V2, too.
# LIMIT keeps to the index by bot: an EXISTS may be turned into a scan of every execution that there is.
_FACTS: Final = f"""
    SELECT n.bot_id, b.bot_id IS NOT NULL, COALESCE(b.use_workflow_v2, false), live.id IS NOT NULL,
           b.workflow IS NOT NULL AND b.workflow::text !~ {_IS_JSON_NULL},
           b.legacy_workflow IS NOT NULL OR k.bot_id IS NOT NULL,
           {workflow_hash("b")} IS DISTINCT FROM s.workflow_hash, f.bot_id IS NOT NULL,
           (SELECT true FROM workflow_execution_runs e
            WHERE e.bot_id = b.bot_id AND e.workflow_version_id = live.id
              AND e.status::text = 'succeeded'
              AND NOT starts_with(COALESCE(e.session_id::text, ''), 'flowshift:')
            LIMIT 1) IS NOT NULL,
           EXTRACT(epoch FROM now() - s.since)::float8
    FROM unnest(%s::text[]) AS n (bot_id)
    LEFT JOIN bots b ON b.bot_id = n.bot_id
    LEFT JOIN flowshift.backups k ON k.bot_id = n.bot_id
    LEFT JOIN flowshift.finished_bots f ON f.bot_id = n.bot_id
    LEFT JOIN LATERAL (
        SELECT min(p.published_at) AS since,
               (array_agg(p.workflow_hash ORDER BY p.published_at DESC))[1] AS workflow_hash
        FROM flowshift.publication_bots p
        WHERE p.bot_id = n.bot_id AND p.state IN {_WENT_OUT}
          AND p.published_at > COALESCE(
              (SELECT max(q.moved_at) FROM flowshift.publication_bots q
               WHERE q.bot_id = n.bot_id AND q.state IN ('rolled_back', 'quarantined')),
              '-infinity')) s ON true
    LEFT JOIN LATERAL (
        SELECT o.id FROM bot_workflow_versions o
        WHERE o.bot_id = b.bot_id AND o.status::text = 'published'
        ORDER BY o.published_at DESC NULLS FIRST LIMIT 1) live ON true
    ORDER BY n.bot_id
"""  # noqa: S608  (constants)

_IN_ARCHIVE: Final = f"""
    SELECT n.bot_id, f.bot_id IS NOT NULL, b.bot_id IS NOT NULL,
           (b.workflow IS NULL OR b.workflow::text ~ {_IS_JSON_NULL})
           AND b.legacy_workflow IS NULL AND k.bot_id IS NULL
    FROM unnest(%s::text[]) AS n (bot_id)
    LEFT JOIN flowshift.finished_bots f ON f.bot_id = n.bot_id
    LEFT JOIN bots b ON b.bot_id = n.bot_id
    LEFT JOIN flowshift.backups k ON k.bot_id = n.bot_id
    ORDER BY n.bot_id
"""  # noqa: S608  (constants)


def candidates(connection: sa.Connection, after: str, *, are_finished: bool) -> list[str]:
    """A page of the bots that went out, or of those that are finished: the next ones after this id."""
    with driver(connection).cursor() as cursor:
        cursor.execute(_FINISHED if are_finished else _CANDIDATES, [after, PAGE])
        return [bot_id for (bot_id,) in cursor.fetchall()]


def facts(connection: sa.Connection, bot_ids: Sequence[str]) -> list[Fact]:
    """These bots as they are committed now, by id."""
    with driver(connection).cursor() as cursor:
        cursor.execute(_FACTS, [list(bot_ids)])
        return [
            Fact(
                bot_id=bot_id,
                exists=exists,
                uses_v2=uses_v2,
                has_live=has_live,
                has_v1=has_v1,
                has_backup=has_backup,
                is_edited=is_edited,
                is_finished=is_finished,
                was_executed=was_executed,
                on_v2_s=on_v2_s,
            )
            for (
                bot_id,
                exists,
                uses_v2,
                has_live,
                has_v1,
                has_backup,
                is_edited,
                is_finished,
                was_executed,
                on_v2_s,
            ) in dict.fromkeys(cursor.fetchall())
        ]


def archived(connection: sa.Connection, bot_ids: Sequence[str]) -> list[Archived]:
    """These bots as they are committed now, for bringing their V1 back."""
    with driver(connection).cursor() as cursor:
        cursor.execute(_IN_ARCHIVE, [list(bot_ids)])
        return [
            Archived(bot_id=bot_id, is_finished=finished, exists=exists, is_empty=bool(empty))
            for bot_id, finished, exists, empty in dict.fromkeys(cursor.fetchall())
        ]


# -- clearing --------------------------------------------------------------------------------------

_HASH: Final = """
    encode(sha256(convert_to(
        ROW({workflow}::text, {legacy}::text, {backup}::text)::text, 'UTF8')), 'hex')
"""
_HASH_OF_BOT: Final = _HASH.format(
    workflow="b.workflow", legacy="b.legacy_workflow", backup="k.workflow"
)
_HASH_OF_COPY: Final = _HASH.format(
    workflow="f.workflow", legacy="f.legacy_workflow", backup="f.backup"
)

_COPY: Final = f"""
    INSERT INTO flowshift.finished_bots
        (bot_id, workflow, legacy_workflow, backup, backed_up_at, content_hash, finished_by)
    SELECT n.bot_id, b.workflow::text::json, b.legacy_workflow::text::json, k.workflow, k.backed_up_at,
           {_HASH_OF_BOT}, %s
    FROM unnest(%s::text[]) AS n (bot_id)
    JOIN bots b ON b.bot_id = n.bot_id
    LEFT JOIN flowshift.backups k ON k.bot_id = n.bot_id
"""  # noqa: S608  (constants)

# What is stored now, read again: a copy that differs in one byte does not count.
_SAME: Final = f"""
    SELECT count(*) FROM unnest(%s::text[]) AS n (bot_id)
    JOIN flowshift.finished_bots f ON f.bot_id = n.bot_id
    JOIN bots b ON b.bot_id = n.bot_id
    LEFT JOIN flowshift.backups k ON k.bot_id = n.bot_id
    WHERE f.content_hash = {_HASH_OF_COPY} AND f.content_hash = {_HASH_OF_BOT}
"""  # noqa: S608  (constants)

_CLEAR: Final = """
    UPDATE bots SET workflow = NULL, legacy_workflow = NULL WHERE bot_id = ANY(%s)
"""
_CLEAR_BACKUPS: Final = "DELETE FROM flowshift.backups WHERE bot_id = ANY(%s)"

_CLEARED: Final = """
    SELECT count(*) FROM bots b WHERE b.bot_id = ANY(%s) AND b.use_workflow_v2
      AND b.workflow IS NULL AND b.legacy_workflow IS NULL
      AND NOT EXISTS (SELECT FROM flowshift.backups k WHERE k.bot_id = b.bot_id COLLATE "default")
"""


def clear(connection: sa.Connection, bot_ids: Sequence[str], *, actor: str) -> None:
    """Copy V1 and its backups into our schema, compare, and only then clear them.

    The bots are locked, and decided about under the lock. Nothing is committed here.

    Raises:
        BotError: a copy differs, or a row did not become what was written (a trigger?).
        UsageError: the platform insists on a workflow.
    """
    ids = list(bot_ids)
    if not ids:
        return
    with driver(connection).cursor() as cursor:
        cursor.execute(_COPY, [actor, ids])
        _need_all(cursor.rowcount, ids, "were copied")
        _need_all(
            _one(cursor.execute(_SAME, [ids]).fetchone()), ids, "have a copy that is the same"
        )
        try:
            cursor.execute(_CLEAR, [ids])
        except (errors.NotNullViolation, errors.CheckViolation) as error:
            raise UsageError(not_null("bots.workflow")) from error
        cursor.execute(_CLEAR_BACKUPS, [ids])
        _need_all(_one(cursor.execute(_CLEARED, [ids]).fetchone()), ids, "were cleared")


# -- bringing back ---------------------------------------------------------------------------------

_RESTORE: Final = """
    UPDATE bots b
    SET workflow = f.workflow::text::{workflow}, legacy_workflow = f.legacy_workflow::text::{legacy}
    FROM flowshift.finished_bots f
    WHERE f.bot_id = ANY(%s) AND b.bot_id COLLATE "default" = f.bot_id AND b.bot_id = ANY(%s)
"""
_RESTORE_BACKUPS: Final = """
    INSERT INTO flowshift.backups (bot_id, workflow, backed_up_at)
    SELECT f.bot_id, f.backup, f.backed_up_at FROM flowshift.finished_bots f
    WHERE f.bot_id = ANY(%s) AND f.backup IS NOT NULL
"""
_FORGET: Final = "DELETE FROM flowshift.finished_bots WHERE bot_id = ANY(%s)"


def restore(connection: sa.Connection, bot_ids: Sequence[str]) -> None:
    """Bring V1 and its backups back, to the byte, and forget the copies once they compare equal.

    The bots are locked, and decided about under the lock. Nothing is committed here.

    Raises:
        BotError: what came back is not what was cleared (a trigger?).
    """
    ids = list(bot_ids)
    if not ids:
        return
    restore_query = sql.SQL(_RESTORE).format(
        workflow=type_of(connection, "bots", "workflow"),
        legacy=type_of(connection, "bots", "legacy_workflow"),
    )
    with driver(connection).cursor() as cursor:
        cursor.execute(restore_query, [ids, ids])
        _need_all(cursor.rowcount, ids, "were restored")
        cursor.execute(_RESTORE_BACKUPS, [ids])
        _need_all(_one(cursor.execute(_SAME, [ids]).fetchone()), ids, "came back the same")
        cursor.execute(_FORGET, [ids])


def _one(row: tuple[Any, ...] | None) -> int:
    return int(row[0]) if row else 0


def _need_all(found: int, ids: Sequence[str], what: str) -> None:
    if found != len(ids):
        raise BotError(
            "internal_error",
            f"of {len(ids):,} bots only {found:,} {what}, and nothing of them was changed: does a trigger"
            " on bots, or on a table of flowshift's, change or suppress what is written?",
        )
