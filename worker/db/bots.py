"""Bots, drafts and ledger rows: read and written set-based, inside a batch's transaction.

The hot path speaks to psycopg directly: arrays of bots go over in binary form, which PostgreSQL
takes in a fraction of the time of text (see docs/explanation/benchmark.md).
"""

from __future__ import annotations

import enum
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import msgspec
import psycopg
import sqlalchemy as sa
from psycopg import sql
from psycopg.adapt import Dumper, Loader
from psycopg.pq import Format

from worker.core.codes import ConversionWarning, Outcome
from worker.core.parity.recording import storable
from worker.core.workflow.text import MAX_BYTES

FETCH_ROWS = 50
"""Rows fetched at a time: with every workflow at the limit of 4 MiB, 200 MiB at most."""

CHUNK_BYTES = 16 * 1024 * 1024
"""Workflow text converted and written at a time, within a batch's one transaction."""


class Lock(enum.Enum):
    """What to do about a row that another transaction has locked."""

    SKIP = "SKIP LOCKED"
    WAIT = ""


class Basis(msgspec.Struct, frozen=True):
    """What a bot's outcome is decided on: as long as it is the same, so is the outcome.

    `workflow_hash` is of the column's text; None where the column is null. Of an id that several rows
    have nothing else is known.
    """

    uses_v2: bool
    is_published: bool
    workflow_hash: int | None
    is_duplicate: bool = False


DUPLICATE = Basis(uses_v2=False, is_published=False, workflow_hash=None, is_duplicate=True)


class BotRow(msgspec.Struct, frozen=True):
    """A bot as committed when it was read; nothing is locked.

    `workflow` is the column's text in UTF-8; None where the column is null, and also where it is
    over the limit: `workflow_bytes` tells the two apart.

    `uses_v2` is the platform's flag; `is_published` says whether there is a version to run then.
    `is_duplicate`: another row has the same id, so that nobody can say which is the bot.
    """

    bot_id: str
    uses_v2: bool
    workflow: bytes | None
    workflow_bytes: int | None
    has_draft: bool
    is_published: bool
    workflow_hash: int | None = None
    is_duplicate: bool = False

    @property
    def basis(self) -> Basis:
        """What is decided about it depends on this."""
        if self.is_duplicate:
            return DUPLICATE
        return Basis(self.uses_v2, self.is_published, self.workflow_hash)


class DraftRow(msgspec.Struct, frozen=True):
    """The draft that a bot has, seen against the one that it should get.

    `is_ours`: what it holds is what flowshift wrote, in this run or an earlier one.
    """

    bot_id: str
    is_same: bool
    is_empty: bool
    is_ours: bool
    content_hash: int


class LedgerRow(msgspec.Struct, frozen=True):
    """What a run did for one bot.

    `overhead_us` is None where its draft was not executed; `agreed`, where it did what V1 does, is
    counted with the batch.
    """

    bot_id: str
    outcome: Outcome
    code: str | None = None
    message: str | None = None
    warnings: tuple[ConversionWarning, ...] = ()
    traceback: str | None = None
    draft_hash: int | None = None
    overhead_us: int | None = None
    agreed: bool = False


class JsonText(bytes):
    """JSON in UTF-8, sent as jsonb as it is."""

    __slots__ = ()


class _JsonbDumper(Dumper):
    format = Format.BINARY
    oid = psycopg.adapters.types["jsonb"].oid

    def dump(self, obj: Any) -> bytes:
        return b"\x01" + bytes(obj)  # the version of jsonb's binary form


class BytesLoader(Loader):
    """Leaves text as the bytes that came: a workflow is parsed from bytes."""

    def load(self, data: Any) -> bytes:
        return bytes(data)


def driver(connection: sa.Connection) -> psycopg.Connection[Any]:
    """The psycopg connection under SQLAlchemy's, able to send `JsonText`."""
    raw = cast("psycopg.Connection[Any]", connection.connection.driver_connection)
    raw.adapters.register_dumper(JsonText, _JsonbDumper)
    return raw


_READ = """
    SELECT b.bot_id::varchar, b.use_workflow_v2, octet_length(w.text),
           CASE WHEN octet_length(w.text) <= {max_bytes} THEN w.text END,
           EXISTS (
               SELECT FROM bot_workflow_versions d
               WHERE d.bot_id = b.bot_id AND d.status = 'draft'
           ),
           -- As text: an enumeration need not have that label.
           CASE WHEN b.use_workflow_v2 THEN EXISTS (
               SELECT FROM bot_workflow_versions p
               WHERE p.bot_id = b.bot_id AND p.status::text = 'published'
           ) ELSE false END,
           hashtextextended(w.text COLLATE "C", 0)
    FROM bots b
    CROSS JOIN LATERAL (SELECT b.workflow::text AS text OFFSET 0) w  -- OFFSET 0: computed once
    WHERE {which}
    ORDER BY b.bot_id
"""


