"""Bots as they stand under the lock: all that decides whether they may be published."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from psycopg import sql

from worker.core.publication.eligibility import Heard, Proof, Seen, TakenBack
from worker.core.workflow import v1
from worker.core.workflow.text import MAX_BYTES
from worker.db.bulk import BytesLoader, driver
from worker.db.drafts import MAX_GRAPH_BYTES
from worker.db.expressions import graph_hash
from worker.db.publication.content import content_hash, workflow_hash

V1Problem = Callable[[bytes], str]
"""Why V1 does not run a workflow, from the column's text in UTF-8; "" where it does."""


class Found(msgspec.Struct, frozen=True):
    """A bot, the draft that is to be published, and its other versions.

    `versions` are the names of all its versions, `live` the one that the platform serves.
    """

    seen: Seen
    draft_id: uuid.UUID | None = None
    versions: tuple[str, ...] = ()
    live: uuid.UUID | None = None


# Each bot's rows are found by their keys, however the planner counts: a query in the list of columns, or
# one with a LIMIT, becomes no join, which would read whole tables for a batch of 200.
_READ: Final = f"""
    SELECT b.bot_id::varchar, b.use_workflow_v2, {workflow_hash("b")}, octet_length(w.text),
           CASE WHEN octet_length(w.text) <= {{max_bytes}} THEN w.text END,
           d.id, CASE WHEN jsonb_array_length(n.nodes) > 0 THEN h.content END,
           COALESCE((
               SELECT true FROM flowshift.ledger l
               WHERE l.bot_id = b.bot_id COLLATE "default" AND l.draft_hash = h.graph LIMIT 1
           ), false),
           ARRAY(SELECT DISTINCT (one ->> 'type')::varchar FROM jsonb_array_elements(n.nodes) AS one
                 WHERE one ->> 'type' IS NOT NULL),
           p.content_hash, p.workflow_hash, v.names, v.live, t.publication_id,
           COALESCE(p.proven_at > t.moved_at, false)
    FROM bots b
    CROSS JOIN LATERAL (SELECT b.workflow::text AS text OFFSET 0) w
    LEFT JOIN bot_workflow_versions d ON d.bot_id = b.bot_id AND d.status = 'draft'
    CROSS JOIN LATERAL (SELECT {graph_hash("d")} AS graph OFFSET 0) g
    CROSS JOIN LATERAL (
        SELECT g.graph, {content_hash("d", "g.graph")} AS content OFFSET 0) h
    CROSS JOIN LATERAL (
        SELECT CASE WHEN jsonb_typeof(d.graph -> 'nodes') = 'array' THEN d.graph -> 'nodes'
                    ELSE '[]' END AS nodes OFFSET 0) n
    LEFT JOIN LATERAL (
        SELECT o.content_hash, o.workflow_hash, o.proven_at FROM flowshift.proofs o
        WHERE o.bot_id = b.bot_id COLLATE "default" LIMIT 1) p ON true
    CROSS JOIN LATERAL (
        SELECT array_agg(o.version::varchar) AS names,
               (array_agg(o.id ORDER BY o.published_at DESC NULLS FIRST)
                    FILTER (WHERE o.status::text = 'published'))[1] AS live
        FROM bot_workflow_versions o WHERE o.bot_id = b.bot_id) v
    LEFT JOIN LATERAL (
        SELECT back.publication_id, back.moved_at FROM flowshift.publication_bots back
        WHERE back.bot_id = b.bot_id COLLATE "default"
          AND back.state IN ('rolled_back', 'quarantined')
        ORDER BY back.moved_at DESC, back.publication_id DESC LIMIT 1) t ON true
    WHERE b.bot_id = ANY(%s)
    ORDER BY b.bot_id
"""  # noqa: S608  (constants)


def read(
    connection: sa.Connection,
    bot_ids: Sequence[str],
    locked: frozenset[str],
    v1_problem: V1Problem,
    heard: Mapping[str, Heard] = {},
) -> list[Found]:
    """These bots as they are committed now, in the order of `bot_ids`.

    What is said of bots that are not `locked` is that, and nothing more; `heard` is passed on. The
    workflows of a batch are in memory one after the other; one over the limit of bytes does not run.
    """
    query = sql.SQL(_READ).format(max_bytes=sql.Literal(MAX_BYTES))
    rows: dict[str, list[tuple[Any, ...]]] = {}
    with driver(connection).cursor() as cursor:
        cursor.adapters.register_loader("text", BytesLoader)
        cursor.execute(query, [list(bot_ids)])
        for row in cursor:
            rows.setdefault(row[0], []).append(row)
    found = (_found(bot_id, rows.get(bot_id, []), locked, v1_problem) for bot_id in bot_ids)
    return [
        msgspec.structs.replace(
            one, seen=msgspec.structs.replace(one.seen, heard=heard.get(one.seen.bot_id))
        )
        for one in found
    ]


class Graph(msgspec.Struct, frozen=True):
    """A draft's graph as its bytes in UTF-8, and the hash of it and its variables."""

    bot_id: str
    content_hash: int
    graph: bytes


_GRAPHS: Final = f"""
    SELECT d.bot_id::varchar, {content_hash("d")}, d.graph::text
    FROM bot_workflow_versions d
    WHERE d.bot_id = ANY(%s) AND d.status = 'draft' AND octet_length(d.graph::text) <= {{max_bytes}}
    ORDER BY d.bot_id
"""  # noqa: S608  (constants)


def graphs(connection: sa.Connection, bot_ids: Sequence[str]) -> list[Graph]:
    """The drafts of these bots as they are committed now, nothing locked; none over the limit of bytes."""
    query = sql.SQL(_GRAPHS).format(max_bytes=sql.Literal(MAX_GRAPH_BYTES))
    with driver(connection).cursor() as cursor:
        cursor.adapters.register_loader("text", BytesLoader)
        cursor.execute(query, [list(bot_ids)])
        return [Graph(*row) for row in cursor.fetchall()]


def _found(
    bot_id: str, rows: Sequence[tuple[Any, ...]], locked: frozenset[str], v1_problem: V1Problem
) -> Found:
    if not rows:
        return Found(Seen(bot_id=bot_id, rows=0))
    if bot_id not in locked:
        return Found(Seen(bot_id=bot_id, is_locked=False))
    (_, flag, v1_hash, size, text, draft_id, content, ours, types, *rest) = rows[0]
    proven_content, proven_workflow, names, live, taken_back_by, proven_since = rest
    is_there = size is not None and not (text is not None and v1.is_json_null(text))
    seen = Seen(
        bot_id=bot_id,
        rows=len(rows),
        uses_v2=bool(flag),
        is_published=live is not None,
        content_hash=content,
        is_ours=ours,
        node_types=frozenset(types),
        workflow_hash=v1_hash if is_there else None,
        v1_problem=_problem(text, size, v1_problem) if is_there else "",
        proof=None if proven_content is None else Proof(proven_content, proven_workflow),
        taken_back=None if taken_back_by is None else TakenBack(taken_back_by, proven_since),
    )
    return Found(seen, draft_id, tuple(names or ()), live)


def _problem(text: bytes | None, size: int, v1_problem: V1Problem) -> str:
    if text is None:
        return f"it has {size:,} bytes of JSON; at most {MAX_BYTES:,}"
    return v1_problem(text)
