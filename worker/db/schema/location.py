"""Where else the platform's tables may be, when the search path does not lead to them, or to others."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from worker.db.schema.catalog import FoundTable, find_table, qualified
from worker.db.schema.findings import Finding

LISTED = 5


def problem(connection: sa.Connection, table: str) -> str:
    """Why a table that is not found should not be created just so; "" where nothing looks like it.

    A table of that name in another schema, or, for `bots`, one that is called much the same or has
    both a bot's id and a workflow.
    """
    if find_table(connection, table) is not None:
        return ""
    found = connection.execute(_ELSEWHERE, {"table": table}).all()
    if not found:
        return ""
    path = connection.execute(sa.text("SELECT current_setting('search_path')")).scalar_one()
    names = ", ".join(row.name for row in found[:LISTED])
    more = f" and {len(found) - LISTED} more" if len(found) > LISTED else ""
    schema = found[0].schema
    exact = any(row.is_exact for row in found)
    way_out = (
        f"put its schema on the path (PGOPTIONS='-c search_path={schema}', or ALTER ROLE … SET search_path)"
        if exact
        else f"flowshift reads a table called {table}: a view does not do"
    )
    is_it = "may be it" if not exact else "exists"
    return (
        f"{table} is not on the search path ({path}), but {names}{more} {is_it}: {way_out};"
        f" `flowshift db upgrade --create` creates another {table} anyway"
    )


def findings(connection: sa.Connection, tables: Sequence[FoundTable]) -> list[Finding]:
    """Tables that hide another of the same name in another schema.

    A note, but where the one that is used has no row and the other has: nothing would be converted.
    """
    return [
        Finding(
            table.name,
            _hidden(table, row.name, row.schema, is_empty=row.is_empty),
            obstructs=row.is_empty,
        )
        for table in tables
        for row in connection.execute(_OTHERS, {"oid": table.oid, "name": table.name})
    ]


def _hidden(table: FoundTable, other: str, schema: str, *, is_empty: bool) -> str:
    here = qualified(table.schema, table.name)
    if is_empty:
        return (
            f"{here} comes first on the search path and is empty, and {other} is not: put the schema"
            f" {schema} first (PGOPTIONS='-c search_path={schema}', or ALTER ROLE … SET search_path)"
        )
    return f"{here} is used, which comes first on the search path; there is {other} besides"


# With its partitions; by what it takes, since the role may not be allowed to look there.
_HAS_ROWS = """
    0 < (
        WITH RECURSIVE family AS (
            SELECT {oid} AS relid
            UNION SELECT i.inhrelid FROM pg_inherits i JOIN family f ON i.inhparent = f.relid
        )
        SELECT sum(pg_relation_size(relid::regclass)) FROM family
    )
"""
_OTHERS = sa.text(f"""
    SELECT format('%I.%I', n.nspname, c.relname) AS name, n.nspname::text AS schema,
           CAST(:name AS text) = 'bots' AND NOT {_HAS_ROWS.format(oid="CAST(:oid AS oid)")}
           AND {_HAS_ROWS.format(oid="c.oid")} AS is_empty
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relname = CAST(:name AS text) AND c.oid <> CAST(:oid AS oid)
      AND c.relkind IN ('r', 'p', 'f') AND NOT c.relispartition
      AND n.nspname <> 'flowshift' AND NOT pg_is_other_temp_schema(n.oid)
      AND n.oid <> pg_my_temp_schema()
    ORDER BY n.nspname
""")  # noqa: S608  (constants)

_ELSEWHERE = sa.text("""
    SELECT c.oid::regclass::text AS name, n.nspname::text AS schema,
           c.relname = CAST(:table AS text) AS is_exact
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
      AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'flowshift')
      AND n.nspname NOT LIKE 'pg\\_toast%' AND n.nspname NOT LIKE 'pg\\_temp%'
      AND (
          c.relname = CAST(:table AS text)
          OR CAST(:table AS text) = 'bots' AND (
              replace(lower(c.relname), '_', '') IN ('bot', 'bots', 'chatbot', 'chatbots')
              OR 2 = (
                  SELECT count(DISTINCT replace(lower(a.attname), '_', '')) FROM pg_attribute a
                  WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                    AND replace(lower(a.attname), '_', '') IN ('botid', 'workflow')
              )
          )
      )
    ORDER BY c.relname <> CAST(:table AS text), n.nspname, c.relname
""")
