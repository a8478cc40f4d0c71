"""Bot ids that are missing, and ids of two tables that PostgreSQL cannot compare."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy import exc

from worker.db.schema.catalog import FoundTable
from worker.db.schema.findings import Finding


def findings(connection: sa.Connection, tables: Sequence[FoundTable]) -> list[Finding]:
    """Rows of `bots` without a bot_id, as a note; collations that cannot be compared."""
    found = []
    by_name = {table.name: table for table in tables}
    bots = by_name.get("bots")
    if bots is not None and "bot_id" in bots.columns and (missing := _without_id(connection)):
        text = f"{missing:,} rows have no bot_id, and every run passes them over"
        found.append(Finding("bots", text, obstructs=False))
    if len(row := connection.execute(_COLLATIONS).all()) > 1:
        first, second = row
        found.append(
            Finding(
                "bot_workflow_versions",
                f'bots.bot_id has the collation "{first.name}", bot_workflow_versions.bot_id'
                f' "{second.name}", and PostgreSQL cannot compare the two: ALTER TABLE … ALTER COLUMN'
                " bot_id TYPE … COLLATE gives one that of the other",
            )
        )
    return found


def _without_id(connection: sa.Connection) -> int:
    """By the index on the key; 0 where the role may not look, which is said elsewhere."""
    try:
        with connection.begin_nested():
            count: int = connection.execute(_WITHOUT_ID).scalar_one()
    except exc.DBAPIError as error:
        if error.connection_invalidated:
            raise
        return 0
    return count


_WITHOUT_ID = sa.text("SELECT count(*) FROM bots WHERE bot_id IS NULL")

# One that is the database's own gives way to the other; two others do not.
_COLLATIONS = sa.text("""
    SELECT c.collname AS name
    FROM pg_attribute a JOIN pg_collation c ON c.oid = a.attcollation
    WHERE a.attrelid IN (to_regclass('bots'), to_regclass('bot_workflow_versions'))
      AND a.attname = 'bot_id' AND c.collname <> 'default'
      AND 1 < (
          SELECT count(DISTINCT b.attcollation)
          FROM pg_attribute b JOIN pg_collation d ON d.oid = b.attcollation
          WHERE b.attrelid IN (to_regclass('bots'), to_regclass('bot_workflow_versions'))
            AND b.attname = 'bot_id' AND d.collname <> 'default'
      )
    ORDER BY a.attrelid = to_regclass('bot_workflow_versions')
""")
