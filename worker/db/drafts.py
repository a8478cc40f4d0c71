"""Drafts: what a validation executes, and what a conversion compares and writes, set-based."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from typing import Any, Literal

import msgspec
import sqlalchemy as sa
from psycopg import sql

from worker.core.workflow.interface import Saved
from worker.core.workflow.text import MAX_BYTES
from worker.db.batches import Batch
from worker.db.bots import Lock, which
from worker.db.bulk import BytesLoader, driver, graph_slices
from worker.db.expressions import graph_hash
from worker.db.platform_tables import FILLED

MAX_GRAPH_BYTES = 4 * MAX_BYTES
"""A draft spells out what its workflow leaves unsaid; one beyond this was not made here."""


class DraftToTry(msgspec.Struct, frozen=True):
    """A bot with its workflow and its draft, as committed.

    Texts are UTF-8 JSON, None if there is none, and also where one is over its limit: then the
    size says so. `version` is the draft's row version: it changes on every write.
    `workflow_hash` is of the workflow's text, None if there is none.
    """

    bot_id: str
    workflow: bytes | None
    workflow_bytes: int | None
    graph: bytes | None
    graph_bytes: int | None
    environment: Any
    conversation: Any
    version: str | None
    workflow_hash: int | None = None


Origin = Literal["written", "seen"]


class DraftRow(msgspec.Struct, frozen=True):
    """The draft that a bot has, seen against the one that it should get.

    `origin`: a run has `written` what it holds, or has only `seen` it, when it was what the platform's
    interface had made of what a run wrote; None: no run knows it. `saved` says what became of one that
    no run wrote.
    """

    bot_id: str
    is_same: bool
    is_empty: bool
    origin: Origin | None
    content_hash: int
    saved: Saved = "edited"

    @property
    def holds_other(self) -> bool:
        """Whether it holds something that no run wrote."""
        return self.may_be_saved and self.origin is None

    @property
    def may_be_saved(self) -> bool:
        """Whether the platform's interface may have made it of what this bot should get."""
        return not (self.is_same or self.is_empty or self.origin == "written")


_IDS = "SELECT b.bot_id::varchar FROM bots b WHERE {which} ORDER BY b.bot_id"

_READ = """
    SELECT b.bot_id::varchar,
           CASE WHEN octet_length(w.text) <= {max_bytes} THEN w.text END, octet_length(w.text),
           CASE WHEN octet_length(g.text) <= {max_graph} THEN g.text END, octet_length(g.text),
           d.environment_variables, d.conversation_variables, d.xmin::text::varchar,
           hashtextextended(w.text COLLATE "C", 0)
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


_COMPARE = f"""
    SELECT n.bot_id::varchar, d.graph = n.graph,
           COALESCE(jsonb_array_length(
               CASE WHEN jsonb_typeof(d.graph -> 'nodes') = 'array' THEN d.graph -> 'nodes' END
           ), 0) = 0,
           {graph_hash("d")},
           -- The ledger's key is in the database's collation; the platform's column may not be.
           ARRAY(
               SELECT DISTINCT l.draft_hash FROM flowshift.ledger l
               WHERE l.bot_id = d.bot_id COLLATE "default" AND l.outcome <> 'unchanged'
           ),
           ARRAY(
               SELECT DISTINCT l.draft_hash FROM flowshift.ledger l
               WHERE l.bot_id = d.bot_id COLLATE "default" AND l.outcome = 'unchanged'
           )
    FROM unnest(%b::text[], %b::jsonb[]) AS n (bot_id, graph)
    JOIN bot_workflow_versions d ON d.bot_id = n.bot_id AND d.status = 'draft'
