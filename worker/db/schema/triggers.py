"""What of the platform's own fires when flowshift writes: triggers, rules, deferrable constraints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import sqlalchemy as sa

from worker.db.backups import Place
from worker.db.schema.catalog import FoundTable
from worker.db.schema.findings import Finding

_WRITES: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "bots": {"UPDATE": ("legacy_workflow",)},
    "bot_workflow_versions": {"INSERT": (), "UPDATE": ("graph", "updated_at")},
    "workflow_execution_runs": {"INSERT": (), "DELETE": ()},
    "workflow_node_executions": {"INSERT": (), "DELETE": ()},
}
"""What is done to each table, and, for an update, to which columns."""

_DELETED: Final = "workflow_execution_runs"
"""From which rows are deleted by a WITH query; nodes mostly go by the cascade of their foreign key."""

_WITH_ON_CONFLICT: Final = frozenset({"bot_workflow_versions", "workflow_execution_runs"})


def findings(
    connection: sa.Connection, tables: Sequence[FoundTable], backup: Place
) -> list[Finding]:
    """Triggers as notes (an attempt shows what they do), rules and constraints that forbid a write.

    `bots` is updated only where the backup is in a column.
    """
    found = []
    for table in tables:
        if table.name == "bots" and backup == "table":
            continue
        found += _triggers(connection, table)
        found += _rules(connection, table)
        if table.name in _WITH_ON_CONFLICT:
            found += [_deferrable(table, one.name) for one in table.indexes if not one.enforced]
    return found


def that_act_outside(connection: sa.Connection) -> list[str]:
    """Triggers on what a batch writes that may do what no rollback takes back, as `name on table`.

    By the language and the text of their functions, so what they call in turn is not seen.
    """
    tables = [*_WRITES, "flowshift.ledger", "flowshift.backups"]
    return list(connection.execute(_OUTSIDE, {"tables": tables}).scalars())


def _triggers(connection: sa.Connection, table: FoundTable) -> list[Finding]:
    by_event: dict[str, list[str]] = {}
    for row in connection.execute(_TRIGGERS, {"oid": table.oid}):
        for event, columns in _WRITES[table.name].items():
            named = event == "UPDATE" and row.columns
            if event in row.events and (not named or set(columns) & set(row.columns)):
                by_event.setdefault(event, []).append(f"{row.name} ({row.moment})")
    return [
        Finding(table.name, _fires(table.name, event, names), obstructs=False)
        for event, names in by_event.items()
    ]


def _fires(table: str, event: str, names: Sequence[str]) -> str:
    listed = ", ".join(names)
    if table == "bots":
        return (
            f"the backup of V1 fires triggers, which may change other columns (updated_at …): {listed};"
            " FLOWSHIFT_BACKUP=table keeps it in flowshift.backups and updates no bot"
        )
    return f"{event} fires triggers: {listed}"


def _rules(connection: sa.Connection, table: FoundTable) -> list[Finding]:
    found = []
    for row in connection.execute(_RULES, {"oid": table.oid}):
        unwanted = table.name in _WITH_ON_CONFLICT and row.event in {"INSERT", "UPDATE"}
        if row.event not in _WRITES[table.name] and not unwanted:
            continue
        rule = f"the rule {row.name} on {row.event}"
        if unwanted:
            text = (
                f"{table.name}: {rule} forbids INSERT … ON CONFLICT: make it a trigger, or drop it"
            )
        elif row.event == "DELETE" and table.name == _DELETED and not row.is_instead:
            unwanted = True
            text = f"{table.name}: {rule} forbids the deletes of a prune: make it a trigger, or drop it"
        elif row.is_instead:
            text = f"{table.name}: {rule} replaces what flowshift writes: make it a trigger, or drop it"
        else:
            text = f"{rule} does more than flowshift asks for"
        found.append(Finding(table.name, text, obstructs=unwanted or row.is_instead))
    return found


def _deferrable(table: FoundTable, name: str) -> Finding:
    return Finding(
        table.name,
        f"{table.name}: the constraint {name} is deferrable, and INSERT … ON CONFLICT works with none"
        " that is: drop it, and create it NOT DEFERRABLE",
    )


# What fires in an ordinary session; a partition has its copies of its table's triggers.
_TRIGGERS = sa.text("""
    SELECT t.tgname::text AS name,
           CASE WHEN t.tgtype & 2 > 0 THEN 'before' ELSE 'after' END AS moment,
           array_remove(ARRAY[
               CASE WHEN t.tgtype & 4 > 0 THEN 'INSERT' END,
               CASE WHEN t.tgtype & 8 > 0 THEN 'DELETE' END,
               CASE WHEN t.tgtype & 16 > 0 THEN 'UPDATE' END
           ], NULL) AS events,
           ARRAY(
               SELECT a.attname::text FROM pg_attribute a
               WHERE a.attrelid = t.tgrelid AND a.attnum = ANY (t.tgattr)
           ) AS columns
    FROM pg_trigger t
    WHERE t.tgrelid = :oid AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A')
    ORDER BY t.tgname
""")

_OUTSIDE = sa.text(r"""
    SELECT t.tgname || ' on ' || c.relname
    FROM unnest(CAST(:tables AS text[])) WITH ORDINALITY AS written (name, place)
    JOIN pg_class c ON c.oid = to_regclass(written.name)
    JOIN pg_trigger t ON t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A')
    JOIN pg_proc f ON f.oid = t.tgfoid
    JOIN pg_language l ON l.oid = f.prolang
    WHERE NOT l.lanpltrusted AND l.lanname NOT IN ('internal', 'c')
       OR f.prosrc ~* '\m(dblink\w*|http\w*|pg_background\w*|lo_export|program)\M'
    ORDER BY written.place, t.tgname
""")

_RULES = sa.text("""
    SELECT rulename::text AS name, is_instead,
           CASE ev_type WHEN '2' THEN 'UPDATE' WHEN '3' THEN 'INSERT' WHEN '4' THEN 'DELETE' END AS event
    FROM pg_rewrite
    WHERE ev_class = :oid AND ev_type IN ('2', '3', '4') AND ev_enabled IN ('O', 'A')
    ORDER BY rulename
""")
