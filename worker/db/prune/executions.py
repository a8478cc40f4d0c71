"""The platform's executions: finding and counting those that are too old.

Only by indexes: of the runs by `created_at`, of their nodes by the run (docs/explanation/benchmark.md
shows the plans). Deleting them is `worker.db.prune.deletion`.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from worker.db.prune import references
from worker.db.prune.references import References, bindless
from worker.db.schema.catalog import FoundTable, find_table, qualified
from worker.errors import ConfigError

SAMPLED_RUNS, SAMPLED_NODES = 200, 2_000
"""How many are looked at for what a node takes."""

START = "-infinity"
"""The mark before every time."""


class Executions(msgspec.Struct, frozen=True):
    """The platform's two tables as they are here.

    `references` are the foreign keys of other tables: what they refer to stays, whatever its age.
    `cascades`: deleting a run deletes its nodes, and the server counts them. `node_octets` is what
    a node takes, by those of the oldest runs. `runs_spread`, `nodes_spread`: their rows are in
    several tables (partitions, inheritance), in each of which a place (ctid) is another row.
    """

    runs: FoundTable
    nodes: FoundTable
    references: References
    cascades: bool
    node_octets: int
    runs_spread: bool
    nodes_spread: bool

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
    runs_spread, nodes_spread = _is_spread(connection, runs), _is_spread(connection, nodes)
    return Executions(
        runs,
        nodes,
        references.find(connection, runs, nodes),
        bool(cascades) and not nodes_spread and (runs.partitioned or not runs_spread),
        _node_octets(connection, runs, nodes),
        runs_spread,
        nodes_spread,
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
            WHERE r.created_at < {moment(executions, "cutoff")} ORDER BY r.created_at LIMIT 1
        """),
        {"cutoff": cutoff.isoformat()},
    ).scalar()
    return None if found is None else str(found)


def estimate(connection: sa.Connection, executions: Executions, cutoff: dt.datetime) -> int:
    """About how many runs are before the cut-off, by the planner's statistics."""
    plan = connection.execute(
        sa.text(f"""
            EXPLAIN (FORMAT JSON) SELECT FROM {name_of(executions.runs)} r
            WHERE r.created_at < {moment(executions, "cutoff")}
        """),
        {"cutoff": cutoff.isoformat()},
    ).scalar_one()
    parsed = json.loads(plan) if isinstance(plan, str) else plan
    return int(parsed[0]["Plan"]["Plan Rows"])


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
            WHERE {in_reach(executions, with_stuck=bool(stuck))}
            {unreferenced(executions)} ORDER BY r.created_at LIMIT 1
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
                WHERE r.created_at < {moment(executions, "cutoff")}
                  AND r.created_at > {moment(executions, "after")}
                ORDER BY r.created_at FETCH FIRST (:size) ROWS WITH TIES
            ), old AS MATERIALIZED (
                SELECT r.id, r.octets FROM seen r WHERE true {unreferenced(executions)}
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
        f" + COALESCE(pg_column_size({alias}.{bindless(name)}), 0)"
        for name, column in found.columns.items()
        if column.octets < 0
    )
    return f"({fixed}{''.join(sizes)})"


def _is_spread(connection: sa.Connection, found: FoundTable) -> bool:
    children = sa.text("SELECT EXISTS (SELECT FROM pg_inherits WHERE inhparent = :oid)")
    return found.partitioned or bool(connection.execute(children, {"oid": found.oid}).scalar_one())


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


def in_reach(executions: Executions, *, with_stuck: bool) -> str:
    """SQL for the runs `r` from `:since` on that are before the cut-off, less those in `:stuck`."""
    passed_over = f"AND r.id <> ALL (CAST(:stuck AS {executions.id_type}[]))" if with_stuck else ""
    return (
        f"r.created_at < {moment(executions, 'cutoff')}"
        f" AND r.created_at >= {moment(executions, 'since')} {passed_over}"
    )


def unreferenced(executions: Executions) -> str:
    """SQL, to be added to a condition: no row of another table refers to the run `r`."""
    return "".join(f" AND NOT {kept}" for kept in executions.references.where)


def moment(executions: Executions, name: str) -> str:
    """SQL for the bound time `name`, comparable with `created_at`.

    The session is in UTC, so a time zone that a text has or lacks is UTC either way.
    """
    if executions.time_type.endswith("without time zone"):
        return f"CAST(CAST(:{name} AS timestamptz) AS timestamp)"
    return f"CAST(:{name} AS {executions.time_type})"


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
