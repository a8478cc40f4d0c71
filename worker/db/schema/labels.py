"""Whether the platform's columns take the words that flowshift writes: enumerations and domains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import sqlalchemy as sa
from sqlalchemy import exc

from worker.core.targets import detect
from worker.core.targets.registry import TARGETS
from worker.core.targets.target import AS_THE_PLATFORM
from worker.db.schema.catalog import FoundTable
from worker.db.schema.target import evidence

WRITTEN: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "bot_workflow_versions": {"status": ("draft",), "version": ("draft",)},
    "workflow_execution_runs": {"status": ("succeeded", "failed")},
    "workflow_node_executions": {
        "status": tuple(AS_THE_PLATFORM.node_status.values()),
        "node_type": ("start", "knowledge-retrieval", "llm", "end"),
    },
}
"""What is written into each column whatever the target; node types besides are the target's."""

_COMPARED: Final = (("bot_workflow_versions", "status"),)


def obstacles(connection: sa.Connection, found: FoundTable) -> tuple[str, ...]:
    """The words that a column of a table does not take, and columns that nothing compares with."""
    problems = []
    for column, labels in WRITTEN.get(found.name, {}).items():
        if column not in found.columns:
            continue
        where, type_name = f"{found.name}.{column}", found.columns[column].type
        wanted = (*labels, *_added_types(connection)) if column == "node_type" else labels
        refused = [label for label in wanted if not takes(connection, type_name, label)]
        if refused:
            is_enum = found.columns[column].category == "E"
            problems.append(
                f"{where} is {type_name}, which does not take {', '.join(map(repr, refused))}:"
                f" {'ALTER TYPE … ADD VALUE adds it' if is_enum else 'ALTER DOMAIN changes its check'}"
            )
        elif (found.name, column) in _COMPARED and not _compares(connection, type_name):
            problems.append(
                f"{where} is {type_name}, a domain over an enumeration, which PostgreSQL compares"
                f" with nothing: give the column the enumeration's own type"
            )
    return tuple(problems)


def _added_types(connection: sa.Connection) -> tuple[str, ...]:
    """The node types that drafts of the target which the database shows may have besides V1's."""
    return TARGETS[detect.decide(evidence(connection)).target].adds


def takes(connection: sa.Connection, type_name: str, label: str) -> bool:
    """Whether a type takes a word of ours."""
    return _succeeds(connection, f"SELECT CAST('{label}' AS {type_name})")


def _compares(connection: sa.Connection, type_name: str) -> bool:
    return _succeeds(connection, f"SELECT CAST('draft' AS {type_name}) = 'draft'")


def _succeeds(connection: sa.Connection, query: str) -> bool:
    """Ask the server itself: a domain's check may be anything. Labels are ours, types the catalog's."""
    try:
        with connection.begin_nested():
            connection.exec_driver_sql(query.replace("%", "%%"))
    except exc.DBAPIError as error:
        if error.connection_invalidated:
            raise
        return False
    return True