"""  # noqa: S608  (constants)


def compare_drafts(
    connection: sa.Connection, graphs: Sequence[tuple[str, bytes]], lock: Lock | None
) -> dict[str, DraftRow]:
    """Hold the drafts that exist against (bot_id, graph); bots without a draft are missing.

    By content, not by time: a draft is ours if its content has the hash of something that the
    ledger says we wrote. With a lock they cannot change until this transaction ends; drafts that
    `SKIP` would have to wait for are missing.
    """
    statement = _COMPARE + (f" FOR UPDATE OF d {lock.value}" if lock else "")
    found: dict[str, DraftRow] = {}
    with driver(connection).cursor() as cursor:
        for some in graph_slices(graphs):
            cursor.execute(statement, some)
            found |= {row[0]: _draft_row(*row) for row in cursor.fetchall()}
    return found


def _draft_row(
    bot_id: str,
    is_same: bool,
    is_empty: bool,
    content_hash: int,
    written: Container[int],
    seen: Container[int],
) -> DraftRow:
    origin: Origin | None = None
    if content_hash in written:
        origin = "written"
    elif content_hash in seen:
        origin = "seen"
    return DraftRow(bot_id, is_same, is_empty, origin, content_hash)


def content_hashes(
    connection: sa.Connection, bot_ids: Sequence[str], lock: Lock | None
) -> dict[str, int]:
    """The content hash of each of these bots' drafts, locked as `compare_drafts` does."""
    if not bot_ids:
        return {}
    with driver(connection).cursor() as cursor:
        cursor.execute(
            _CONTENT + (f" FOR UPDATE OF d {lock.value}" if lock else ""), [list(bot_ids)]
        )
        return dict(cursor.fetchall())


_CONTENT = f"""
    SELECT d.bot_id::varchar, {graph_hash("d")} FROM bot_workflow_versions d
    WHERE d.bot_id = ANY(%s) AND d.status = 'draft'
"""  # noqa: S608  (constants)


def graphs(connection: sa.Connection, bot_ids: Sequence[str]) -> dict[str, bytes]:
    """The graphs of these bots' drafts as JSON; one over `MAX_GRAPH_BYTES` is left out.

    The caller bounds the memory: as many bots as it asks for at a time.
    """
    if not bot_ids:
        return {}
    query = sql.SQL(_GRAPHS).format(max_graph=sql.Literal(MAX_GRAPH_BYTES))
    with driver(connection).cursor() as cursor:
        cursor.adapters.register_loader("text", BytesLoader)
        cursor.execute(query, [list(bot_ids)])
        return dict(cursor.fetchall())


_GRAPHS = """
    SELECT d.bot_id::varchar, g.text
    FROM bot_workflow_versions d
    CROSS JOIN LATERAL (SELECT d.graph::text AS text OFFSET 0) g
    WHERE d.bot_id = ANY(%s) AND d.status = 'draft' AND octet_length(g.text) <= {max_graph}
"""


def versions_called_draft(connection: sa.Connection, bot_ids: Sequence[str]) -> dict[str, str]:
    """The status of each version that is called `draft`, by bot: `draft`, or what keeps one out."""
    if not bot_ids:
        return {}
    with driver(connection).cursor() as cursor:
        cursor.execute(
            "SELECT n.bot_id::varchar, d.status::text FROM unnest(%s::text[]) AS n (bot_id) "
            "JOIN bot_workflow_versions d ON d.bot_id = n.bot_id "
            "WHERE d.version = 'draft' OR d.status = 'draft' ORDER BY d.status = 'draft'",
            [list(bot_ids)],
        )
        return dict(cursor.fetchall())


def node_types(connection: sa.Connection, bot_ids: Sequence[str]) -> dict[str, frozenset[str]]:
    """The node types of each of these bots' drafts, by which the target that it is for is known."""
    if not bot_ids:
        return {}
    with driver(connection).cursor() as cursor:
        cursor.execute(_NODE_TYPES, [list(bot_ids)])
        return {bot_id: frozenset(types) for bot_id, types in cursor.fetchall()}


