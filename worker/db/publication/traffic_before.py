"""How many executions each bot had of late, whatever its version: who is asked, before a plan is made."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from worker.core.parity.recording import SESSION_PREFIX
from worker.db.publication.traffic import columns, text_sql

# Rows of V1 as well, where a platform leaves them. The index on created_at bounds it; without one it
# takes as long as the time limit allows, and nothing is known.
_OF_LATE: Final = """
    SELECT e.bot_id::text AS bot_id, count(*) AS executions FROM workflow_execution_runs e
    WHERE e.created_at >= now() - make_interval(days => :days)
      AND NOT COALESCE(starts_with({session}, :ours), false)
    GROUP BY 1
"""


def a_day(connection: sa.Connection, days: int) -> dict[str, float]:
    """How many executions a day each bot had in the last `days` days; bots without any are left out.

    Ours are left out. One scan of the rows of these days: the caller limits the time.
    """
    query = sa.text(_OF_LATE.format(session=text_sql(columns(connection), "session_id")))
    rows = connection.execute(query, {"days": days, "ours": SESSION_PREFIX})
    return {row.bot_id: row.executions / days for row in rows}
