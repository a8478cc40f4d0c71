"""The platform's executions: finding those that are too old, and deleting them in batches.

Only by indexes: of the runs by `created_at`, of their nodes by the run (docs/benchmark.md shows the
plans). Nodes go with their runs by the foreign key's cascade, which is the fastest way, where there
is one; elsewhere the statement deletes them itself.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from worker.db.catalog import FoundTable, find_table, qualified, quoted
from worker.errors import ConfigError

SAMPLED_RUNS, SAMPLED_NODES = 200, 2_000
"""How many are looked at for what a node takes."""

START = "-infinity"
"""The mark before every time."""


class Executions(msgspec.Struct, frozen=True):
    """The platform's two tables as they are here.

    `kept_where` says, in SQL, which runs `r` stay whatever their age: those that rows of other
    tables refer to. `cascades`: deleting a run deletes its nodes, and the server counts them.
    `node_octets` is what a node takes, by those of the oldest runs.
    """

    runs: FoundTable
    nodes: FoundTable
    kept_where: tuple[str, ...]
    cascades: bool
    node_octets: int

    @property
    def time_type(self) -> str:
        """The type of `created_at`; without a time zone it holds UTC."""
        return self.runs.columns["created_at"].type

    @property
    def id_type(self) -> str:
        """The type of a run's id."""
        return self.runs.columns["id"].type


class Piece(msgspec.Struct, frozen=True):
    """What one statement found and did.

    `seen` runs were old enough, `runs` of them are gone (or would be), with their `nodes`; `octets`
    is what all of these took. `mark` is the youngest `created_at` seen, None where nothing was;
    `stuck` are the ids of runs of that very time that stayed.
    """

    seen: int
    runs: int
    nodes: int
    octets: int
    mark: str | None
    stuck: tuple[str, ...] = ()


def find(connection: sa.Connection) -> Executions:
    """Look at the two tables, and at what refers to them.

    Raises:
        ConfigError: one of them is not there.
    """
    runs = find_table(connection, "workflow_execution_runs")
    nodes = find_table(connection, "workflow_node_executions")
    if runs is None or nodes is None:
        raise ConfigError("the platform's execution tables are not there: run `flowshift db check`")
    cascades = connection.execute(_CASCADES, {"runs": runs.oid, "nodes": nodes.oid}).scalar_one()
    return Executions(
        runs,
        nodes,
        _kept_where(connection, runs, nodes),
        bool(cascades) and not nodes.partitioned,
        _node_octets(connection, runs, nodes),
    )


def name_of(found: FoundTable) -> str:
    """A table's name with its schema, as SQL."""
    return qualified(found.schema, found.name)


def now(connection: sa.Connection) -> dt.datetime:
    """The database's clock: a worker's may be wrong."""
    moment: dt.datetime = connection.execute(sa.text("SELECT now()")).scalar_one()
    return moment


def oldest(connection: sa.Connection, executions: Executions, cutoff: dt.datetime) -> str | None:
    """The `created_at` of the oldest run before the cut-off; None where there is none.

    Apart from the batches, because it may have to pass by a great many index entries of rows that
    are deleted already and not vacuumed yet; a batch then begins where these end.
    """
    found = connection.execute(
        sa.text(f"""
            SELECT r.created_at::text FROM {name_of(executions.runs)} r
            WHERE r.created_at < {_moment(executions, "cutoff")} ORDER BY r.created_at LIMIT 1
        """),
        {"cutoff": cutoff.isoformat()},
    ).scalar()
    return None if found is None else str(found)


def estimate(connection: sa.Connection, executions: Executions, cutoff: dt.datetime) -> int:
    """About how many runs are before the cut-off, by the planner's statistics."""
    plan = connection.execute(
        sa.text(f"""
            EXPLAIN (FORMAT JSON) SELECT FROM {name_of(executions.runs)} r
            WHERE r.created_at < {_moment(executions, "cutoff")}
        """),
        {"cutoff": cutoff.isoformat()},
    ).scalar_one()
    parsed = json.loads(plan) if isinstance(plan, str) else plan
    return int(parsed[0]["Plan"]["Plan Rows"])


