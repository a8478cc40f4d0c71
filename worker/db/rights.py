"""Whether the role that is connected may publish: the rights that migrations/role.sql gives a publisher."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
import sqlalchemy as sa

RIGHTS: Final[Mapping[str, tuple[str, ...]]] = {
    "bots": ("use_workflow_v2",),
    "bot_workflow_versions": ("status", "graph", "updated_at"),
}
"""The columns of the platform's that a publisher updates."""

_COLUMNS: Final = ", ".join(
    f"('{table}', '{column}')" for table, columns in RIGHTS.items() for column in columns
)

MAY_PUBLISH: Final = sa.literal_column(
    f"""(
    SELECT COALESCE(bool_and(has_column_privilege(a.attrelid, a.attnum, 'UPDATE')), true)
    FROM (VALUES {_COLUMNS}) AS w (name, col)
    JOIN pg_attribute a ON a.attrelid = to_regclass(w.name) AND a.attname = w.col
                       AND NOT a.attisdropped)""",  # noqa: S608  (constants)
    sa.Boolean(),
)
"""SQL: whether this session's role may. Where the platform's tables are not there yet, it may."""


class Publisher(msgspec.Struct, frozen=True):
    """The role that is connected, and whether it may publish."""

    role: str
    may_publish: bool


def publisher(connection: sa.Connection) -> Publisher:
    """Ask the catalogue; a right that is given or taken later counts for later calls."""
    role = sa.literal_column("current_user::text", sa.Text())
    return Publisher(*connection.execute(sa.select(role, MAY_PUBLISH)).one())
