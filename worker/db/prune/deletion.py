"""Deleting the platform's executions in batches, beside traffic that may begin to refer to them.

    lock runs, passing over what others have locked ─► look again for references ─► delete

A reference that commits after a statement began is not seen by it, whatever it locks. So the runs
are locked by one statement, which makes whoever wants to refer to them wait, and deleted by the
next, which sees all that committed before the lock. Nodes go with their runs by the foreign key's
cascade, which is the fastest way, where there is one; elsewhere the statement deletes them itself.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from worker.db.prune.executions import (
    Executions,
    Piece,
    in_reach,
    moment,
    name_of,
    size_of,
    unreferenced,
)


class Locked(msgspec.Struct, frozen=True):
    """Runs of a batch that are locked for this transaction: their ids, and where they are.

    `seen` runs were old enough; `mark` is the youngest `created_at` among them, and `at_mark` the
    ids of those of that very time, locked or not.
    """

    seen: int
    ids: tuple[str, ...]
    places: tuple[str, ...]
    mark: str | None
    at_mark: tuple[str, ...]


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

    Runs that others have locked, or refer to, are passed over, and so are those in `stuck`. Nothing
    that the platform does to other rows has to wait.
    """
    locked = lock_batch(connection, executions, cutoff, since=since, stuck=stuck, size=size)
    keep = busy_runs(connection, executions, locked.ids)
    places = [place for run_id, place in zip(locked.ids, locked.places, strict=True)
              if run_id not in keep]  # fmt: skip
    if not places:
        return Piece(locked.seen, 0, 0, 0, locked.mark, locked.at_mark)
    counted = _nodes_deleted(connection, executions) if executions.cascades else 0
    row = connection.execute(
        sa.text(delete_sql(executions)),
        {"places": places, "cutoff": cutoff.isoformat(), "since": since, "mark": locked.mark},
    ).one()
    nodes = row.nodes
    if executions.cascades:
        nodes = _nodes_deleted(connection, executions) - counted
    gone = frozenset(row.ids)
    return Piece(
        locked.seen,
        len(gone),
        nodes,
        row.octets + nodes * executions.node_octets,
        locked.mark,
        tuple(run_id for run_id in locked.at_mark if run_id not in gone),
    )


def delete_nodes(
    connection: sa.Connection, executions: Executions, run_id: str, *, size: int
) -> Piece:
    """Delete up to `size` nodes of one run: for a run whose nodes are too many for one batch.

    Nothing is deleted where others have locked the run or one of its nodes, or refer to it by now.
    """
    if not lock_unreferenced(connection, executions, [run_id]):
        return Piece(0, 0, 0, 0, None)
    place = "n.id" if executions.nodes_spread else "n.ctid"
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


def lock_batch(
    connection: sa.Connection,
    executions: Executions,
    cutoff: dt.datetime,
    *,
    since: str,
    stuck: Sequence[str],
    size: int,
) -> Locked:
    """Lock up to `size` of the oldest runs before the cut-off; see `delete_batch`."""
    parameters: dict[str, Any] = {"cutoff": cutoff.isoformat(), "since": since, "size": size}
    row = connection.execute(
        sa.text(lock_sql(executions, with_stuck=bool(stuck))),
        parameters | ({"stuck": list(stuck)} if stuck else {}),
    ).one()
    return Locked(row.seen, tuple(row.ids), tuple(row.places), row.mark, tuple(row.at_mark))


