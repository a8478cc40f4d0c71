"""Proofs: of each bot the last content of a draft that did what V1 did, and on which workflow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import sqlalchemy as sa
from psycopg import sql

from worker.db.bulk import driver, integers, rows, texts
from worker.db.expressions import graph_hash
from worker.db.publication.content import content_hash, variables, workflow_hash


class Agreed(msgspec.Struct, frozen=True):
    """A bot whose draft agreed with V1.

    `workflow_hash` is of the workflow that V1 executed, `row_version` the draft's `xmin` as it was read
    and executed. Without `row_version` this transaction has the bot and its draft locked, and what
    is stored is what was executed, without variables: `graph_hash` is of that graph, so that neither it
    nor the workflow is hashed again. What is None is hashed as it stands.
    """

    bot_id: str
    workflow_hash: int | None = None
    row_version: str | None = None
    graph_hash: int | None = None


# Each row is looked up by its index: OFFSET keeps the planner from reading a whole table for one batch.
# A bot of which both hashes are known is not looked at again.
_RECORD: Final = f"""
    INSERT INTO flowshift.proofs (bot_id, content_hash, workflow_hash, run_id)
    SELECT DISTINCT ON (n.bot_id) n.bot_id,
           {content_hash("d", f"COALESCE(n.graph_hash, {graph_hash('d')})")},
           COALESCE(n.workflow_hash, b.workflow_hash), n.run_id
    FROM {{rows}}
    CROSS JOIN LATERAL (
        SELECT d.graph, d.environment_variables, d.conversation_variables, d.xmin
        FROM bot_workflow_versions d WHERE d.bot_id = n.bot_id AND d.status = 'draft' OFFSET 0
    ) d
    LEFT JOIN LATERAL (
        SELECT {workflow_hash("b")} AS workflow_hash FROM bots b
        WHERE b.bot_id = n.bot_id AND (n.graph_hash IS NULL OR n.workflow_hash IS NULL) OFFSET 0
    ) b ON true
    WHERE CASE WHEN n.graph_hash IS NOT NULL AND n.workflow_hash IS NOT NULL THEN true
               WHEN n.graph_hash IS NOT NULL THEN b.workflow_hash IS NOT NULL
               ELSE COALESCE(n.workflow_hash, b.workflow_hash) = b.workflow_hash END
      AND CASE WHEN n.row_version IS NOT NULL THEN n.row_version = d.xmin::text
               ELSE {variables("d")} = jsonb_build_array(jsonb_build_object(), jsonb_build_object())
          END
    ON CONFLICT (bot_id) DO UPDATE
    SET content_hash = excluded.content_hash, workflow_hash = excluded.workflow_hash,
        run_id = excluded.run_id, proven_at = excluded.proven_at
    WHERE proofs.run_id <= excluded.run_id
    RETURNING bot_id
"""  # noqa: S608  (constants)


def record(connection: sa.Connection, run_id: int, agreed: Sequence[Agreed]) -> frozenset[str]:
    """Note what a run has proven; returns the bots of which it was noted.

    A bot whose draft or workflow has changed since is left out, and so is one that a later run has
    proven. On repeat nothing changes.
    """
    if not agreed:
        return frozenset()
    given = rows(
        "n",
        bot_id=texts([one.bot_id for one in agreed]),
        workflow_hash=integers([one.workflow_hash for one in agreed]),
        row_version=texts([one.row_version for one in agreed]),
        graph_hash=integers([one.graph_hash for one in agreed]),
        run_id=integers([run_id] * len(agreed)),
    )
    with driver(connection).cursor() as cursor:
        cursor.execute(sql.SQL(_RECORD).format(rows=given.source), given.parameters)
        return frozenset(bot_id for (bot_id,) in cursor.fetchall())


def withdraw(connection: sa.Connection, run_id: int, bot_ids: Sequence[str]) -> None:
    """Forget the proofs of bots of which this run found that they do not agree with V1."""
    if bot_ids:
        with driver(connection).cursor() as cursor:
            cursor.execute(
                "DELETE FROM flowshift.proofs WHERE bot_id = ANY(%s) AND run_id <= %s",
                [list(bot_ids), run_id],
            )
