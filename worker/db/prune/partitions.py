"""Partitions of the execution tables that are older than the cut-off as a whole.

Such a partition is detached and dropped, which costs the same for a million rows as for none. That
is only known where rows are placed by `created_at` (RANGE, at any level of the tree); whatever else
a table is partitioned by, and what is in a default partition, is deleted by rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import msgspec
import sqlalchemy as sa

from worker.db.prune.delete import lock_unreferenced
from worker.db.prune.executions import Executions
from worker.db.prune.piece import Piece, executions_gone
from worker.db.schema.catalog import FoundTable, qualified
from worker.db.tables import leaving_partitions

Kind = Literal["runs", "nodes"]


class Old(msgspec.Struct, frozen=True, kw_only=True):
    """A partition in which every row is before the cut-off; names are SQL, with their schemas.

    `leaves` are the tables that hold its rows, `octets` what they take on the disk with their
    indexes. `obstacle` says why it cannot be dropped, "" where it can. `concurrently`: it can be
    detached beside the traffic.
    """

    oid: int
    name: str
    parent: str
    kind: Kind
    leaves: tuple[int, ...]
    octets: int
    obstacle: str
    concurrently: bool


class Leaving(msgspec.Struct, frozen=True):
    """A partition that an earlier prune was about to drop, and how far that got."""

    oid: int
    name: str
    is_there: bool
    parent: str | None
    is_pending: bool


def old(connection: sa.Connection, executions: Executions) -> tuple[Old, ...]:
    """The old partitions, of the nodes first, and of each table the oldest first."""
    tables: tuple[tuple[Kind, FoundTable], ...] = (
        ("nodes", executions.nodes),
        ("runs", executions.runs),
    )
    return tuple(
        Old(
            oid=row.oid,
            name=qualified(row.schema, row.name),
            parent=qualified(row.parent_schema, row.parent_name),
            kind=kind,
            leaves=tuple(row.leaves),
            octets=row.octets,
            obstacle=row.obstacle,
            concurrently=row.concurrently,
        )
        for kind, table in tables
        if table.partitioned
        for row in connection.execute(_OLD, {"root": table.oid, "cutoff": executions.cutoff})
    )


def is_referred_to(connection: sa.Connection, executions: Executions) -> bool:
    """Whether a foreign key leads to the runs: detaching a partition then looks at every row."""
    return bool(connection.execute(_IS_REFERRED_TO, {"oid": executions.runs.oid}).scalar_one())


def any_kept(connection: sa.Connection, executions: Executions, partition: Old) -> bool:
    """Whether rows of other tables refer to runs of the partition, which therefore stay."""
    kept = " OR ".join(executions.references.where) or "false"
    query = sa.text(f"SELECT EXISTS (SELECT FROM {partition.name} r WHERE {kept})")
    return bool(connection.execute(query).scalar_one())


def delete_nodes_of(
    connection: sa.Connection,
    executions: Executions,
    partition: Old,
    *,
    after: tuple[str, str] | None,
    size: int,
) -> Piece:
    """Delete the nodes, wherever they are, of the next `size` runs of a partition.

    The runs are locked and looked at again before, as in `worker.db.prune.delete`: where one of them
    has to stay no node is deleted. The mark is the last run's (created_at, id).
    """
    mark = f"({executions.moment('at')}, CAST(:id AS {executions.id_type}))"
    page = connection.execute(
        sa.text(f"""
            SELECT r.created_at::text, r.id::text FROM {partition.name} r
            {f"WHERE (r.created_at, r.id) > {mark}" if after else ""}
            ORDER BY r.created_at, r.id LIMIT :size
        """),
        {"size": size} | dict(zip(("at", "id"), after or (), strict=False)),
    ).all()
    ids = [row.id for row in page]
    if len(lock_unreferenced(connection, executions, ids)) < len(ids):
        return Piece(len(ids), any_stays=True)
    statement = f"DELETE FROM {executions.nodes_name} n WHERE n.workflow_run_id = {executions.ids}"
    nodes = connection.execute(sa.text(statement), {"ids": ids}).rowcount
    gone = executions_gone(0, nodes, nodes * executions.node_octets)
    return Piece(len(ids), gone, tuple(page[-1]) if page else None)


def look_at_nodes(
    connection: sa.Connection,
    executions: Executions,
    partition: Old,
    *,
    after: str | None,
    size: int,
) -> Piece:
    """Whether a node among the next `size` of a partition belongs to a run that stays.

    A node is normally created after its run, so that it is younger; but nothing makes it so. The
    mark is the last node's run.
    """
    stays = " OR ".join((f"NOT {executions.is_old}", *executions.references.where))
    reach = f"WHERE n.workflow_run_id > CAST(:after AS {executions.id_type})" if after else ""
    row = connection.execute(
        sa.text(f"""
            WITH page AS MATERIALIZED (
                SELECT n.workflow_run_id AS id FROM {partition.name} n {reach}
                ORDER BY n.workflow_run_id FETCH FIRST (:size) ROWS WITH TIES
            )
            SELECT (SELECT count(*) FROM page) AS seen,
                   EXISTS (
                       SELECT FROM {executions.runs_name} r
                       WHERE r.id = ANY (ARRAY(SELECT DISTINCT id FROM page)) AND ({stays})
                   ) AS any_stays,
                   (SELECT id::text FROM page ORDER BY id DESC LIMIT 1) AS mark
        """),
        executions.bound(size=size, after=after),
    ).one()
    return Piece(row.seen, mark=row.mark, any_stays=row.any_stays)


# -- on the way out --------------------------------------------------------------------------------


def note_leaving(connection: sa.Connection, oid: int, name: str) -> None:
    """Remember a partition that is about to be detached, so that it is dropped whatever happens."""
    connection.execute(_NOTE_LEAVING, {"oid": oid, "name": name})


def forget_leaving(connection: sa.Connection, oid: int) -> None:
    """Strike a partition off: it is dropped, or stays."""
    connection.execute(sa.delete(leaving_partitions).where(leaving_partitions.c.oid == oid))


def leaving(connection: sa.Connection) -> list[Leaving]:
    """What earlier prunes left on the way out. One that is called otherwise now is not there."""
    return [
        Leaving(
            row.oid,
            row.name,
            row.schema is not None and qualified(row.schema, row.relname) == row.name,
            None if row.parent_name is None else qualified(row.parent_schema, row.parent_name),
            bool(row.is_pending),
        )
        for row in connection.execute(_LEAVING)
    ]


def detach(parent: str, name: str, how: Literal["", "CONCURRENTLY", "FINALIZE"]) -> sa.TextClause:
    """The statement that takes a partition out of its table."""
    return sa.text(f"ALTER TABLE {parent} DETACH PARTITION {name} {how}".rstrip())


def drop(name: str) -> sa.TextClause:
    """The statement that drops a partition that is detached, with its own partitions."""
    return sa.text(f"DROP TABLE {name}")


@contextmanager
def time_limits(connection: sa.Connection, statement_ms: int, lock_ms: int) -> Iterator[None]:
    """Limit what runs outside of transactions; the session's own time-outs come back."""
    before = connection.execute(_TIMEOUTS).one()
    connection.execute(_LIMIT, {"statement": f"{statement_ms}ms", "lock": f"{lock_ms}ms"})
    try:
        yield
    finally:
        connection.execute(_LIMIT, {"statement": before[0], "lock": before[1]})


