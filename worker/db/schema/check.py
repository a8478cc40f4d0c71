"""Whether a database is ready for flowshift: table by table, what is there and what is missing."""

from __future__ import annotations

from typing import Literal

import msgspec
import sqlalchemy as sa

from worker.db import compression, session
from worker.db.backups import Place
from worker.db.models import OUR_TABLES
from worker.db.platform_tables import PLATFORM_TABLES
from worker.db.schema import (
    keys,
    location,
    privileges,
    published_twice,
    publishing,
    referrers,
    replication,
    revision,
    row_security,
    server,
    statuses,
    triggers,
)
from worker.db.schema.adoption import Needs, missing_columns, missing_indexes, obstacles
from worker.db.schema.catalog import FoundTable, find_table
from worker.db.schema.findings import Finding
from worker.db.schema.needs import needs_of
from worker.db.schema.revision import UPGRADE, Revisions
from worker.db.tables import SCHEMA

Owner = Literal["platform", "flowshift"]

_EXECUTIONS = ("workflow_execution_runs", "workflow_node_executions")


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
    notes: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every table and column is there that a batch writes."""
        return (
            self.revision == self.newest_revision
            and bool(self.tables)
            and all(table.present and not table.missing_columns for table in self.tables)
        )


def check(connection: sa.Connection, revisions: Revisions, backup: Place = "column") -> Readiness:
    """Compare the database with what this version of flowshift needs; changes nothing.

    `backup` says where runs keep V1: what would only come of updating `bots` does not count else.
    """
    newest = revisions.newest
    if locked_out := privileges.locked_out(connection):
        return Readiness(
            ready=False, revision=None, newest_revision=newest, tables=(), problems=locked_out
        )
    found_revision = revision.current(connection)
    problems = [*revision.problems(found_revision, revisions), *server.problems(connection)]
    reports = []
    findings = _findings(connection, backup)
    for table in PLATFORM_TABLES:
        report, found_problems = _check_platform_table(connection, needs_of(table))
        notes = [one.text for one in findings if one.table == table.name and not one.obstructs]
        reports.append(msgspec.structs.replace(report, notes=(*notes, *report.notes)))
        problems += found_problems
    problems += [one.text for one in findings if one.obstructs]
    for table in OUR_TABLES:
        report = _check_our_table(connection, table)
        reports.append(report)
        problems += _missing_problems(report)
        problems += privileges.missing_on_ours(connection, table)
    return Readiness(
        ready=not problems,
        revision=found_revision,
        newest_revision=newest,
        tables=tuple(reports),
        problems=tuple(problems),
        notes=_session_notes(connection),
    )


def _findings(connection: sa.Connection, backup: Place) -> list[Finding]:
    """What the catalogue says about the platform's tables that are there, besides their columns."""
    tables = [
        found
        for table in PLATFORM_TABLES
        if (found := find_table(connection, table.name)) is not None and found.kind in {"r", "p"}
    ]
    executions = {table.name: table for table in tables if table.name in _EXECUTIONS}
    referring = (
        referrers.unreadable(connection, *(executions[name] for name in _EXECUTIONS))
        if len(executions) == len(_EXECUTIONS)
        else []
    )
    return [
        *(Finding(_EXECUTIONS[0], text) for text in referring),
        *row_security.findings(connection, tables),
        *replication.findings(connection, tables, backup),
        *triggers.findings(connection, tables, backup),
        *keys.findings(connection, tables),
        *location.findings(connection, tables),
        *publishing.findings(connection, tables),
        *statuses.findings(connection, tables),
        *published_twice.findings(connection, tables),
    ]


def _session_notes(connection: sa.Connection) -> tuple[str, ...]:
    compressed = compression.notes(connection)
    if session.has_own(connection):
        return compressed
    note = (
        "a connection pooler is in between, which ignores or refuses start-up options: time-outs are "
        "set in each transaction, and prunes delete rows instead of dropping partitions; "
        f"{UPGRADE} and `flowshift db downgrade` need PostgreSQL's own host and port"
    )
    return (note, *compressed)


def _check_platform_table(
    connection: sa.Connection, needs: Needs
) -> tuple[TableReport, tuple[str, ...]]:
    found = find_table(connection, needs.table)
    if found is None:
        report = TableReport(needs.table, "platform", present=False)
        elsewhere = location.problem(connection, needs.table)
        return report, (elsewhere,) if elsewhere else _missing_problems(report)
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
        *privileges.missing_on_platform(connection, found),
    )


def _check_our_table(connection: sa.Connection, table: sa.Table) -> TableReport:
    name = f"{SCHEMA}.{table.name}"
    found = find_table(connection, table.name, SCHEMA)
    if found is None:
        return TableReport(name, "flowshift", present=False)
    # Only flowshift names indexes here, so a name is enough.
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
        return (f"{report.name} is not there; {UPGRADE} creates it",)
    columns = [name for name in report.missing_columns if added is None or name in added]
    return (
        *(f"{report.name} has no column {name}; {UPGRADE} adds it" for name in columns),
        *(
            f"{report.name} has no index that serves as {name}; {UPGRADE} creates it"
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
