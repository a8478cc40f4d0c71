"""What a rollback would do, read from the database as it stands; nothing is locked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import sqlalchemy as sa
from psycopg import sql

from worker.core.publication.preview import Published
from worker.core.workflow import v1
from worker.core.workflow.text import MAX_BYTES
from worker.db.bulk import BytesLoader, driver
from worker.db.publication.content import content_hash, workflow_hash

V1Problem = Callable[[bytes], str]

_PAGE: Final = 200

RUNNING_MOST_S: Final = 3_600
"""An execution that began longer ago is not counted as at work."""

# What costs most is left out where it is known: a version whose row is the very one that was inserted
# has the content that it had (its times are looked at besides, since a restored database numbers
# transactions anew), and V1 is read only where it has changed since it was seen to run.
#
# An execution that began long ago is not at work: its process is gone, and nobody ended it.
_READ: Final = f"""
    WITH running AS MATERIALIZED (
        SELECT e.workflow_version_id AS id, count(*)::int AS executions
        FROM workflow_execution_runs e
        WHERE e.created_at > now() - interval '{RUNNING_MOST_S} seconds'
          AND e.status::text = 'running' AND e.finished_at IS NULL
        GROUP BY 1
    )
    SELECT p.bot_id::varchar, b.bot_id IS NOT NULL, COALESCE(b.use_workflow_v2, false),
           p.version_id::varchar, live.id::varchar, p.content_hash,
           CASE WHEN ours.xmin::text = p.row_version AND ours.updated_at = ours.created_at
                THEN p.content_hash
                WHEN ours.id IS NOT NULL THEN {content_hash("ours")} END,
           p.workflow_hash, v1.hash, previous.version::varchar,
           COALESCE((SELECT r.executions FROM running r WHERE r.id = p.version_id), 0),
           CASE WHEN v1.hash <> p.workflow_hash AND octet_length(b.workflow::text) <= {{max_bytes}}
                THEN b.workflow::text END,
           v1.hash <> p.workflow_hash AND octet_length(b.workflow::text) > {{max_bytes}},
           EXISTS (SELECT FROM flowshift.finished_bots f WHERE f.bot_id = p.bot_id)
    FROM flowshift.publication_bots p
    LEFT JOIN bots b ON b.bot_id = p.bot_id
    LEFT JOIN bot_workflow_versions ours ON ours.id = p.version_id
    LEFT JOIN bot_workflow_versions previous ON previous.id = p.previous_id
    LEFT JOIN LATERAL (SELECT {workflow_hash("b")} AS hash OFFSET 0) v1 ON true
    LEFT JOIN LATERAL (
        SELECT o.id FROM bot_workflow_versions o
        WHERE o.bot_id = b.bot_id AND o.status::text = 'published'
        ORDER BY o.published_at DESC NULLS FIRST LIMIT 1) live ON true
    WHERE p.publication_id = %s AND p.state IN ('published', 'confirmed')
      AND (%s::int IS NULL OR p.wave = %s)
      AND (%s::text[] IS NULL OR p.bot_id = ANY(%s))
"""  # noqa: S608  (constants)


def published(
    connection: sa.Connection,
    publication_id: int,
    v1_problem: V1Problem,
    *,
    wave: int | None = None,
    bot_ids: list[str] | None = None,
) -> Iterator[Published]:
    """The bots that a publication has live, or a wave of it, or those listed, as they stand now.

    Streamed by a cursor of the server's, within the caller's transaction; in no order.
    """
    query = sql.SQL(_READ).format(max_bytes=sql.Literal(MAX_BYTES))
    with driver(connection).cursor("flowshift_preview") as cursor:
        cursor.adapters.register_loader("text", BytesLoader)
        cursor.itersize = _PAGE
        cursor.execute(query, [publication_id, wave, wave, bot_ids, bot_ids])
        for row in cursor:
            yield _published(row, v1_problem)


def _published(row: tuple[Any, ...], v1_problem: V1Problem) -> Published:
    (bot_id, exists, uses_v2, ours, live, content, content_now, workflow, workflow_now, *rest) = row
    previous, running, text, is_too_large, is_finished = rest
    if text is not None and v1.is_json_null(text):
        workflow_now = None
    return Published(
        bot_id=bot_id,
        exists=exists,
        uses_v2=uses_v2,
        ours=ours,
        live=live,
        content_hash=content,
        content_hash_now=content_now,
        workflow_hash=workflow,
        workflow_hash_now=workflow_now,
        v1_runs=not is_too_large and (text is None or not v1_problem(text)),
        previous=previous,
        running=running,
        is_finished=is_finished,
    )
