"""Whether a database is ready for flowshift: table by table, what is there and what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSON

from worker.db import upgrade
from worker.db.adoption import Kind, Needs, missing_columns, missing_indexes, obstacles
from worker.db.catalog import FoundTable, Index, find_table
from worker.db.tables import (
    OUR_TABLES,
    PLATFORM_TABLES,
    SCHEMA,
    audit,
    batches,
    bots,
    budgets,
    leaving_partitions,
    ledger,
    prunes,
    runs,
)

Owner = Literal["platform", "flowshift"]

_UPGRADE = "`flowshift db upgrade`"


class TableReport(msgspec.Struct, frozen=True):
    """One table. `missing_indexes` are those that no index there serves under any name."""

    name: str
    owner: Owner
    present: bool
    missing_columns: tuple[str, ...] = ()
    missing_indexes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Readiness(msgspec.Struct, frozen=True):
    """The whole database. It is ready when there are no problems; notes do not count."""

    ready: bool
    revision: str | None
    newest_revision: str
    tables: tuple[TableReport, ...]
    problems: tuple[str, ...]


def check(connection: sa.Connection) -> Readiness:
    """Compare the database with what this version of flowshift needs; changes nothing."""
    newest = upgrade.head()
    if locked_out := _schema_problems(connection):
        return Readiness(
            ready=False, revision=None, newest_revision=newest, tables=(), problems=locked_out
        )
    revision = upgrade.current_of(connection)
    problems = [*_revision_problems(revision, newest), *_encoding_problems(connection)]
    reports = []
    for table in PLATFORM_TABLES:
        report, found_problems = _check_platform_table(connection, needs_of(table))
        reports.append(report)
        problems += found_problems
    for table in OUR_TABLES:
        report = _check_our_table(connection, table)
        reports.append(report)
        problems += _missing_problems(report)
        problems += _our_privilege_problems(connection, table)
    return Readiness(
        ready=not problems,
        revision=revision,
        newest_revision=newest,
        tables=tuple(reports),
        problems=tuple(problems),
    )


def needs_of(table: sa.Table) -> Needs:
    """What flowshift needs of one of the platform's tables, as the models have it."""
    needed = {
        str(column.name): _kind(column)
        for column in table.columns
        if column.info.get("needed", True)
    }
    return Needs(
        table=str(table.name),
        columns=needed,
        indexes=tuple(index for index in _indexes(table) if set(index.columns) <= needed.keys()),
        added=frozenset({"use_workflow_v2", "legacy_workflow"} if table is bots else ()),
        inserts=table is not bots,
    )


def _kind(column: sa.Column[object]) -> Kind:
    if isinstance(column.type, JSON):
        return "json"
    return "text" if column.name == "bot_id" else "any"


def _indexes(table: sa.Table) -> list[Index]:
    """Every index of a table, with the keys that hold its rows apart, or that others refer to."""
    keys = [
        Index(
            str(key.name or f"{table.name}_{'_'.join(key.columns.keys())}_key"),
            tuple(str(column.name) for column in key.columns),
            unique=True,
        )
        for key in sorted(table.constraints, key=lambda key: str(key.name))
        if isinstance(key, sa.UniqueConstraint)
        or (isinstance(key, sa.PrimaryKeyConstraint) and _is_referred_to(table))
    ]
    indexes = [
        Index(
            str(index.name),
            tuple(str(column.name) for column in index.columns),
            unique=index.unique,
            where=_predicate(index),
        )
        for index in sorted(table.indexes, key=lambda index: str(index.name))
    ]
    return keys + indexes


def _is_referred_to(table: sa.Table) -> bool:
    return any(key.column.table is table for other in PLATFORM_TABLES for key in other.foreign_keys)


def _predicate(index: sa.Index) -> str:
    where = index.dialect_options["postgresql"]["where"]
    return "" if where is None else str(where)


def _check_platform_table(
    connection: sa.Connection, needs: Needs
) -> tuple[TableReport, tuple[str, ...]]:
    found = find_table(connection, needs.table)
    if found is None:
        report = TableReport(needs.table, "platform", present=False)
        return report, _missing_problems(report)
    report = TableReport(
        needs.table,
        "platform",
        present=True,
        missing_columns=missing_columns(found, needs),
        missing_indexes=tuple(index.name for index in missing_indexes(found, needs)),
        notes=_notes(found, needs),
    )
    unsettled = obstacles(connection, needs)
    return report, (
        *unsettled,
        *_missing_problems(report, added=needs.added),
        *_privilege_problems(connection, found),
    )


