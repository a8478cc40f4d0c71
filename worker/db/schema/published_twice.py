"""Bots with several published versions: the platform's reader of the live version may fail for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import psycopg
import sqlalchemy as sa
from sqlalchemy import exc

from worker.core.codes import quote
from worker.core.counted import counted
from worker.db.engine import sqlstate
from worker.db.schema.catalog import FoundTable
from worker.db.schema.findings import Finding
from worker.db.schema.privileges import denied_columns
from worker.db.sqlstate import CANCELLED, LOCK_NOT_AVAILABLE

TABLE: Final = "bot_workflow_versions"

NAMED: Final = 3

LONGEST_MS: Final = 20_000
"""So long the table is read, which has no index for this; the graphs are not read."""

_TWICE: Final = sa.text(f"""
    SELECT bot_id::text, count(*) OVER () AS bots FROM {TABLE}
    WHERE status::text = 'published' GROUP BY bot_id HAVING count(*) > 1
    ORDER BY bot_id LIMIT {NAMED}
""")  # noqa: S608  (constants)


def findings(connection: sa.Connection, tables: Sequence[FoundTable]) -> list[Finding]:
    """A note that names them, whether they use V2 or not, or that it takes too long to look."""
    found = next((table for table in tables if table.name == TABLE), None)
    needed = ("bot_id", "status")
    if found is None or not {*needed} <= set(found.columns):
        return []
    if denied_columns(connection, found, "SELECT", needed):
        return []
    rows = _read(connection)
    if rows is None:
        text = (
            "not looked for bots with several published versions: the table is locked, or reading it takes"
            f" longer than {LONGEST_MS // 1000} s"
        )
        return [Finding(TABLE, text, obstructs=False)]
    if not rows:
        return []
    bots = counted(rows[0].bots, "bot has", "bots have")
    names = ", ".join(quote(row.bot_id) for row in rows)
    more = ", …" if rows[0].bots > len(rows) else ""
    text = (
        f"{bots} several published versions ({names}{more}): the platform serves the newest, and may fail"
        " to read it. flowshift versions BOT lists them"
    )
    return [Finding(TABLE, text, obstructs=False)]


def _read(connection: sa.Connection) -> Sequence[sa.Row[Any]] | None:
    """The first of the bots, with how many there are; None if that takes too long."""
    savepoint = connection.begin_nested()
    try:
        connection.execute(sa.text(f"SET LOCAL statement_timeout = {LONGEST_MS}"))
        return connection.execute(_TWICE).all()
    except (exc.SQLAlchemyError, psycopg.Error) as error:
        if sqlstate(error) not in (CANCELLED, LOCK_NOT_AVAILABLE):
            raise
        return None
    finally:
        savepoint.rollback()  # the time-out is the caller's again
