"""Backups of V1: each bot's workflow as it was before its first draft, filled once, never overwritten.

In `bots.legacy_workflow`, where the platform's guide looks for it, or in `flowshift.backups`, so that no
row of `bots` is ever updated: its triggers for UPDATE then have nothing to fire on. A bot has its
backup in one of the two, whatever the setting was when it was made.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

import sqlalchemy as sa
from psycopg import sql

from worker.db.bulk import driver
from worker.db.column_types import type_of
from worker.db.platform_tables import bots
from worker.db.tables import backups

Place = Literal["column", "table"]

# The ids come from the list: in the database's collation, which the key of our table is in, too.
_INTO_COLUMN = """
    UPDATE bots b SET legacy_workflow = b.workflow{cast}
    FROM unnest(%b::text[]) AS n (bot_id)
    WHERE b.bot_id = n.bot_id AND b.legacy_workflow IS NULL
      AND NOT EXISTS (SELECT FROM flowshift.backups k WHERE k.bot_id = n.bot_id)
    RETURNING n.bot_id::varchar
"""

# jsonb as the text that it is shown as; json as it is, to the last blank.
_INTO_TABLE = """
    INSERT INTO flowshift.backups (bot_id, workflow)
    SELECT n.bot_id, b.workflow::json
    FROM unnest(%b::text[]) AS n (bot_id)
    JOIN bots b ON b.bot_id = n.bot_id
    WHERE b.legacy_workflow IS NULL AND b.workflow IS NOT NULL
    ON CONFLICT DO NOTHING
    RETURNING bot_id::varchar
"""


def back_up(connection: sa.Connection, bot_ids: Sequence[str], place: Place) -> list[str]:
    """Keep the workflow of each bot that has no backup yet, as it is now; those that have one keep it.

    The bots are to be locked, so that of two batches the second sees what the first has kept. Returns
    the bots that got a backup now.
    """
    if not bot_ids:
        return []
    statement = sql.SQL(_INTO_TABLE) if place == "table" else _into_column(connection)
    with driver(connection).cursor() as cursor:
        cursor.execute(statement, (list(bot_ids),))
        return [bot_id for (bot_id,) in cursor.fetchall()]


_WITHOUT = """
    SELECT n.bot_id::varchar
    FROM unnest(%b::text[], %b::bool[]) AS n (bot_id, is_new)
    JOIN bots b ON b.bot_id = n.bot_id
    LEFT JOIN flowshift.backups k ON k.bot_id = n.bot_id
    WHERE COALESCE(b.legacy_workflow::text, k.workflow::text) IS NULL
       OR n.is_new AND COALESCE(b.legacy_workflow::text, k.workflow::text)::jsonb
                       IS DISTINCT FROM b.workflow::text::jsonb
"""


def without_backup(
    connection: sa.Connection, bot_ids: Sequence[str], filled: Collection[str]
) -> list[str]:
    """Of these bots, those that have no backup, or of those just `filled`, one of something else."""
    news = [bot_id in filled for bot_id in bot_ids]
    with driver(connection).cursor() as cursor:
        cursor.execute(_WITHOUT, (list(bot_ids), news))
        return [bot_id for (bot_id,) in cursor.fetchall()]


def _into_column(connection: sa.Connection) -> sql.Composed:
    workflow, legacy = (type_of(connection, "bots", c) for c in ("workflow", "legacy_workflow"))
    same = workflow == legacy
    return sql.SQL(_INTO_COLUMN).format(
        cast=sql.SQL("") if same else sql.SQL("::text::{}").format(legacy)
    )


# -- where the backup of a row of `bots` is, in a query that joins BESIDE_BOTS --------------------


BESIDE_BOTS = bots.outerjoin(backups, backups.c.bot_id == bots.c.bot_id.collate("default"))
"""`bots`, each row beside its row of `flowshift.backups`, if it has one."""

IS_BACKED_UP: sa.ColumnElement[bool] = sa.or_(
    bots.c.legacy_workflow.is_not(None), backups.c.bot_id.is_not(None)
)

PLACE: sa.ColumnElement[str | None] = sa.case(
    (bots.c.legacy_workflow.is_not(None), sa.literal("column")),
    (backups.c.bot_id.is_not(None), sa.literal("table")),
)
"""Where it is; null if there is none."""