def _check_our_table(connection: sa.Connection, table: sa.Table) -> TableReport:
    name = f"{SCHEMA}.{table.name}"
    found = find_table(connection, table.name, SCHEMA)
    if found is None:
        return TableReport(name, "flowshift", present=False)
    # Nobody else names indexes here, so a name is enough.
    valid = {index.name for index in found.indexes if index.valid}
    return TableReport(
        name,
        "flowshift",
        present=True,
        missing_columns=tuple(
            column.name for column in table.columns if column.name not in found.columns
        ),
        missing_indexes=tuple(
            str(index.name)
            for index in sorted(table.indexes, key=lambda index: str(index.name))
            if index.name not in valid
        ),
    )


def _missing_problems(report: TableReport, added: frozenset[str] | None = None) -> tuple[str, ...]:
    """What an upgrade would put right; columns that it would not add are obstacles, named there."""
    if not report.present:
        return (f"{report.name} is not there; {_UPGRADE} creates it",)
    columns = [name for name in report.missing_columns if added is None or name in added]
    return (
        *(f"{report.name} has no column {name}; {_UPGRADE} adds it" for name in columns),
        *(
            f"{report.name} has no index that serves as {name}; {_UPGRADE} creates it"
            for name in report.missing_indexes
        ),
    )


def _notes(found: FoundTable, needs: Needs) -> tuple[str, ...]:
    notes = []
    workflow, legacy = found.columns.get("workflow"), found.columns.get("legacy_workflow")
    if workflow and legacy and workflow.type != legacy.type:
        notes.append(f"legacy_workflow is {legacy.type}, workflow is {workflow.type}")
    notes += [
        f"{name} has no time zone; flowshift writes and reads UTC there"
        for name in needs.columns
        if name in found.columns and found.columns[name].type.endswith("without time zone")
    ]
    extra = [name for name in found.columns if name not in needs.columns]
    if extra:
        notes.append(f"left alone: {', '.join(extra)}")
    return tuple(notes)


def _privilege_problems(connection: sa.Connection, found: FoundTable) -> tuple[str, ...]:
    """Rights on one of the platform's tables that the role lacks; those of columns are enough."""
    wanted = [
        (right, column)
        for right, columns in NEEDED[found.name].items()
        for column in columns or ("",)
        if column in found.columns or not column
    ]
    return _denied(connection, found, found.name, wanted)


def _our_privilege_problems(connection: sa.Connection, table: sa.Table) -> tuple[str, ...]:
    found = find_table(connection, table.name, SCHEMA)
    if found is None or table not in WRITTEN:
        return ()
    wanted = [(right, "") for right in ("SELECT", "INSERT", *WRITTEN[table])]
    return _denied(connection, found, f"{SCHEMA}.{table.name}", wanted)


def _denied(
    connection: sa.Connection, found: FoundTable, name: str, wanted: Sequence[tuple[str, str]]
) -> tuple[str, ...]:
    denied = connection.execute(
        _DENIED,
        {
            "oid": found.oid,
            "rights": [right for right, _ in wanted],
            "columns": [column for _, column in wanted],
        },
    ).all()
    return tuple(
        f"the role {row.role} has no right to {row.right} {name}"
        f"{f' ({row.columns})' if row.columns else ''}"
        for row in denied
    )


def _schema_problems(connection: sa.Connection) -> tuple[str, ...]:
    """Where the role may not even look: nothing else can be said then."""
    denied = connection.execute(_LOCKED_OUT, {"schema": SCHEMA}).scalars().all()
    return tuple(f"the role {role} has no right to use the schema {SCHEMA}" for role in denied)


def _revision_problems(revision: str | None, newest: str) -> tuple[str, ...]:
    if revision == newest:
        return ()
    if revision is None:
        return (f"flowshift's schema is not there; {_UPGRADE} creates it",)
    if not upgrade.is_known(revision):
        return (f"the database is at revision {revision}, which is newer than this flowshift",)
    return (f"the database is at revision {revision}; {_UPGRADE} brings it to {newest}",)


def _encoding_problems(connection: sa.Connection) -> tuple[str, ...]:
    encoding = connection.execute(sa.text("SELECT current_setting('server_encoding')")).scalar_one()
    if encoding == "UTF8":
        return ()
    return (
        f"the database's encoding is {encoding}; workflows are in every language, and need UTF8",
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
    "workflow_node_executions": {"SELECT": (), "INSERT": (), "DELETE": ()},
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
