"""What a backup holds: which tables, and the hash of each table and of each bot, by set-based queries.

The hash of a row is SHA-256 over the text of its values. The hash of a table, or of a bot, is over how
many rows it has and the sum of their hashes: it needs no order, and no memory however many there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, cast

import msgspec
import sqlalchemy as sa
from psycopg import sql

from worker.core.backup.compare import BotHash, Counted
from worker.core.backup.manifest import Column
from worker.db.bulk import driver
from worker.db.platform_tables import PLATFORM_TABLES, execution_runs, node_executions
from worker.db.schema.catalog import quoted
from worker.db.tables import SCHEMA
from worker.errors import ConfigError, UsageError

_EXECUTIONS: Final = frozenset({execution_runs.name, node_executions.name})
_PAGE: Final = 2_000


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A table of the backup as the catalog has it.

    `columns` are those that hold values of their own, in their order. `parts` are the partitions
    below it. `rows` is PostgreSQL's own estimate, for progress alone.
    """

    schema: str
    name: str
    columns: tuple[Column, ...]
    parts: tuple[tuple[str, str], ...] = ()
    rows: int = 0
    is_execution: bool = False

    @property
    def label(self) -> str:
        """Its name with its schema, for people, and as the manifest has it."""
        return f"{self.schema}.{self.name}"

    @property
    def per_bot(self) -> bool:
        """Whether its rows count in the hash of their bot; executions count in their table's alone."""
        return not self.is_execution and any(column.name == "bot_id" for column in self.columns)

    @property
    def relation(self) -> sql.Identifier:
        """Its name as SQL."""
        return sql.Identifier(self.schema, self.name)


_SOURCES: Final = sa.text("""
    WITH wanted AS (
        SELECT c.oid, false AS is_execution FROM pg_class c
        WHERE c.relnamespace = to_regnamespace(:ours) AND c.relkind IN ('r', 'p')
          AND NOT c.relispartition
        UNION
        SELECT CAST(to_regclass(p.found_by_path) AS oid), p.is_execution
        FROM unnest(CAST(:names AS text[]), CAST(:executions AS bool[])) AS p (found_by_path, is_execution)
        WHERE to_regclass(p.found_by_path) IS NOT NULL
    )
    SELECT n.nspname::text AS schema, c.relname::text AS name, c.relkind::text AS kind, w.is_execution,
           GREATEST(c.reltuples, 0)::int8 AS rows,
           has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') AS may_read,
           row_security_active(c.oid) AS is_hidden, current_user::text AS role,
           (SELECT json_agg(json_build_array(a.attname::text, format_type(a.atttypid, a.atttypmod))
                            ORDER BY a.attnum)
            FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0
              AND NOT a.attisdropped AND a.attgenerated = '') AS columns,
           (SELECT json_agg(json_build_array(pn.nspname::text, pc.relname::text) ORDER BY 1, 2)
            FROM pg_partition_tree(c.oid) t
            JOIN pg_class pc ON pc.oid = t.relid JOIN pg_namespace pn ON pn.oid = pc.relnamespace
            WHERE t.level > 0) AS parts
    FROM wanted w JOIN pg_class c ON c.oid = w.oid JOIN pg_namespace n ON n.oid = c.relnamespace
    ORDER BY n.nspname::text COLLATE "C", c.relname::text COLLATE "C"
""")


def sources(connection: sa.Connection) -> tuple[Source, ...]:
    """The platform's four tables and all of ours, in the order of their names.

    Raises:
        ConfigError: the role may not read one of them, or a policy hides rows of it.
        UsageError: one is no table.
    """
    found = connection.execute(
        _SOURCES,
        {
            "ours": SCHEMA,
            "names": [quoted(table.name) for table in PLATFORM_TABLES],
            "executions": [table.name in _EXECUTIONS for table in PLATFORM_TABLES],
        },
    ).all()
    _need_whole(found)
    return tuple(
        Source(
            schema=row.schema,
            name=row.name,
            columns=tuple(Column(name, kind) for name, kind in row.columns or ()),
            parts=tuple((schema, name) for schema, name in row.parts or ()),
            rows=row.rows,
            is_execution=row.is_execution,
        )
        for row in found
    )