def read_chunks(
    connection: sa.Connection,
    *,
    after: str | None,
    through: str | None,
    bot_ids: Sequence[str] | None,
) -> Generator[list[BotRow], None, None]:
    """Read the bots of a slice in key order, as committed, a bounded amount of text at a time.

    The slice is every bot after one id (None: from the first) through another, or those listed that
    come after it; ids that do not exist are passed over. Nothing is locked. Close the iterator, or
    use it up, before the transaction ends.
    """
    condition, parameters = which(after, through, bot_ids)
    query = sql.SQL(_READ).format(max_bytes=sql.Literal(MAX_BYTES), which=condition)
    with driver(connection).cursor("flowshift_bots") as cursor:
        cursor.adapters.register_loader("text", BytesLoader)
        cursor.execute(query, parameters)
        chunk: list[BotRow] = []
        octets = 0
        for row in _one_an_id(_rows(cursor)):
            chunk.append(row)
            octets += row.workflow_bytes or 0
            if octets >= CHUNK_BYTES:
                yield chunk
                chunk, octets = [], 0
        if chunk:
            yield chunk


def _rows(cursor: psycopg.ServerCursor[Any]) -> Iterator[BotRow]:
    while rows := cursor.fetchmany(FETCH_ROWS):
        for bot_id, uses_v2, size, text, has_draft, is_published, hashed in rows:
            yield BotRow(bot_id, bool(uses_v2), text, size, has_draft, is_published, hashed)


def _one_an_id(rows: Iterable[BotRow]) -> Iterator[BotRow]:
    """Rows in key order, several of one id as one that says so.

    Adopting makes the id unique; somebody may have dropped that index since.
    """
    last: BotRow | None = None
    for row in rows:
        if last is not None and last.bot_id == row.bot_id:
            last = msgspec.structs.replace(last, is_duplicate=True)
            continue
        if last is not None:
            yield last
        last = row
    if last is not None:
        yield last


def which(
    after: str | None, through: str | None, bot_ids: Sequence[str] | None
) -> tuple[sql.Composable, list[Any]]:
    """The condition that selects a slice's rows of `bots b`, and its parameters."""
    conditions: list[sql.Composable] = []
    parameters: list[Any] = []
    for condition, value in (
        (sql.SQL("b.bot_id = ANY(%s)"), None if bot_ids is None else list(bot_ids)),
        (sql.SQL("b.bot_id > %s"), after),
        (sql.SQL("b.bot_id <= %s"), through),
    ):
        if value is not None:
            conditions.append(condition)
            parameters.append(value)
    return sql.SQL(" AND ").join(conditions), parameters


_LOOK = """
    SELECT b.bot_id::varchar, b.use_workflow_v2,
           CASE WHEN b.use_workflow_v2 THEN EXISTS (
               SELECT FROM bot_workflow_versions p
               WHERE p.bot_id = b.bot_id AND p.status::text = 'published'
           ) ELSE false END,
           hashtextextended(b.workflow::text COLLATE "C", 0)
    FROM bots b WHERE b.bot_id = ANY(%s) ORDER BY b.bot_id
"""


def look(connection: sa.Connection, bot_ids: Sequence[str], lock: Lock | None) -> dict[str, Basis]:
    """What these bots' outcomes depend on, as committed now; bots that do not exist are missing.

    With a lock no other transaction can change them until this one ends, or the savepoint is rolled
    back (readers and foreign keys go on); those that `SKIP` would have to wait for are missing too.
    """
    if not bot_ids:
        return {}
    with driver(connection).cursor() as cursor:
        cursor.execute(
            _LOOK + (f" FOR NO KEY UPDATE {lock.value}" if lock else ""), [list(bot_ids)]
        )
        found: dict[str, Basis] = {}
        for bot_id, uses_v2, is_published, hashed in cursor.fetchall():
            one = Basis(bool(uses_v2), is_published, hashed)
            found[bot_id] = DUPLICATE if bot_id in found else one
        return found


@contextmanager
def lock_timeout(connection: sa.Connection, milliseconds: int) -> Iterator[None]:
    """Wait for no lock longer than this within the block, in the transaction that is open."""
    query = sa.text("SELECT current_setting('lock_timeout'), set_config('lock_timeout', :t, true)")
    before, _ = connection.execute(query, {"t": f"{milliseconds}ms"}).one()
    yield
    connection.execute(query, {"t": before})