_NODE_TYPES = """
    SELECT d.bot_id::varchar, ARRAY(
        SELECT DISTINCT n.node ->> 'type'
        FROM jsonb_array_elements(
            CASE WHEN jsonb_typeof(d.graph -> 'nodes') = 'array' THEN d.graph -> 'nodes' END
        ) AS n (node)
        WHERE n.node ->> 'type' IS NOT NULL
    )
    FROM bot_workflow_versions d
    WHERE d.bot_id = ANY(%s) AND d.status = 'draft'
"""


def versions_of_drafts(connection: sa.Connection, bot_ids: Sequence[str]) -> dict[str, str]:
    """The row version of each of these bots' drafts, as `read` gives it."""
    if not bot_ids:
        return {}
    with driver(connection).cursor() as cursor:
        cursor.execute(
            "SELECT bot_id::varchar, xmin::text::varchar FROM bot_workflow_versions"
            " WHERE bot_id = ANY (%s) AND status = 'draft'",
            [list(bot_ids)],
        )
        return dict(cursor.fetchall())


_INSERT_DRAFTS = """
    INSERT INTO bot_workflow_versions
        (id, bot_id, version, status, graph, environment_variables, conversation_variables,
         features, created_at, updated_at{columns})
    SELECT gen_random_uuid(), n.bot_id, 'draft', 'draft', n.graph, '{{}}', '{{}}', '{{}}', now(), now()
           {values}
    -- Not as a function in FROM, which would keep a second copy of every graph until the statement ends.
    FROM (SELECT unnest(%b::text[]) AS bot_id, unnest(%b::jsonb[]) AS graph) n
    ON CONFLICT DO NOTHING
    RETURNING bot_id::varchar, {hash}
"""

_UPDATE_DRAFTS = f"""
    UPDATE bot_workflow_versions d SET graph = n.graph, updated_at = now()
    FROM unnest(%b::text[], %b::jsonb[]) AS n (bot_id, graph)
    WHERE d.bot_id = n.bot_id AND d.status = 'draft'
    RETURNING n.bot_id::varchar, {graph_hash("d")}
"""  # noqa: S608  (constants)


def insert_drafts(connection: sa.Connection, graphs: Sequence[tuple[str, bytes]]) -> dict[str, int]:
    """Create the drafts of bots that have none; returns the content hash of each one created.

    A bot that got a draft in the meantime is missing from the result: nothing is overwritten.
    """
    if not graphs:
        return {}
    filled = _filled(connection)
    statement = _INSERT_DRAFTS.format(
        hash=graph_hash("bot_workflow_versions"),
        columns="".join(f", {name}" for name in filled),
        values="".join(f", '{value}'" for value in filled.values()),
    )
    return _write(connection, statement, graphs)


def _filled(connection: sa.Connection) -> dict[str, str]:
    """What a new draft holds in columns that are not ours and insist on a value."""
    values = FILLED["bot_workflow_versions"]
    with driver(connection).cursor() as cursor:
        cursor.execute(_INSISTING, [list(values)])
        return {name: values[name] for (name,) in cursor.fetchall()}


_INSISTING = """
    SELECT a.attname::text FROM pg_attribute a
    WHERE a.attrelid = 'bot_workflow_versions'::regclass AND a.attname = ANY(%s)
      AND a.attnotnull AND NOT a.atthasdef AND NOT a.attisdropped
"""


def update_drafts(connection: sa.Connection, graphs: Sequence[tuple[str, bytes]]) -> dict[str, int]:
    """Replace the graphs of drafts that `compare_drafts` locked; returns their content hashes."""
    return _write(connection, _UPDATE_DRAFTS, graphs)


def _write(
    connection: sa.Connection, statement: str, graphs: Sequence[tuple[str, bytes]]
) -> dict[str, int]:
    written: dict[str, int] = {}
    with driver(connection).cursor() as cursor:
        for some in graph_slices(graphs):
            cursor.execute(statement, some)
            written |= dict(cursor.fetchall())
    return written
