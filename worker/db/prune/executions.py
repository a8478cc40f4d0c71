"""The platform's executions: finding and counting those that are too old.

Only by indexes: of the runs by `created_at`, of their nodes by the run (docs/explanation/benchmark.md
shows the plans). Deleting them is `worker.db.prune.delete`.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from worker.db.prune import references
from worker.db.prune.piece import Piece, executions_gone
from worker.db.prune.references import References, bindless
from worker.db.schema.catalog import FoundTable, find_table, qualified
from worker.errors import ConfigError

SAMPLED_RUNS, SAMPLED_NODES = 200, 2_000
"""How many are looked at for what a node takes."""

START = "-infinity"
"""The mark before every time."""

END = "infinity"
"""The mark after every time."""


class Executions(msgspec.Struct, frozen=True, kw_only=True):
    """The platform's two tables as they are here, and the time `cutoff` before which a run is old.

    `references` are the foreign keys of other tables: what they refer to stays, whatever its age.
    `cascades`: deleting a run deletes its nodes, and the server counts them. `node_octets` is what
    a node takes, by those of the oldest runs. `runs_spread`, `nodes_spread`: their rows are in
    several tables (partitions, inheritance), in each of which a place (ctid) is another row.
    """

    runs: FoundTable
    nodes: FoundTable
    cutoff: dt.datetime
    references: References
    cascades: bool
    node_octets: int
    runs_spread: bool
    nodes_spread: bool

    @property
    def runs_name(self) -> str:
        """The table of the runs, as SQL."""
        return qualified(self.runs.schema, self.runs.name)

    @property
    def nodes_name(self) -> str:
        """The table of the nodes, as SQL."""
        return qualified(self.nodes.schema, self.nodes.name)

    @property
    def id_type(self) -> str:
        """The type of a run's id."""
        return self.runs.columns["id"].type

    @property
    def ids(self) -> str:
        """SQL for the bound array `ids`, comparable with a run's id."""
        return f"ANY (CAST(:ids AS {self.id_type}[]))"

    @property
    def is_old(self) -> str:
        """SQL: the run `r` is before the cut-off."""
        return f"r.created_at < {self.moment('cutoff')}"

    @property
    def unreferenced(self) -> str:
        """SQL, to be added to a condition: no row of another table refers to the run `r`."""
        return "".join(f" AND NOT {kept}" for kept in self.references.where)

    @property
    def in_reach(self) -> str:
        """SQL: the run `r` is old, from `:since` on, and none of those in `:stuck`."""
        return (
            f"{self.is_old} AND r.created_at >= {self.moment('since')}"
            f" AND r.id <> ALL (CAST(:stuck AS {self.id_type}[]))"
        )

    def moment(self, name: str) -> str:
        """SQL for the bound time `name`, comparable with `created_at`.

        The session is in UTC, so a time zone that a text has or lacks is UTC either way.
        """
        time_type = self.runs.columns["created_at"].type
        if time_type.endswith("without time zone"):
            return f"CAST(CAST(:{name} AS timestamptz) AS timestamp)"
        return f"CAST(:{name} AS {time_type})"

    def bound(self, **values: Any) -> dict[str, Any]:
        """Values for the parameters of a statement, with the cut-off."""
        return {"cutoff": self.cutoff.isoformat(), **values}


def find(connection: sa.Connection, cutoff: dt.datetime) -> Executions:
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
    found = Executions(
        runs=runs,
        nodes=nodes,
        cutoff=cutoff,
        references=references.find(connection, runs, nodes),
        cascades=bool(cascades) and not nodes_spread and (runs.partitioned or not runs_spread),
        node_octets=0,
        runs_spread=runs_spread,
        nodes_spread=nodes_spread,
    )
    return msgspec.structs.replace(found, node_octets=_node_octets(connection, found))


def now(connection: sa.Connection) -> dt.datetime:
    """The database's clock: a worker's may be wrong."""
    moment: dt.datetime = connection.execute(sa.text("SELECT now()")).scalar_one()
    return moment


