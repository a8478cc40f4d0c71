"""Whether V1 may be cleared at all: by this role, and on this platform."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from worker.db.bulk import driver
from worker.errors import ConfigError, UsageError

_RIGHTS: Final = """
    SELECT current_user::text, w.said FROM (VALUES
        (has_column_privilege('bots', 'workflow', 'UPDATE'), 'update bots.workflow'),
        (has_column_privilege('bots', 'legacy_workflow', 'UPDATE'), 'update bots.legacy_workflow'),
        (has_table_privilege('flowshift.backups', 'DELETE'), 'delete from flowshift.backups'),
        (has_table_privilege('flowshift.backups', 'INSERT'), 'insert into flowshift.backups'),
        (has_table_privilege('flowshift.finished_bots', 'INSERT'), 'insert into flowshift.finished_bots'),
        (has_table_privilege('flowshift.finished_bots', 'DELETE'), 'delete from flowshift.finished_bots')
    ) AS w (may, said) WHERE NOT w.may
"""

_NEVER_NULL: Final = """
    SELECT a.attname::text FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = to_regclass('bots') AND a.attname IN ('workflow', 'legacy_workflow')
      AND (a.attnotnull OR t.typnotnull)
    ORDER BY a.attnum DESC
"""


def need_rights(connection: sa.Connection) -> None:
    """Refuse where this role may not do it: only the tables' owner may.

    Raises:
        ConfigError: names the rights that are missing.
    """
    with driver(connection).cursor() as cursor:
        lacking = cursor.execute(_RIGHTS).fetchall()
    if lacking:
        listed = ", ".join(said for _, said in lacking)
        raise ConfigError(
            f"the role {lacking[0][0]} may not {listed}: run `flowshift finish` as the tables' owner"
        )


def need_nullable(connection: sa.Connection) -> None:
    """Refuse where the platform insists on a workflow.

    Raises:
        UsageError: a column may not be null.
    """
    with driver(connection).cursor() as cursor:
        names = [f"bots.{name}" for (name,) in cursor.execute(_NEVER_NULL).fetchall()]
    if names:
        raise UsageError(not_null(" and ".join(names)))


def not_null(names: str) -> str:
    """That the platform insists on a value in these columns, and what to do."""
    return (
        f"{names} may not be null on this platform, so V1 cannot be cleared, and nothing was changed:"
        " leave V1 where it is, or let the platform's own migration drop the constraint first"
    )