_COMPARE = """
    SELECT n.bot_id::varchar, d.graph = n.graph,
           COALESCE(jsonb_array_length(
               CASE WHEN jsonb_typeof(d.graph -> 'nodes') = 'array' THEN d.graph -> 'nodes' END
           ), 0) = 0,
           EXISTS (
               SELECT FROM flowshift.ledger l
               -- The ledger's key is in the database's collation; the platform's column may not be.
               WHERE l.bot_id = d.bot_id COLLATE "default"
                 AND l.draft_hash = jsonb_hash_extended(d.graph, 0)
           ),
           jsonb_hash_extended(d.graph, 0)
    FROM unnest(%b::text[], %b::jsonb[]) AS n (bot_id, graph)
    JOIN bot_workflow_versions d ON d.bot_id = n.bot_id AND d.status = 'draft'
"""


def compare_drafts(
    connection: sa.Connection, graphs: Sequence[tuple[str, bytes]], lock: Lock | None
) -> dict[str, DraftRow]:
    """Hold the drafts that exist against (bot_id, graph); bots without a draft are missing.

    By content, not by time: a draft is ours if its content has the hash of something that the
    ledger says we wrote. With a lock nobody changes them until this transaction ends; drafts that
    `SKIP` would have to wait for are missing.
    """
    if not graphs:
        return {}
    with driver(connection).cursor() as cursor:
        cursor.execute(
            _COMPARE + (f" FOR UPDATE OF d {lock.value}" if lock else ""), _arrays(graphs)
        )
        return {row[0]: DraftRow(*row) for row in cursor.fetchall()}


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


_INSERT_DRAFTS = """
    INSERT INTO bot_workflow_versions
        (id, bot_id, version, status, graph, environment_variables, conversation_variables,
         features, created_at, updated_at)
    SELECT gen_random_uuid(), n.bot_id, 'draft', 'draft', n.graph, '{}', '{}', '{}', now(), now()
    FROM unnest(%b::text[], %b::jsonb[]) AS n (bot_id, graph)
    ON CONFLICT DO NOTHING
    RETURNING bot_id::varchar, jsonb_hash_extended(graph, 0)
"""

_UPDATE_DRAFTS = """
    UPDATE bot_workflow_versions d SET graph = n.graph, updated_at = now()
    FROM unnest(%b::text[], %b::jsonb[]) AS n (bot_id, graph)
    WHERE d.bot_id = n.bot_id AND d.status = 'draft'
    RETURNING n.bot_id::varchar, jsonb_hash_extended(d.graph, 0)
"""


def insert_drafts(connection: sa.Connection, graphs: Sequence[tuple[str, bytes]]) -> dict[str, int]:
    """Create the drafts of bots that have none; returns the content hash of each one created.

    A bot that got a draft in the meantime is missing from the result: nothing is overwritten.
    """
    return _write(connection, _INSERT_DRAFTS, graphs)


def update_drafts(connection: sa.Connection, graphs: Sequence[tuple[str, bytes]]) -> dict[str, int]:
    """Replace the graphs of drafts that `compare_drafts` locked; returns their content hashes."""
    return _write(connection, _UPDATE_DRAFTS, graphs)


def _write(
    connection: sa.Connection, statement: str, graphs: Sequence[tuple[str, bytes]]
) -> dict[str, int]:
    if not graphs:
        return {}
    with driver(connection).cursor() as cursor:
        cursor.execute(statement, _arrays(graphs))
        return dict(cursor.fetchall())


_INSERT_LEDGER = """
    INSERT INTO flowshift.ledger
        (run_id, batch, bot_id, outcome, code, message, warnings, traceback, draft_hash, overhead_us)
    SELECT %s, %s, n.*
    FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::jsonb[], %b::text[], %b::int8[],
                %b::int8[])
         AS n (bot_id, outcome, code, message, warnings, traceback, draft_hash, overhead_us)
"""

_encode = msgspec.json.Encoder().encode


def insert_ledger(
    connection: sa.Connection, run_id: int, batch: int, rows: Sequence[LedgerRow]
) -> None:
    """Record what the run did for each bot: one row per bot and run, in one statement."""
    if not rows:
        return
    with driver(connection).cursor() as cursor:
        cursor.execute(
            _INSERT_LEDGER,
            (
                run_id,
                batch,
                [row.bot_id for row in rows],
                [row.outcome for row in rows],
                [row.code for row in rows],
                [row.message and storable(row.message) for row in rows],
                [JsonText(_encode(row.warnings)) if row.warnings else None for row in rows],
                [row.traceback and storable(row.traceback) for row in rows],
                [row.draft_hash for row in rows],
                [row.overhead_us for row in rows],
            ),
        )


def _arrays(graphs: Sequence[tuple[str, bytes]]) -> tuple[list[str], list[JsonText]]:
    return [bot_id for bot_id, _ in graphs], [JsonText(graph) for _, graph in graphs]