def oldest(connection: sa.Connection, executions: Executions) -> str | None:
    """The `created_at` of the oldest run before the cut-off; None if there is none.

    Apart from the batches, because it may have to pass by a great many index entries of rows that
    are deleted already and not vacuumed yet; a batch then begins where these end.
    """
    query = sa.text(
        f"SELECT r.created_at::text FROM {executions.runs_name} r WHERE {executions.is_old}"
        " ORDER BY r.created_at LIMIT 1"
    )
    found: str | None = connection.execute(query, executions.bound()).scalar()
    return found


def estimate(connection: sa.Connection, executions: Executions) -> int:
    """About how many runs are before the cut-off, by the planner's statistics."""
    query = sa.text(
        f"EXPLAIN (FORMAT JSON) SELECT FROM {executions.runs_name} r WHERE {executions.is_old}"
    )
    plan = connection.execute(query, executions.bound()).scalar_one()
    parsed = json.loads(plan) if isinstance(plan, str) else plan
    return int(parsed[0]["Plan"]["Plan Rows"])


def first_run(
    connection: sa.Connection, executions: Executions, *, since: str, stuck: Sequence[str]
) -> str | None:
    """The id of the run that the next batch would begin with; None if there is none."""
    query = sa.text(
        f"SELECT r.id::text FROM {executions.runs_name} r WHERE {executions.in_reach}"
        f" {executions.unreferenced} ORDER BY r.created_at LIMIT 1"
    )
    found: str | None = connection.execute(
        query, executions.bound(since=since, stuck=list(stuck))
    ).scalar()
    return found


def count_page(
    connection: sa.Connection,
    executions: Executions,
    *,
    after: str,
    size: int,
    dropped: Sequence[int] = (),
) -> Piece:
    """Count what `delete_batch` would delete of the next runs after the time `after`.

    About `size` runs, and all those of the same time as the last of them, so that the next page can
    begin after that time. Rows of the tables `dropped` take nothing: they go with their tables.
    """
    query = sa.text(f"""
        WITH seen AS MATERIALIZED (
            SELECT r.id, r.created_at,
                   CASE WHEN r.tableoid = ANY (CAST(:dropped AS oid[])) THEN 0
                        ELSE {size_of(executions.runs, "r")} END AS octets
            FROM {executions.runs_name} r
            WHERE {executions.is_old} AND r.created_at > {executions.moment("after")}
            ORDER BY r.created_at FETCH FIRST (:size) ROWS WITH TIES
        ), old AS MATERIALIZED (
            SELECT r.id, r.octets FROM seen r WHERE true {executions.unreferenced}
        ), nodes AS (
            SELECT n.tableoid = ANY (CAST(:dropped AS oid[])) AS is_dropped
            FROM {executions.nodes_name} n
            WHERE n.workflow_run_id = ANY (ARRAY(SELECT id FROM old))
        )
        SELECT (SELECT count(*) FROM seen) AS seen, (SELECT count(*) FROM old) AS runs,
               (SELECT count(*) FROM nodes) AS nodes,
               COALESCE((SELECT sum(octets) FROM old), 0)::bigint
               + (SELECT count(*) FROM nodes WHERE NOT is_dropped) * :node_octets AS octets,
               (SELECT max(created_at)::text FROM seen) AS mark
    """)
    parameters = executions.bound(
        after=after, size=size, dropped=list(dropped), node_octets=executions.node_octets
    )
    row = connection.execute(query, parameters).one()
    gone = executions_gone(row.runs, row.nodes, row.octets) | {"kept": row.seen - row.runs}
    return Piece(row.seen, gone, row.mark)


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


def _node_octets(connection: sa.Connection, executions: Executions) -> int:
    """What a node of the oldest runs takes on average: looking at each would cost a sixth more."""
    query = sa.text(f"""
        SELECT avg({size_of(executions.nodes, "n")})::bigint FROM (
            SELECT n.* FROM {executions.nodes_name} n WHERE n.workflow_run_id = ANY (ARRAY(
                SELECT r.id FROM {executions.runs_name} r ORDER BY r.created_at LIMIT {SAMPLED_RUNS}
            )) LIMIT {SAMPLED_NODES}
        ) n
    """)
    return int(connection.execute(query).scalar() or 0)


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
