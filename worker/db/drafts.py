"""Drafts as they stand, with the workflows that they came from: what a validation executes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from psycopg import sql

from worker.core.workflow.text import MAX_BYTES
from worker.db.batches import Batch
from worker.db.bots import BytesLoader, driver, which

MAX_GRAPH_BYTES = 4 * MAX_BYTES
"""A draft spells out what its workflow leaves unsaid; one beyond this was not made here."""


class DraftToTry(msgspec.Struct, frozen=True):
    """A bot with its workflow and its draft, as committed.

    Texts are UTF-8 JSON, None where there is none, and also where one is over its limit: then the
    size says so. `version` is the draft's row version: it changes whenever somebody writes to it.
    """

    bot_id: str
    workflow: bytes | None
    workflow_bytes: int | None
    graph: bytes | None
    graph_bytes: int | None
    environment: Any
    conversation: Any
    version: str | None


_IDS = "SELECT b.bot_id::varchar FROM bots b WHERE {which} ORDER BY b.bot_id"

_READ = """
    SELECT b.bot_id::varchar,
           CASE WHEN octet_length(w.text) <= {max_bytes} THEN w.text END, octet_length(w.text),
           CASE WHEN octet_length(g.text) <= {max_graph} THEN g.text END, octet_length(g.text),
           d.environment_variables, d.conversation_variables, d.xmin::text::varchar
    FROM bots b
    CROSS JOIN LATERAL (SELECT b.workflow::text AS text OFFSET 0) w
    LEFT JOIN bot_workflow_versions d ON d.bot_id = b.bot_id AND d.status = 'draft'
    LEFT JOIN LATERAL (SELECT d.graph::text AS text OFFSET 0) g ON true
    WHERE b.bot_id = ANY(%s)
    ORDER BY b.bot_id
"""


def bot_ids(connection: sa.Connection, batch: Batch) -> list[str]:
    """The bots of a batch that exist now, in key order, each once."""
    condition, parameters = which(batch.after_bot_id, batch.through_bot_id, batch.bot_ids)
    with driver(connection).cursor() as cursor:
        cursor.execute(sql.SQL(_IDS).format(which=condition), parameters)
        return list(dict.fromkeys(bot_id for (bot_id,) in cursor.fetchall()))


def read(connection: sa.Connection, ids: Sequence[str]) -> Iterator[DraftToTry]:
    """The drafts of these bots, nothing locked; bots that do not exist are passed over.

    Of several rows that have one id the last counts.
    """
    query = sql.SQL(_READ).format(
        max_bytes=sql.Literal(MAX_BYTES), max_graph=sql.Literal(MAX_GRAPH_BYTES)
    )
    with driver(connection).cursor() as cursor:
        cursor.adapters.register_loader("text", BytesLoader)
        cursor.execute(query, [list(ids)])
        last: DraftToTry | None = None
        for row in cursor:
            this = DraftToTry(*row)
            if last is not None and last.bot_id != this.bot_id:
                yield last
            last = this
        if last is not None:
            yield last