def delete_batch(
    connection: sa.Connection,
    executions: Executions,
    cutoff: dt.datetime,
    *,
    since: str,
    stuck: Sequence[str],
    size: int,
) -> Piece:
    """Delete up to `size` of the oldest runs before the cut-off with their nodes, from `since` on.

    Runs that somebody has locked are passed over, and so are those in `stuck`. Nothing that the
    platform does to other rows has to wait.
    """
    counted = _nodes_deleted(connection, executions) if executions.cascades else 0
    row = connection.execute(
        sa.text(delete_sql(executions, with_stuck=bool(stuck))),
        {
            "cutoff": cutoff.isoformat(),
            "since": since,
            "size": size,
            **({"stuck": list(stuck)} if stuck else {}),
        },
    ).one()
    nodes = row.nodes
    if executions.cascades:
        nodes = _nodes_deleted(connection, executions) - counted
    octets = row.octets + nodes * executions.node_octets
    return Piece(row.seen, row.runs, nodes, octets, row.mark, tuple(row.stuck))


def delete_nodes(
    connection: sa.Connection, executions: Executions, run_id: str, *, size: int
) -> Piece:
    """Delete up to `size` nodes of one run: for a run whose nodes are too many for one batch."""
    place = "n.id" if executions.nodes.partitioned else "n.ctid"
    gone = connection.execute(
        sa.text(f"""
            DELETE FROM {name_of(executions.nodes)} n WHERE {place} = ANY (ARRAY(
                SELECT {place} FROM {name_of(executions.nodes)} n
                WHERE n.workflow_run_id = CAST(:run_id AS {executions.id_type}) LIMIT :size
            ))
        """),
        {"run_id": run_id, "size": size},
    ).rowcount
    return Piece(gone, 0, gone, gone * executions.node_octets, None)


def first_run(
    connection: sa.Connection,
    executions: Executions,
    cutoff: dt.datetime,
    *,
    since: str,
    stuck: Sequence[str],
) -> str | None:
    """The id of the run that the next batch would begin with; None where there is none."""
    found = connection.execute(
        sa.text(f"""
            SELECT r.id::text FROM {name_of(executions.runs)} r
            WHERE {_in_reach(executions, with_stuck=bool(stuck))}
            {_unreferenced(executions)} ORDER BY r.created_at LIMIT 1
        """),
        {
            "cutoff": cutoff.isoformat(),
            "since": since,
            **({"stuck": list(stuck)} if stuck else {}),
        },
    ).scalar()
    return None if found is None else str(found)


def count_page(
    connection: sa.Connection,
    executions: Executions,
    cutoff: dt.datetime,
    *,
    after: str,
    size: int,
    dropped: Sequence[int] = (),
) -> Piece:
    """Count what `delete_batch` would delete of the next runs after the time `after`.

    About `size` runs, and all those of the same time as the last of them, so that the next page can
    begin after that time. Rows of the tables `dropped` take nothing: they go with their tables.
    """
    run_octets = (
        "CASE WHEN r.tableoid = ANY (CAST(:dropped AS oid[])) THEN 0"
        f" ELSE {size_of(executions.runs, 'r')} END"
    )
    row = connection.execute(
        sa.text(f"""
            WITH seen AS MATERIALIZED (
                SELECT r.id, r.created_at, {run_octets} AS octets
                FROM {name_of(executions.runs)} r
                WHERE r.created_at < {_moment(executions, "cutoff")}
                  AND r.created_at > {_moment(executions, "after")}
                ORDER BY r.created_at FETCH FIRST (:size) ROWS WITH TIES
            ), old AS MATERIALIZED (
                SELECT r.id, r.octets FROM seen r WHERE true {_unreferenced(executions)}
            ), nodes AS (
                SELECT n.tableoid = ANY (CAST(:dropped AS oid[])) AS is_dropped
                FROM {name_of(executions.nodes)} n
                WHERE n.workflow_run_id = ANY (ARRAY(SELECT id FROM old))
            )
            SELECT (SELECT count(*) FROM seen) AS seen, (SELECT count(*) FROM old) AS runs,
                   (SELECT count(*) FROM nodes) AS nodes,
                   COALESCE((SELECT sum(octets) FROM old), 0)::bigint
                   + (SELECT count(*) FROM nodes WHERE NOT is_dropped) * :node_octets AS octets,
                   (SELECT max(created_at)::text FROM seen) AS mark
        """),
        {
            "cutoff": cutoff.isoformat(),
            "after": after,
            "size": size,
            "dropped": list(dropped),
            "node_octets": executions.node_octets,
        },
    ).one()
    return Piece(row.seen, row.runs, row.nodes, row.octets, row.mark)


