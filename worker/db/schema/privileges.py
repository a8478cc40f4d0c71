"""Which rights the role that is connected lacks: those that migrations/role.sql grants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from worker.db.notification_tables import TABLES as NOTIFICATION_TABLES
from worker.db.platform_tables import bots
from worker.db.publication.tables import (
    gate_readings,
    proofs,
    publication_bots,
    publications,
    waves,
)
from worker.db.publication.traffic_tables import TABLES as TRAFFIC_TABLES
from worker.db.schema.catalog import FoundTable, find_table
from worker.db.tables import (
    SCHEMA,
    audit,
    backups,
    batches,
    budgets,
    heartbeats,
    http_windows,
    leaving_partitions,
    ledger,
    metric_totals,
    prunes,
    runs,
)

_GRANT: Final = "run the SQL of `flowshift db role` again"


def locked_out(connection: sa.Connection) -> tuple[str, ...]:
    """Where the role may not even look: nothing else can be said then."""
    denied = connection.execute(_LOCKED_OUT, {"schema": SCHEMA}).scalars().all()
    return tuple(
        f"the role {role} has no right to use the schema {SCHEMA}: {_GRANT}" for role in denied
    )


def missing_on_platform(connection: sa.Connection, found: FoundTable) -> tuple[str, ...]:
    """Rights on one of the platform's tables that the role lacks; those of columns are enough."""
    wanted = [
        (right, column)
        for right, columns in NEEDED[found.name].items()
        for column in columns or ("",)
        if column in found.columns or not column
    ]
    return _denied(connection, found, found.name, wanted)


def missing_on_ours(connection: sa.Connection, table: sa.Table) -> tuple[str, ...]:
    """Rights on one of flowshift's own tables that the role lacks."""
    found = find_table(connection, table.name, SCHEMA)
    if found is None or table not in WRITTEN:
        return ()
    wanted = [(right, "") for right in ("SELECT", "INSERT", *WRITTEN[table])]
    return _denied(connection, found, f"{SCHEMA}.{table.name}", wanted)


class Denied(msgspec.Struct, frozen=True):
    """The columns of a table on which a role lacks a right, with commas between."""

    role: str
    columns: str


def denied_columns(
    connection: sa.Connection, found: FoundTable, right: str, columns: Sequence[str]
) -> Denied | None:
    """Those of these columns on which the role lacks a right; None if it has it on each."""
    denied = _rows(connection, found, [(right, column) for column in columns])
    return Denied(denied[0].role, denied[0].columns) if denied else None


def _rows(
    connection: sa.Connection, found: FoundTable, wanted: Sequence[tuple[str, str]]
) -> Sequence[sa.Row[Any]]:
    values = {
        "oid": found.oid,
        "rights": [right for right, _ in wanted],
        "columns": [column for _, column in wanted],
    }
    return connection.execute(_DENIED, values).all()


def _denied(
    connection: sa.Connection, found: FoundTable, name: str, wanted: Sequence[tuple[str, str]]
) -> tuple[str, ...]:
    denied = _rows(connection, found, wanted)
    return tuple(
        f"the role {row.role} has no right to {row.right} {name}"
        f"{f' ({row.columns})' if row.columns else ''}: {_GRANT}"
        for row in denied
    )


# The rights on the platform's tables that workers and commands need, as migrations/role.sql grants
# them: on the columns named, or, where none are, on the table.
NEEDED: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "bots": {
        "SELECT": tuple(column.name for column in bots.columns if column.info.get("needed", True)),
        "UPDATE": ("legacy_workflow",),
    },
    "bot_workflow_versions": {"SELECT": (), "INSERT": (), "UPDATE": ("graph", "updated_at")},
    "workflow_execution_runs": {
        "SELECT": (),
        "INSERT": (),
        "DELETE": (),
        "UPDATE": ("total_steps",),  # which locks a row before it is deleted
    },
    "workflow_node_executions": {
        "SELECT": (),
        "INSERT": (),
        "DELETE": (),
        "UPDATE": ("is_truncated",),  # (the same)
    },
}

# Our tables that runs and prunes write, and the rights needed there besides SELECT and INSERT.
WRITTEN: Final[Mapping[sa.Table, tuple[str, ...]]] = {
    runs: ("UPDATE", "DELETE"),
    batches: ("UPDATE", "DELETE"),
    ledger: ("DELETE",),
    audit: ("DELETE",),
    prunes: ("UPDATE", "DELETE"),
    leaving_partitions: ("DELETE",),
    budgets: ("UPDATE", "DELETE"),
    backups: (),
    heartbeats: ("UPDATE", "DELETE"),
    metric_totals: ("UPDATE",),
    http_windows: ("DELETE",),
    publications: ("UPDATE", "DELETE"),
    waves: ("UPDATE", "DELETE"),
    publication_bots: ("UPDATE", "DELETE"),
    gate_readings: ("DELETE",),
    proofs: ("UPDATE", "DELETE"),
    **dict.fromkeys(TRAFFIC_TABLES, ("UPDATE", "DELETE")),
    **dict.fromkeys(NOTIFICATION_TABLES, ("UPDATE", "DELETE")),
}

_LOCKED_OUT = sa.text("""
    SELECT current_user FROM pg_namespace
    WHERE nspname = :schema AND NOT has_schema_privilege(oid, 'USAGE')
""")

_DENIED = sa.text("""
    SELECT current_user AS role, w.name AS right, string_agg(NULLIF(w.col, ''), ', ') AS columns
    FROM unnest(CAST(:rights AS text[]), CAST(:columns AS text[])) WITH ORDINALITY
         AS w (name, col, place)
    WHERE NOT CASE w.col
        WHEN '' THEN has_table_privilege(CAST(:oid AS oid), w.name)
        ELSE has_column_privilege(CAST(:oid AS oid), w.col, w.name)
    END
    GROUP BY w.name ORDER BY min(w.place)
""")
