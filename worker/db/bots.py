"""Bots: read in chunks and locked, inside a batch's transaction."""

from __future__ import annotations

import enum
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import psycopg
import sqlalchemy as sa
from psycopg import sql

from worker.core.codes import ConversionWarning
from worker.core.workflow.text import MAX_BYTES
from worker.db.bulk import BytesLoader, driver
from worker.db.expressions import graph_hash, source_hash

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

    `workflow_hash` is of the column's text; None if the column is null. Of an id that several rows
    have nothing else is known.
    """

    uses_v2: bool
    is_published: bool
    workflow_hash: int | None
    is_duplicate: bool = False


DUPLICATE = Basis(uses_v2=False, is_published=False, workflow_hash=None, is_duplicate=True)


class KnownDraft(msgspec.Struct, frozen=True):
    """The draft that a bot has, which converting its workflow again would give.

    An earlier run made it of the same workflow by the same recipe, and nothing changed it since.
    """

    content_hash: int
    warnings: tuple[ConversionWarning, ...]


class BotRow(msgspec.Struct, frozen=True):
    """A bot as committed when it was read; nothing is locked.

    `workflow` is the column's text in UTF-8; None if the column is null, and also where it is
    over the limit: `workflow_bytes` tells the two apart. Nor is it read if the draft is `known`.

    `uses_v2` is the platform's flag; `is_published` says whether there is a version to run then.
    `is_duplicate`: another row has the same id, so that it is unknown which row is the bot.
    """

    bot_id: str
    uses_v2: bool
    workflow: bytes | None
    workflow_bytes: int | None
    has_draft: bool
    is_published: bool
    workflow_hash: int | None = None
    known: KnownDraft | None = None
    is_duplicate: bool = False

    @property
    def basis(self) -> Basis:
        """What is decided about it depends on this."""
        if self.is_duplicate:
            return DUPLICATE
        return Basis(self.uses_v2, self.is_published, self.workflow_hash)


_READ = """
    SELECT b.bot_id::varchar, b.use_workflow_v2, octet_length(w.text),
           CASE WHEN {not_known} AND octet_length(w.text) <= {max_bytes} THEN w.text END,
           {has_draft},
           -- As text: an enumeration need not have that label.
           CASE WHEN b.use_workflow_v2 THEN EXISTS (
               SELECT FROM bot_workflow_versions p
               WHERE p.bot_id = b.bot_id AND p.status::text = 'published'
           ) ELSE false END,
           h.workflow, {known}
    FROM bots b
    CROSS JOIN LATERAL (SELECT b.workflow::text AS text OFFSET 0) w  -- OFFSET 0: computed once
    CROSS JOIN LATERAL (SELECT hashtextextended(w.text COLLATE "C", 0) AS workflow OFFSET 0) h
    {joined}
    WHERE {which}
    ORDER BY b.bot_id
"""

_ANY_DRAFT = {
    "not_known": "true",
    "has_draft": """EXISTS (
               SELECT FROM bot_workflow_versions d
               WHERE d.bot_id = b.bot_id AND d.status = 'draft'
           )""",
    "known": "NULL::int8, NULL::text",
    "joined": "",
}

# The newest row of the ledger that has the same source says what the draft must be; a bot without a
# draft has none. Its draft is hashed only if there is such a row.
_KNOWN_DRAFT = {
    "not_known": "k.content IS NULL",
    "has_draft": "d.bot_id IS NOT NULL",
    "known": "k.content, CASE WHEN k.content IS NOT NULL THEN l.warnings::text END",
    "joined": f"""
    LEFT JOIN LATERAL (
        SELECT d.bot_id, d.graph FROM bot_workflow_versions d
        WHERE d.bot_id = b.bot_id AND d.status = 'draft' LIMIT 1
    ) d ON true
    LEFT JOIN LATERAL (
        SELECT l.draft_hash, l.warnings FROM flowshift.ledger l
        -- The ledger's key is in the database's collation; the platform's column may not be.
        WHERE l.bot_id = d.bot_id COLLATE "default"
          AND l.source_hash = {source_hash("h.workflow", "{recipe}")}
        ORDER BY l.run_id DESC LIMIT 1
    ) l ON true
    CROSS JOIN LATERAL (
        SELECT CASE WHEN l.draft_hash = {graph_hash("d")} THEN l.draft_hash END AS content OFFSET 0
    ) k""",  # noqa: S608  (constants)
}

_warnings = msgspec.json.Decoder(tuple[ConversionWarning, ...])


def read_chunks(
    connection: sa.Connection,
    *,
    after: str | None,
    through: str | None,
    bot_ids: Sequence[str] | None,
    recipe: int | None = None,
) -> Generator[list[BotRow], None, None]:
    """Read the bots of a slice in key order, as committed, a bounded amount of text at a time.

    The slice is every bot after one id (None: from the first) through another, or those listed that
    come after it; ids that do not exist are passed over. Nothing is locked. Close the iterator, or
    use it up, before the transaction ends.

    With a `recipe`, by which a run would convert, a bot's workflow is not read if its draft is known.
    """
    condition, parameters = which(after, through, bot_ids)
    query = _read_query(condition, recipe)
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


def _read_query(condition: sql.Composable, recipe: int | None) -> sql.Composed:
    parts = _ANY_DRAFT if recipe is None else _KNOWN_DRAFT
    given = {name: sql.SQL(text).format(recipe=sql.Literal(recipe)) for name, text in parts.items()}
    return sql.SQL(_READ).format(max_bytes=sql.Literal(MAX_BYTES), which=condition, **given)


def _rows(cursor: psycopg.ServerCursor[Any]) -> Iterator[BotRow]:
    while rows := cursor.fetchmany(FETCH_ROWS):
        for bot_id, uses_v2, size, text, has_draft, is_published, hashed, content, said in rows:
            known = None if content is None else KnownDraft(content, _warnings.decode(said or "[]"))
            yield BotRow(bot_id, bool(uses_v2), text, size, has_draft, is_published, hashed, known)


def _one_an_id(rows: Iterable[BotRow]) -> Iterator[BotRow]:
    """Rows in key order, several of one id as one that says so.

    Adopting makes the id unique; that index may have been dropped since.
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