_TIMEOUTS = sa.text("SELECT current_setting('statement_timeout'), current_setting('lock_timeout')")
_LIMIT = sa.text(
    "SELECT set_config('statement_timeout', :statement, false),"
    " set_config('lock_timeout', :lock, false)"
)

_NOTE_LEAVING = sa.text(
    "INSERT INTO flowshift.leaving_partitions (oid, name) VALUES (:oid, :name)"
    " ON CONFLICT (oid) DO UPDATE SET name = excluded.name, at = now()"
)

# From the root down, and no further below a partition that is old. A bound is read from its text:
# FOR VALUES FROM ('2026-01-01 00:00:00+00') TO ('2026-02-01 00:00:00+00'). With more columns in the
# key, rows of the upper bound's very time may be inside.
_OLD = sa.text(r"""
    WITH RECURSIVE tree AS (
        SELECT c.oid, NULL::oid AS parent, false AS is_old, NULL::timestamptz AS upper,
               false AS has_default
        FROM pg_class c WHERE c.oid = :root
        UNION ALL
        SELECT c.oid, t.oid,
               COALESCE(
                   CASE WHEN p.partnatts = 1 THEN bound.upper <= :cutoff
                        ELSE bound.upper < :cutoff END,
                   false
               ),
               bound.upper, p.partdefid <> 0
        FROM tree t
        JOIN pg_partitioned_table p ON p.partrelid = t.oid
        JOIN pg_inherits i ON i.inhparent = t.oid
        JOIN pg_class c ON c.oid = i.inhrelid
        CROSS JOIN LATERAL (
            SELECT p.partstrat = 'r' AND EXISTS (
                SELECT FROM pg_attribute a
                WHERE a.attrelid = t.oid AND a.attnum = p.partattrs[0] AND a.attname = 'created_at'
            ) AS yes
        ) by_time
        CROSS JOIN LATERAL (
            SELECT CASE WHEN by_time.yes THEN
                substring(
                    pg_get_expr(c.relpartbound, c.oid) FROM 'TO \(''([^'']+)'''
                )::timestamptz
            END AS upper
        ) bound
        WHERE NOT t.is_old
          AND NOT COALESCE((to_jsonb(i) ->> 'inhdetachpending')::boolean, false)
    )
    SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name,
           pn.nspname AS parent_schema, pc.relname AS parent_name,
           leaves.oids AS leaves, leaves.octets,
           CASE
               WHEN NOT (pg_has_role(c.relowner, 'USAGE') AND pg_has_role(pc.relowner, 'USAGE'))
                   THEN 'the role ' || current_user || ' does not own it'
               WHEN EXISTS (
                   SELECT FROM pg_partition_tree(c.oid) m
                   JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = m.relid
                   WHERE d.classid = 'pg_rewrite'::regclass AND d.deptype = 'n'
               ) THEN 'a view reads it'
               ELSE ''
           END AS obstacle,
           NOT t.has_default AND current_setting('server_version_num')::int >= 140000
               AS concurrently
    FROM tree t
    JOIN pg_class c ON c.oid = t.oid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_class pc ON pc.oid = t.parent
    JOIN pg_namespace pn ON pn.oid = pc.relnamespace
    CROSS JOIN LATERAL (
        SELECT array_agg(m.relid::bigint) AS oids,
               COALESCE(sum(pg_total_relation_size(m.relid)), 0)::bigint AS octets
        FROM pg_partition_tree(c.oid) m WHERE m.isleaf
    ) leaves
    WHERE t.is_old
    ORDER BY t.upper, c.oid
""")

_IS_REFERRED_TO = sa.text(
    "SELECT EXISTS (SELECT FROM pg_constraint WHERE contype = 'f' AND confrelid = :oid)"
)

_LEAVING = sa.text("""
    SELECT l.oid, l.name, n.nspname AS schema, c.relname,
           pn.nspname AS parent_schema, pc.relname AS parent_name,
           COALESCE((to_jsonb(i) ->> 'inhdetachpending')::boolean, false) AS is_pending
    FROM flowshift.leaving_partitions l
    LEFT JOIN pg_class c ON c.oid = l.oid
    LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
    LEFT JOIN pg_class pc ON pc.oid = i.inhparent
    LEFT JOIN pg_namespace pn ON pn.oid = pc.relnamespace
    ORDER BY l.at
""")
