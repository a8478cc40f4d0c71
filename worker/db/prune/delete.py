"""Deleting the platform's executions in batches, beside traffic that may begin to refer to them.

    lock runs, passing over what others have locked ─► look again for references ─► delete

A reference that commits after a statement began is not seen by it, whatever it locks. So the runs
are locked by one statement, which makes whatever wants to refer to them wait, and deleted by the
next, which sees all that committed before the lock. Nodes go with their runs by the foreign key's
cascade, which is the fastest way, if there is one; elsewhere the statement deletes them itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from worker.db.prune.executions import END, START, Executions, size_of
from worker.db.prune.piece import Piece, executions_gone


def delete_batch(
    connection: sa.Connection,
    executions: Executions,
    *,
    since: str,
    stuck: Sequence[str],
    size: int,
) -> Piece:
    """Delete up to `size` of the oldest runs with their nodes, from the time `since` on.

    Runs that others have locked, or refer to, are passed over, and so are those in `stuck`. Nothing
    that the platform does to other rows has to wait. The mark is the youngest `created_at` seen.
    """
    bound = executions.bound(since=since, stuck=list(stuck), size=size)
    locked = connection.execute(sa.text(lock_sql(executions)), bound).one()
    busy = busy_runs(connection, executions, locked.ids)
    places = [
        place for run_id, place in zip(locked.ids, locked.places, strict=True) if run_id not in busy
    ]
    if not places:
        return Piece(locked.seen, mark=locked.mark, stuck=tuple(locked.at_mark))
    before = _nodes_deleted(connection, executions) if executions.cascades else 0
    bound |= {"places": places, "mark": locked.mark}
    row = connection.execute(sa.text(delete_sql(executions)), bound).one()
    nodes = _nodes_deleted(connection, executions) - before if executions.cascades else row.nodes
    octets = row.octets + nodes * executions.node_octets
    return Piece(
        locked.seen,
        executions_gone(len(row.ids), nodes, octets),
        locked.mark,
        tuple(set(locked.at_mark) - set(row.ids)),
    )


def delete_runs(
    connection: sa.Connection, executions: Executions, run_ids: Sequence[str]
) -> list[str]:
    """Delete runs, whatever their age, with their nodes; those that must stay for now.

    They do where others have locked them, or refer to them. What else is left the database kept.
    """
    free = lock_unreferenced(connection, executions, run_ids)
    where = f"FROM {executions.runs_name} r WHERE r.id = {executions.ids}"
    places = sa.text(f"SELECT {_place(executions)}::text {where}")
    bound = executions.bound(
        since=START, mark=END, places=list(connection.execute(places, {"ids": free}).scalars())
    )
    connection.execute(sa.text(delete_sql(executions)), bound)
    return [run_id for run_id in run_ids if run_id not in free]


def delete_nodes(
    connection: sa.Connection, executions: Executions, run_id: str, *, size: int
) -> Piece:
    """Delete up to `size` nodes of one run: for a run whose nodes are too many for one batch.

    Nothing is deleted where others have locked the run or one of its nodes, or refer to it by now.
    """
    if not lock_unreferenced(connection, executions, [run_id]):
        return Piece(0)
    place = "n.id" if executions.nodes_spread else "n.ctid"
    statement = sa.text(f"""
        DELETE FROM {executions.nodes_name} n WHERE {place} = ANY (ARRAY(
            SELECT {place} FROM {executions.nodes_name} n
            WHERE n.workflow_run_id = {executions.ids} LIMIT :size
        ))
    """)
    gone = connection.execute(statement, {"ids": [run_id], "size": size}).rowcount
    return Piece(gone, executions_gone(0, gone, gone * executions.node_octets))


def lock_unreferenced(
    connection: sa.Connection, executions: Executions, run_ids: Sequence[str]
) -> list[str]:
    """Lock runs, with their nodes where keys lead to these; the ids of those that may be deleted.

    Until the transaction ends no reference to them can commit.
    """
    runs = f"SELECT r.id::text FROM {executions.runs_name} r WHERE r.id = {executions.ids}"
    lock = sa.text(f"{runs} FOR UPDATE OF r SKIP LOCKED")
    locked = connection.execute(lock, {"ids": list(run_ids)}).scalars().all()
    busy = busy_runs(connection, executions, locked)
    # By a statement of its own: it sees what committed before the lock.
    look = sa.text(f"{runs} {executions.unreferenced}")
    free = [run_id for run_id in locked if run_id not in busy]
    return list(connection.execute(look, {"ids": free}).scalars())


def busy_runs(
    connection: sa.Connection, executions: Executions, run_ids: Sequence[str]
) -> frozenset[str]:
    """Lock the nodes of locked runs, where foreign keys lead to nodes; runs of which that failed.

    What others have locked they may be about to refer to.
    """
    if not executions.references.to_nodes or not run_ids:
        return frozenset()
    nodes, of_runs = executions.nodes_name, f"n.workflow_run_id = {executions.ids}"
    query = sa.text(f"""
        WITH locked AS MATERIALIZED (
            SELECT n.id FROM {nodes} n WHERE {of_runs} FOR UPDATE OF n SKIP LOCKED
        )
        SELECT DISTINCT n.workflow_run_id::text FROM {nodes} n
        WHERE {of_runs} AND n.id NOT IN (SELECT id FROM locked)
    """)
    return frozenset(connection.execute(query, {"ids": list(run_ids)}).scalars())


def lock_sql(executions: Executions) -> str:
    """The statement that finds and locks the runs of a batch."""
    place = _place(executions)
    return f"""
        WITH seen AS MATERIALIZED (
            SELECT r.id, {place} AS place, r.created_at FROM {executions.runs_name} r
            WHERE {executions.in_reach}
            ORDER BY r.created_at LIMIT :size
        ), locked AS MATERIALIZED (
            SELECT r.id, {place} AS place FROM {executions.runs_name} r
            WHERE {place} = ANY (ARRAY(SELECT place FROM seen))
            {_between(executions, "(SELECT max(created_at) FROM seen)")}
            {executions.unreferenced}
            FOR UPDATE OF r SKIP LOCKED
        )
        SELECT (SELECT count(*) FROM seen) AS seen,
               (SELECT max(created_at)::text FROM seen) AS mark,
               COALESCE((SELECT array_agg(id::text) FROM locked), '{{}}') AS ids,
               COALESCE((SELECT array_agg(place::text) FROM locked), '{{}}') AS places,
               ARRAY(
                   SELECT s.id::text FROM seen s
                   WHERE s.created_at = (SELECT max(created_at) FROM seen)
               ) AS at_mark
    """  # identifiers are quoted by the catalog's functions; values are bound


def delete_sql(executions: Executions) -> str:
    """The statement that deletes locked runs, less those that are referred to by now."""
    place, place_type = _place(executions), executions.id_type if executions.runs_spread else "tid"
    reach = _between(executions, executions.moment("mark"))
    # A cascade comes after the statement: the server is asked then for what it deleted.
    gone_nodes = (
        "SELECT WHERE false"
        if executions.cascades
        else f"DELETE FROM {executions.nodes_name} n"
        " WHERE n.workflow_run_id = ANY (ARRAY(SELECT id FROM free)) RETURNING 1"
    )
    return f"""
        WITH free AS MATERIALIZED (
            SELECT r.id, {place} AS place FROM {executions.runs_name} r
            WHERE {place} = ANY (CAST(:places AS {place_type}[])) {reach}
            {executions.unreferenced}
        ), gone AS (
            DELETE FROM {executions.runs_name} r
            WHERE {place} = ANY (ARRAY(SELECT place FROM free)) {reach}
            RETURNING r.id, {size_of(executions.runs, "r")} AS octets
        ), gone_nodes AS (
            {gone_nodes}
        )
        SELECT (SELECT count(*) FROM gone_nodes) AS nodes,
               COALESCE((SELECT array_agg(id::text) FROM gone), '{{}}') AS ids,
               COALESCE((SELECT sum(octets) FROM gone), 0)::bigint AS octets
    """  # identifiers are quoted by the catalog's functions; values are bound


def _place(executions: Executions) -> str:
    """Rows of several tables are found by their key: a place (ctid) is one within one table."""
    return "r.id" if executions.runs_spread else "r.ctid"


def _between(executions: Executions, end: str) -> str:
    """SQL that spares partitions which hold none of the rows; nothing if a place says it all."""
    if not executions.runs_spread:
        return ""
    since = executions.moment("since")
    return f"AND r.created_at >= {since} AND r.created_at <= {end} AND {executions.is_old}"


def _nodes_deleted(connection: sa.Connection, executions: Executions) -> int:
    """How many nodes this session has deleted, by cascades too: a count that is behind only what it
    has reported already, which it never does within a transaction.
    """
    query = sa.text("SELECT pg_stat_get_xact_tuples_deleted(CAST(:oid AS oid))")
    deleted: int = connection.execute(query, {"oid": executions.nodes.oid}).scalar_one()
    return deleted