def _need_whole(found: Sequence[sa.Row[Any]]) -> None:
    """Refuse what would be a part of a table."""
    unread = [f"{row.schema}.{row.name}" for row in found if not row.may_read]
    if unread:
        raise ConfigError(
            f"the role {found[0].role} may not read {', '.join(unread)} whole: take and verify backups"
            " as the tables' owner, or as a role that may read all of these (GRANT pg_read_all_data,"
            " from PostgreSQL 14 on)"
        )
    hidden = [f"{row.schema}.{row.name}" for row in found if row.is_hidden]
    if hidden:
        raise ConfigError(
            f"row level security hides rows of {', '.join(hidden)} from the role {found[0].role}: use"
            " the tables' owner, or a role with BYPASSRLS"
        )
    if odd := [f"{row.schema}.{row.name}" for row in found if row.kind not in ("r", "p")]:
        raise UsageError(f"{', '.join(odd)} is no table: only tables can be backed up")


# -- hashes ----------------------------------------------------------------------------------------

_DIGEST: Final = (
    "left(encode(sha256(convert_to("
    "concat_ws(':', count(*), sum(r.a), sum(r.b)), 'UTF8')), 'hex'), 32)"
)

# OFFSET 0: each row is hashed once, however often the hash is used above.
_ROWS: Final = """
    SELECT {bot_id} ('x' || substr(h.hash, 1, 16))::bit(64)::int8 AS a,
           ('x' || substr(h.hash, 17, 16))::bit(64)::int8 AS b
    FROM (SELECT {inner} encode(sha256(convert_to(ROW({label}, {values})::text, 'UTF8')), 'hex') AS hash
          FROM {relation} t {where} OFFSET 0) h
"""

_TABLE: Final = f"""
    SELECT count(*), {_DIGEST} FROM ({{rows}}) r
"""  # noqa: S608  (constants)

_BOTS: Final = f"""
    SELECT r.bot_id, {_DIGEST} FROM ({{rows}}) r GROUP BY r.bot_id ORDER BY r.bot_id
"""  # noqa: S608  (constants)


def count_table(connection: sa.Connection, source: Source) -> Counted:
    """The rows of a table, and the hash over them, as this transaction sees them."""
    query = sql.SQL(_TABLE).format(rows=_rows(source, by_bot=False))
    with driver(connection).cursor() as cursor:
        row = cursor.execute(query).fetchone()
    rows, digest = cast("tuple[int, str]", row)
    return Counted(rows, digest)


def bot_hashes(connection: sa.Connection, found: Sequence[Source]) -> Iterator[BotHash]:
    """Each bot with the hash over its rows, in ascending order of the ids; streamed, memory flat.

    The ids are those of all tables that count per bot: a record that outlived its bot has one too.
    """
    parts = [_rows(source, by_bot=True) for source in found if source.per_bot]
    query = sql.SQL(_BOTS).format(rows=sql.SQL(" UNION ALL ").join(parts))
    with driver(connection).cursor("flowshift_bot_hashes") as cursor:
        cursor.itersize = _PAGE
        cursor.execute(query)
        for bot_id, digest in cursor:
            yield BotHash(bot_id, digest)


def _rows(source: Source, *, by_bot: bool) -> sql.Composed:
    values = sql.SQL(", ").join(sql.Identifier("t", column.name) for column in source.columns)
    return sql.SQL(_ROWS).format(
        bot_id=sql.SQL("h.bot_id," if by_bot else ""),
        inner=sql.SQL('t.bot_id::text COLLATE "C" AS bot_id,' if by_bot else ""),
        label=sql.Literal(source.label),
        values=values,
        relation=source.relation,
        where=sql.SQL("WHERE t.bot_id IS NOT NULL" if by_bot else ""),
    )
