"""Whether a platform's tables can be adopted: what we need of each, and what prevents it.

Reads only. The first migration stops on the obstacles named here before it changes anything, and
`flowshift db check` shows the same ones.
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec
import sqlalchemy as sa

from worker.db.platform_tables import FILLED
from worker.db.schema import labels
from worker.db.schema.catalog import (
    FoundIndex,
    FoundTable,
    Index,
    find_table,
    qualified,
    quoted,
    serves,
)

LISTED = 20  # how many of a long list a message shows

# What a column has to hold for us: `text` and `json` (or jsonb) are compared, the rest is trusted.
Kind = Literal["any", "text", "json"]


class Needs(msgspec.Struct, frozen=True):
    """What flowshift needs of one of the platform's tables.

    `added` are the columns that flowshift adds where they are missing. `inserts` says that
    flowshift writes rows there, so that no other column may insist on a value.
    """

    table: str
    columns: dict[str, Kind]
    indexes: tuple[Index, ...]
    added: frozenset[str] = frozenset()
    inserts: bool = True


def missing_columns(found: FoundTable, needs: Needs) -> tuple[str, ...]:
    """The columns that are needed and not there, in the order they are needed in."""
    return tuple(name for name in needs.columns if name not in found.columns)


def missing_indexes(found: FoundTable, needs: Needs) -> tuple[Index, ...]:
    """The indexes that are needed and that none there serves, whatever its name."""
    return tuple(
        wanted
        for wanted in needs.indexes
        if not any(
            serves(index, wanted) or _serves_across_partitions(found, index, wanted)
            for index in found.indexes
        )
    )


def _serves_across_partitions(found: FoundTable, index: FoundIndex, wanted: Index) -> bool:
    """Whether a partitioned table has the key of its ids in the only form that it can have.

    A unique index there has to hold the partition key too. Ids are made so as to be unique, so one
    that leads with the id does; for any other key it would allow duplicates.
    """
    extra = set(index.columns) - set(wanted.columns)
    return (
        found.partitioned
        and wanted.columns == ("id",)
        and index.columns[:1] == ("id",)
        and bool(extra)
        and extra <= set(found.partition_key)
        and serves(msgspec.structs.replace(index, columns=wanted.columns), wanted)
    )


def obstacles(connection: sa.Connection, needs: Needs) -> tuple[str, ...]:
    """Everything about the table that a person has to settle first; nothing if it is absent."""
    found = find_table(connection, needs.table)
    if found is None:
        return ()
    if found.kind not in {"r", "p"}:
        way_out = "make the table itself the first of that name on the search path"
        return (f"{needs.table} is not a table: {way_out}",)
    unlabelled = labels.obstacles(connection, found)
    return (
        *_wrong_columns(found, needs),
        *unlabelled,
        *_columns_that_insist(found, needs),
        *_impossible_indexes(found, needs),
        *(() if unlabelled else _duplicates(connection, found, needs)),
    )


def duplicates(connection: sa.Connection, found: FoundTable, index: Index) -> str:
    """The rows that forbid a unique index, for people: the first 20 and how many; "" for none."""
    if not _can_be_read(found, index):
        return ""
    rows = connection.execute(sa.text(_duplicates_query(found, index)), {"most": LISTED}).all()
    if not rows:
        return ""
    total = rows[0].total
    lines = [f"  {' '.join(row.key)}: {_shortened(row.ids, row.times)}" for row in rows]
    if total > len(rows):
        lines.append(f"  … and {total - len(rows)} more")
    return "\n".join([_headline(found, index, total), *lines])


def _wrong_columns(found: FoundTable, needs: Needs) -> tuple[str, ...]:
    problems = [
        f"{needs.table} has no column {name}: add it as the platform has it"
        for name in missing_columns(found, needs)
        if name not in needs.added
    ]
    for name, kind in needs.columns.items():
        column = found.columns.get(name)
        if column is None:
            continue
        if kind == "text" and column.category != "S":
            problems.append(f"{needs.table}.{name} is {column.type}; it should be varchar or text")
        if kind == "json" and column.type not in {"json", "jsonb"}:
            problems.append(f"{needs.table}.{name} is {column.type}; it should be json or jsonb")
    return tuple(problems)


def _columns_that_insist(found: FoundTable, needs: Needs) -> tuple[str, ...]:
    if not needs.inserts or found.fills_by_trigger:
        return ()
    return tuple(
        f"{needs.table}.{name} takes no NULL and has no default, and flowshift does not fill it: give"
        " it a default"
        for name, column in found.columns.items()
        if not column.fills_itself
        and name not in needs.columns
        and name not in FILLED.get(needs.table, ())
    )


def _impossible_indexes(found: FoundTable, needs: Needs) -> tuple[str, ...]:
    if not found.partitioned:
        return ()
    return tuple(
        f"{needs.table} is partitioned, so the index {index.name} on ({', '.join(index.columns)}) "
        f"cannot be built beside its traffic; create it there"
        for index in missing_indexes(found, needs)
    )


def _duplicates(connection: sa.Connection, found: FoundTable, needs: Needs) -> tuple[str, ...]:
    lists = (
        duplicates(connection, found, index)
        for index in missing_indexes(found, needs)
        if index.unique
    )
    return tuple(text for text in lists if text)


def _duplicates_query(found: FoundTable, index: Index) -> str:
    columns = [quoted(name) for name in index.columns]
    row_id = "id::text" if "id" in found.columns else "ctid::text"
    where = " AND ".join(f"{name} IS NOT NULL" for name in columns)  # NULLs are never equal
    return f"""
        SELECT ARRAY[{", ".join(f"{name}::text" for name in columns)}] AS key,
               (array_agg({row_id} ORDER BY {row_id}))[1:{LISTED}] AS ids,
               count(*) AS times, count(*) OVER () AS total
        FROM {qualified(found.schema, found.name)}
        WHERE {where}{f" AND ({index.where})" if index.where else ""}
        GROUP BY {", ".join(columns)} HAVING count(*) > 1
        ORDER BY {", ".join(columns)} LIMIT :most
    """  # noqa: S608 - identifiers are quoted, the predicate is ours


def _can_be_read(found: FoundTable, index: Index) -> bool:
    """Whether the columns are there; if not, that is the obstacle, and it is named elsewhere."""
    used = {*index.columns, *re.findall(r"^\w+", index.where)}
    return used <= found.columns.keys()


def _headline(found: FoundTable, index: Index, total: int) -> str:
    if index.where:
        return (
            f"{total} {'bot has' if total == 1 else 'bots have'} more than one draft in "
            f"{found.name}, and each may have one; archive or delete the others (bot: ids)"
        )
    key = ", ".join(index.columns)
    return f"{found.name} has {total} duplicate {key}, which should be unique ({key}: ids)"


def _shortened(ids: list[str], times: int) -> str:
    more = f" … and {times - len(ids)} more" if times > len(ids) else ""
    return ", ".join(ids) + more
