"""Foreign keys of other tables that lead to executions: what they refer to is never deleted.

Deleting it would fail, or delete or empty rows of the other table (CASCADE, SET NULL, SET DEFAULT).
"""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from worker.db.schema import referrers, row_security
from worker.db.schema.catalog import FoundTable, qualified, quoted
from worker.errors import ConfigError


class References(msgspec.Struct, frozen=True):
    """The foreign keys as SQL: a run `r` stays where one of the conditions `where` holds.

    `to_nodes`: some key leads to a node, so that nodes have to be locked before they are deleted.
    """

    where: tuple[str, ...] = ()
    to_nodes: bool = False


def find(connection: sa.Connection, runs: FoundTable, nodes: FoundTable) -> References:
    """The foreign keys that lead to runs or nodes, or to partitions of theirs.

    Those of the runs themselves count (a run that resumes another), and those of the nodes to nodes
    of other runs.

    Raises:
        ConfigError: a policy may hide references from this role. What they refer to looks free.
    """
    found = referrers.find(connection, runs, nodes)
    for other in referrers.others(found, runs, nodes):
        if row_security.hides(connection, other):
            raise ConfigError(referrers.hidden(other))
    return References(
        tuple(_exists(row, nodes) for row in found), any(row.to_nodes for row in found)
    )


def bindless(name: str) -> str:
    """A column's name as SQL for `sqlalchemy.text`, in which a colon would begin a parameter.

    >>> bindless("total:tokens")
    '"total\\\\:tokens"'
    """
    return quoted(name).replace(":", "\\:")


def _exists(row: sa.Row[Any], nodes: FoundTable) -> str:
    other = qualified(row.schema, row.name)
    pairs = " AND ".join(
        f"other.{bindless(here)} = {'node' if row.to_nodes else 'r'}.{bindless(there)}"
        for here, there in zip(row.columns, row.target_columns, strict=True)
    )
    if not row.to_nodes:
        return f"EXISTS (SELECT FROM {other} other WHERE {pairs})"
    # A node that refers to one of its own run goes with it.
    elsewhere = " AND other.workflow_run_id <> r.id" if row.from_nodes else ""
    return (
        f"EXISTS (SELECT FROM {qualified(nodes.schema, nodes.name)} node JOIN {other} other"
        f" ON {pairs} WHERE node.workflow_run_id = r.id{elsewhere})"
    )