def size_of(found: FoundTable, alias: str) -> str:
    """SQL for the bytes that a row takes, what is stored out of line included; it is not fetched.

    28 bytes are the row's header and the pointer to it. Values of a fixed size count as if they were
    there: looking at each would cost as much as deleting the row.
    """
    fixed = 28 + sum(max(0, column.octets) for column in found.columns.values())
    sizes = (
        f" + COALESCE(pg_column_size({alias}.{_column(name)}), 0)"
        for name, column in found.columns.items()
        if column.octets < 0
    )
    return f"({fixed}{''.join(sizes)})"


def delete_sql(executions: Executions, *, with_stuck: bool) -> str:
    runs, nodes = name_of(executions.runs), name_of(executions.nodes)
    # Rows of partitions are found by their key: a place (ctid) is a place within one partition.
    if executions.runs.partitioned:
        place = "r.id"
        reach = (
            f"AND r.created_at >= {_moment(executions, 'since')}"
            " AND r.created_at <= (SELECT max(created_at) FROM seen)"
        )
    else:
        place, reach = "r.ctid", ""
    cutoff = f"r.created_at < {_moment(executions, 'cutoff')}"
    # A cascade comes after the statement: who wants to know asks the server then.
    gone_nodes = (
        "SELECT WHERE false"
        if executions.cascades
        else f"DELETE FROM {nodes} n WHERE n.workflow_run_id = ANY (ARRAY(SELECT id FROM held))"
        " RETURNING 1"
    )
    return f"""
        WITH seen AS MATERIALIZED (
            SELECT r.id, {place} AS place, r.created_at FROM {runs} r
            WHERE {_in_reach(executions, with_stuck=with_stuck)}
            ORDER BY r.created_at LIMIT :size
        ), held AS MATERIALIZED (
            SELECT r.id, {place} AS place FROM {runs} r
            WHERE {place} = ANY (ARRAY(SELECT place FROM seen)) {reach} AND {cutoff}
            {_unreferenced(executions)}
            FOR UPDATE OF r SKIP LOCKED
        ), gone AS (
            DELETE FROM {runs} r
            WHERE {place} = ANY (ARRAY(SELECT place FROM held)) {reach} AND {cutoff}
            RETURNING r.id, {size_of(executions.runs, "r")} AS octets
        ), gone_nodes AS (
            {gone_nodes}
        )
        SELECT (SELECT count(*) FROM seen) AS seen, (SELECT count(*) FROM gone) AS runs,
               (SELECT count(*) FROM gone_nodes) AS nodes,
               COALESCE((SELECT sum(octets) FROM gone), 0)::bigint AS octets,
               (SELECT max(created_at)::text FROM seen) AS mark,
               ARRAY(
                   SELECT s.id::text FROM seen s
                   WHERE s.created_at = (SELECT max(created_at) FROM seen)
                     AND s.id NOT IN (SELECT id FROM gone)
               ) AS stuck
    """  # identifiers are quoted by the catalog's functions; values are bound


def _nodes_deleted(connection: sa.Connection, executions: Executions) -> int:
    """How many nodes this session has deleted, by cascades too: a count that is behind only what it
    has reported already, which it never does within a transaction.
    """
    deleted: int = connection.execute(_DELETED, {"oid": executions.nodes.oid}).scalar_one()
    return deleted


def _node_octets(connection: sa.Connection, runs: FoundTable, nodes: FoundTable) -> int:
    """What a node of the oldest runs takes on average: looking at each would cost a sixth more."""
    average = connection.execute(
        sa.text(f"""
            SELECT avg({size_of(nodes, "n")})::bigint FROM (
                SELECT n.* FROM {name_of(nodes)} n WHERE n.workflow_run_id = ANY (ARRAY(
                    SELECT r.id FROM {name_of(runs)} r ORDER BY r.created_at LIMIT {SAMPLED_RUNS}
                )) LIMIT {SAMPLED_NODES}
            ) n
        """)
    ).scalar()
    return int(average or 0)


