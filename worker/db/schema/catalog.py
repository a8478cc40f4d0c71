"""What a database holds: one table, its columns and its indexes, as the system catalog has them."""

from __future__ import annotations

import re

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql


class FoundColumn(msgspec.Struct, frozen=True):
    """`fills_itself`: an INSERT may leave it out, even where it takes no NULL. `octets` is what a
    value takes, -1 where that varies.
    """

    type: str
    category: str
    fills_itself: bool
    octets: int = -1


class FoundIndex(msgspec.Struct, frozen=True):
    """Key columns only, None for an expression. `enforced` is False for a deferrable one."""

    name: str
    columns: tuple[str | None, ...]
    unique: bool
    where: str
    valid: bool
    enforced: bool
    ordinary: bool


class FoundTable(msgspec.Struct, frozen=True):
    """A table with what we compare; `kind` is pg_class.relkind.

    `partition_key` are the columns that decide to which partition a row belongs.
    """

    oid: int
    schema: str
    name: str
    kind: str
    fills_by_trigger: bool
    columns: dict[str, FoundColumn]
    indexes: tuple[FoundIndex, ...]
    partition_key: tuple[str, ...] = ()

    @property
    def partitioned(self) -> bool:
        """Whether it is the root of partitions, on which no index is built concurrently."""
        return self.kind == "p"


class Index(msgspec.Struct, frozen=True):
    """An index that we need; `name` is what it is called where we create it."""

    name: str
    columns: tuple[str, ...]
    unique: bool = False
    where: str = ""


def find_table(
    connection: sa.Connection, name: str, schema: str | None = None
) -> FoundTable | None:
    """The table, view or whatever has this name; without `schema` the one on the search path."""
    sought = {"schema": schema, "name": name, "found_by_path": quoted(name)}
    row = connection.execute(_TABLE, sought).one_or_none()
    if row is None:
        return None
    oid = {"oid": row.oid}
    return FoundTable(
        oid=row.oid,
        schema=row.schema,
        name=row.name,
        kind=row.kind,
        fills_by_trigger=row.fills_by_trigger,
        columns={
            column.name: FoundColumn(
                column.type, column.category, column.fills_itself, column.octets
            )
            for column in connection.execute(_COLUMNS, oid)
        },
        indexes=tuple(
            FoundIndex(
                name=index.name,
                columns=tuple(index.columns),
                unique=index.unique,
                where=index.predicate or "",
                valid=index.valid,
                enforced=index.enforced,
                ordinary=index.ordinary,
            )
            for index in connection.execute(_INDEXES, oid)
        ),
        partition_key=tuple(connection.execute(_PARTITION_KEY, oid).scalars()),
    )


def serves(found: FoundIndex, wanted: Index) -> bool:
    """Whether `found` does all that `wanted` is for, whatever its name.

    A unique index serves where a plain one is wanted, never the other way round; the order of
    columns does not matter to uniqueness.
    """
    if not (found.valid and found.ordinary):
        return False
    if normal_predicate(found.where) != normal_predicate(wanted.where):
        return False
    if wanted.unique:
        return found.unique and found.enforced and set(found.columns) == set(wanted.columns)
    return found.columns == wanted.columns


def normal_predicate(text: str) -> str:
    """A simple predicate without the casts and parentheses that PostgreSQL writes into it.

    Two that are the same afterwards mean the same for `column = 'value'`, the one kind we use.

    >>> normal_predicate("((status)::text = 'draft'::text)")
    "status='draft'"
    >>> normal_predicate("(status = 'draft'::public.\\"Version Status\\")")
    "status='draft'"
    """
    bare = re.sub(r"[()]", "", re.sub(r"\(\d+\)", "", text))
    name = r'(?:"[^"]+"|\w+)'
    return re.sub(rf"::\s*(?:character varying|{name}(?:\.{name})?)|\s", "", bare)


def qualified(schema: str | None, name: str) -> str:
    """The name with its schema as SQL, quoted where it has to be.

    >>> qualified("My Schema", "bots")
    '"My Schema".bots'
    """
    return f"{quoted(schema)}.{quoted(name)}" if schema else quoted(name)


def quoted(name: str) -> str:
    """An identifier as SQL, quoted where it has to be."""
    return str(_PREPARER.quote(name))


# Formats only; unlike the one of an engine it needs no connection.
_PREPARER = postgresql.dialect(paramstyle="named").identifier_preparer  # type: ignore[no-untyped-call]

_TABLE = sa.text("""
    SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name, c.relkind::text AS kind,
           EXISTS (
               SELECT FROM pg_trigger t
               WHERE t.tgrelid = c.oid AND NOT t.tgisinternal
                 AND t.tgtype & 7 = 7  -- for each row, before, insert
           ) AS fills_by_trigger
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE CASE WHEN CAST(:schema AS text) IS NULL THEN c.oid = to_regclass(:found_by_path)
               ELSE n.nspname = :schema AND c.relname = :name
                    AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
          END
""")

_COLUMNS = sa.text("""
    SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type,
           t.typcategory::text AS category,
           NOT a.attnotnull OR a.atthasdef OR a.attidentity <> '' AS fills_itself,
           a.attlen::int AS octets
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = :oid AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attnum
""")

# Of the table, and of those of its partitions that are partitioned further.
_PARTITION_KEY = sa.text("""
    SELECT DISTINCT a.attname::text
    FROM pg_partition_tree(CAST(:oid AS oid)) m
    JOIN pg_partitioned_table p ON p.partrelid = m.relid
    JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = ANY (p.partattrs)
    ORDER BY 1
""")

_INDEXES = sa.text("""
    SELECT c.relname AS name, i.indisunique AS unique,
           i.indisvalid AND i.indisready AND i.indislive AS valid,
           i.indimmediate AS enforced,
           pg_get_expr(i.indpred, i.indrelid) AS predicate,
           ARRAY(
               SELECT a.attname::text
               FROM generate_series(0, i.indnkeyatts - 1) AS place
               LEFT JOIN pg_attribute a
                 ON a.attrelid = i.indrelid AND a.attnum = i.indkey[place] AND a.attnum > 0
               ORDER BY place
           ) AS columns,
           m.amname = 'btree' AND NOT EXISTS (
               SELECT FROM unnest(i.indclass) AS used JOIN pg_opclass o ON o.oid = used
               WHERE NOT o.opcdefault
           ) AS ordinary
    FROM pg_index i
    JOIN pg_class c ON c.oid = i.indexrelid
    JOIN pg_am m ON m.oid = c.relam
    WHERE i.indrelid = :oid
    ORDER BY c.relname
""")