def lock_unreferenced(
    connection: sa.Connection, executions: Executions, run_ids: Sequence[str]
) -> list[str]:
    """Lock runs, with their nodes where keys lead to these; the ids of those that may be deleted.

    Until the transaction ends no reference to them can commit.
    """
    runs = name_of(executions.runs)
    which = f"r.id = ANY (CAST(:ids AS {executions.id_type}[]))"
    locked = connection.execute(
        sa.text(f"SELECT r.id::text FROM {runs} r WHERE {which} FOR UPDATE OF r SKIP LOCKED"),
        {"ids": list(run_ids)},
    ).scalars().all()  # fmt: skip
    keep = busy_runs(connection, executions, locked)
    free = [run_id for run_id in locked if run_id not in keep]
    if not executions.references.where:
        return free
    looked_at = sa.text(f"SELECT r.id::text FROM {runs} r WHERE {which} {unreferenced(executions)}")
    return list(connection.execute(looked_at, {"ids": free}).scalars())


def busy_runs(
    connection: sa.Connection, executions: Executions, run_ids: Sequence[str]
) -> frozenset[str]:
    """Lock the nodes of locked runs, where foreign keys lead to nodes; runs of which that failed.

    What others have locked they may be about to refer to.
    """
    if not executions.references.to_nodes or not run_ids:
        return frozenset()
    nodes = name_of(executions.nodes)
    which = f"n.workflow_run_id = ANY (CAST(:ids AS {executions.id_type}[]))"
    found = connection.execute(
        sa.text(f"""
            WITH locked AS MATERIALIZED (
                SELECT n.id FROM {nodes} n WHERE {which} FOR UPDATE OF n SKIP LOCKED
            )
            SELECT DISTINCT n.workflow_run_id::text FROM {nodes} n
            WHERE {which} AND n.id NOT IN (SELECT id FROM locked)
        """),
        {"ids": list(run_ids)},
    )
    return frozenset(found.scalars())


def lock_sql(executions: Executions, *, with_stuck: bool) -> str:
    """The statement that finds and locks the runs of a batch."""
    runs, place, reach = name_of(executions.runs), _place(executions), ""
    if executions.runs_spread:
        reach = (
            f"AND r.created_at >= {moment(executions, 'since')}"
            f" AND r.created_at <= (SELECT max(created_at) FROM seen) AND {_old(executions)}"
        )
    return f"""
        WITH seen AS MATERIALIZED (
            SELECT r.id, {place} AS place, r.created_at FROM {runs} r
            WHERE {in_reach(executions, with_stuck=with_stuck)}
            ORDER BY r.created_at LIMIT :size
        ), locked AS MATERIALIZED (
            SELECT r.id, {place} AS place FROM {runs} r
            WHERE {place} = ANY (ARRAY(SELECT place FROM seen)) {reach}
            {unreferenced(executions)}
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
    runs, nodes, place = name_of(executions.runs), name_of(executions.nodes), _place(executions)
    place_type, reach = "tid", ""
    if executions.runs_spread:
        place_type = executions.id_type
        reach = (
            f"AND r.created_at >= {moment(executions, 'since')}"
            f" AND r.created_at <= {moment(executions, 'mark')}"
        )
    # A cascade comes after the statement: who wants to know asks the server then.
    gone_nodes = (
        "SELECT WHERE false"
        if executions.cascades
        else f"DELETE FROM {nodes} n WHERE n.workflow_run_id = ANY (ARRAY(SELECT id FROM free))"
        " RETURNING 1"
    )
    return f"""
        WITH free AS MATERIALIZED (
            SELECT r.id, {place} AS place FROM {runs} r
            WHERE {place} = ANY (CAST(:places AS {place_type}[])) {reach}
            {unreferenced(executions)}
        ), gone AS (
            DELETE FROM {runs} r
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


def _old(executions: Executions) -> str:
    return f"r.created_at < {moment(executions, 'cutoff')}"


def _nodes_deleted(connection: sa.Connection, executions: Executions) -> int:
    """How many nodes this session has deleted, by cascades too: a count that is behind only what it
    has reported already, which it never does within a transaction.
    """
    deleted: int = connection.execute(_DELETED, {"oid": executions.nodes.oid}).scalar_one()
    return deleted


_DELETED = sa.text("SELECT pg_stat_get_xact_tuples_deleted(CAST(:oid AS oid))")