def _in_reach(executions: Executions, *, with_stuck: bool) -> str:
    passed_over = f"AND r.id <> ALL (CAST(:stuck AS {executions.id_type}[]))" if with_stuck else ""
    return (
        f"r.created_at < {_moment(executions, 'cutoff')}"
        f" AND r.created_at >= {_moment(executions, 'since')} {passed_over}"
    )


def _unreferenced(executions: Executions) -> str:
    return "".join(f" AND NOT {kept}" for kept in executions.kept_where)


def _moment(executions: Executions, name: str) -> str:
    """The session is in UTC, so a time zone that a text has or lacks is UTC either way."""
    if executions.time_type.endswith("without time zone"):
        return f"CAST(CAST(:{name} AS timestamptz) AS timestamp)"
    return f"CAST(:{name} AS {executions.time_type})"


def _column(name: str) -> str:
    return quoted(name).replace(":", "\\:")


def _kept_where(connection: sa.Connection, runs: FoundTable, nodes: FoundTable) -> tuple[str, ...]:
    """One EXISTS for each foreign key, of other tables or of the runs themselves.

    Deleting what others refer to would fail, or change rows of theirs: these are never touched.
    """
    found = connection.execute(_REFERENCES, {"runs": runs.oid, "nodes": nodes.oid}).all()
    return tuple(_exists(row, nodes) for row in found)


def _exists(row: sa.Row[Any], nodes: FoundTable) -> str:
    other = qualified(row.schema, row.name)
    to_nodes = row.target == nodes.oid
    pairs = " AND ".join(
        f"other.{_column(here)} = {'node' if to_nodes else 'r'}.{_column(there)}"
        for here, there in zip(row.columns, row.target_columns, strict=True)
    )
    if not to_nodes:
        return f"EXISTS (SELECT FROM {other} other WHERE {pairs})"
    return (
        f"EXISTS (SELECT FROM {name_of(nodes)} node JOIN {other} other ON {pairs}"
        " WHERE node.workflow_run_id = r.id)"
    )


# By the trigger that does it, which a constraint that is not enforced does not have, and only by the
# run's id alone: a key of more columns does not cascade to a row that has a null among them.
_CASCADES = sa.text("""
    SELECT EXISTS (
        SELECT FROM pg_constraint f
        JOIN pg_trigger t ON t.tgconstraint = f.oid AND t.tgrelid = f.confrelid
        JOIN pg_attribute a
          ON a.attrelid = f.conrelid AND a.attnum = f.conkey[1] AND a.attname = 'workflow_run_id'
        JOIN pg_attribute key
          ON key.attrelid = f.confrelid AND key.attnum = f.confkey[1] AND key.attname = 'id'
        WHERE f.contype = 'f' AND f.conrelid = :nodes AND f.confrelid = :runs
          AND cardinality(f.conkey) = 1
          AND t.tgfoid = '"RI_FKey_cascade_del"'::regproc AND t.tgenabled IN ('O', 'A')
          AND current_setting('track_counts')::boolean
    )
""")

_DELETED = sa.text("SELECT pg_stat_get_xact_tuples_deleted(CAST(:oid AS oid))")

_REFERENCES = sa.text("""
    SELECT n.nspname AS schema, c.relname AS name, f.confrelid::bigint AS target,
           ARRAY(
               SELECT a.attname::text FROM unnest(f.conkey) WITH ORDINALITY AS k (number, place)
               JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = k.number
               ORDER BY k.place
           ) AS columns,
           ARRAY(
               SELECT a.attname::text FROM unnest(f.confkey) WITH ORDINALITY AS k (number, place)
               JOIN pg_attribute a ON a.attrelid = f.confrelid AND a.attnum = k.number
               ORDER BY k.place
           ) AS target_columns
    FROM pg_constraint f
    JOIN pg_class c ON c.oid = f.conrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE f.contype = 'f' AND f.conparentid = 0 AND f.confrelid IN (:runs, :nodes)
      AND f.conrelid <> :nodes
    ORDER BY f.oid
""")
