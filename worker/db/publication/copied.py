"""Which columns of a draft go into the version that is made of it, those that we do not know included."""

from __future__ import annotations

from typing import Any, Final, cast

import sqlalchemy as sa
from psycopg import sql

_SET_HERE: Final = (
    "id",
    "bot_id",
    "version",
    "status",
    "published_at",
    "created_at",
    "updated_at",
)

# Generated and identity columns fill themselves. A unique value would occur twice: also where it
# is unique as a part of an expression, of which the catalog notes which columns it reads.
_COLUMNS: Final = sa.text("""
    SELECT a.attname::text FROM pg_attribute a
    WHERE a.attrelid = to_regclass('bot_workflow_versions') AND a.attnum > 0
      AND NOT a.attisdropped AND a.attgenerated = '' AND a.attidentity = ''
      AND NOT a.attname = ANY(:set_here)
      AND NOT EXISTS (
          SELECT FROM pg_index i
          WHERE i.indrelid = a.attrelid AND i.indisunique AND (
              a.attnum = ANY (i.indkey)
              OR i.indexprs IS NOT NULL AND EXISTS (
                  SELECT FROM pg_depend p
                  WHERE p.classid = 'pg_class'::regclass AND p.objid = i.indexrelid
                    AND p.refclassid = 'pg_class'::regclass AND p.refobjid = a.attrelid
                    AND p.refobjsubid = a.attnum)))
    ORDER BY a.attnum
""")


def copied_columns(connection: sa.Connection) -> tuple[sql.Identifier, ...]:
    """The columns that are copied from the draft as they stand; asked once a connection."""
    info = cast("dict[str, Any]", connection.info)
    if "copied_columns" not in info:
        names = connection.execute(_COLUMNS, {"set_here": list(_SET_HERE)}).scalars().all()
        info["copied_columns"] = tuple(sql.Identifier(name) for name in names)
    found: tuple[sql.Identifier, ...] = info["copied_columns"]
    return found
