"""What of the server itself keeps flowshift from writing."""

from __future__ import annotations

import sqlalchemy as sa


def problems(connection: sa.Connection) -> tuple[str, ...]:
    """A standby, a read-only session, an encoding that workflows do not fit into."""
    row = connection.execute(_SERVER).one()
    found = []
    if row.is_standby:
        found.append(
            "the server is a standby, where nothing can be written: connect to the primary"
        )
    elif row.is_read_only:
        found.append(
            "transactions are read-only here (default_transaction_read_only): take the setting back with"
            " ALTER DATABASE or ALTER ROLE … RESET, or connect to the primary"
        )
    if row.encoding != "UTF8":
        found.append(
            f"the database's encoding is {row.encoding}; workflows are in every language, and need UTF8"
        )
    return tuple(found)


_SERVER = sa.text("""
    SELECT pg_is_in_recovery() AS is_standby,
           current_setting('transaction_read_only')::boolean AS is_read_only,
           current_setting('server_encoding') AS encoding
""")
