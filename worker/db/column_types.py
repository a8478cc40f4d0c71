"""How the platform has typed its columns, for statements that have to say so.

A status may be an enumeration or a domain there, which PostgreSQL takes a text for only where the
statement casts it.
"""

from __future__ import annotations

from typing import Any, cast

import sqlalchemy as sa
from psycopg import sql

from worker.errors import ConfigError


def type_of(connection: sa.Connection, table: str, column: str) -> sql.SQL:
    """The type of a column of one of the platform's tables as SQL, without a length.

    Asked once a connection. A cast to it cuts nothing off: what is too long is still refused.

    Raises:
        ConfigError: there is no such column.
    """
    info = cast("dict[str, Any]", connection.info)
    types: dict[str, dict[str, str]] = info.setdefault("column_types", {})
    if table not in types:
        types[table] = dict(connection.execute(_TYPES, {"table": table}).all())
    if column not in types[table]:
        raise ConfigError(
            f"{table} has no column {column} that this role can find: run `flowshift db check`"
        )
    # The catalog has quoted it; a percent sign would begin a parameter.
    return sql.SQL(types[table][column].replace("%", "%%"))


_TYPES = sa.text("""
    SELECT attname::text, format_type(atttypid, NULL) FROM pg_attribute
    WHERE attrelid = to_regclass(:table) AND attnum > 0 AND NOT attisdropped
""")
