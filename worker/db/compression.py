"""How PostgreSQL compresses large values that our sessions write: drafts, executions, backups.

`pglz` is what every server has. `lz4` takes a fraction of its time, and a server has it from 14 on
if it was built with it. What a column says itself counts before that, and each value says how it was
compressed, so that readers notice nothing.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import psycopg
import sqlalchemy as sa

from worker.errors import ConfigError

Compression = Literal["auto", "pglz", "lz4"]

SETTING: Final = "FLOWSHIFT_TOAST_COMPRESSION"

_GUC: Final = "default_toast_compression"
_METHODS: Final = f"SELECT enumvals FROM pg_settings WHERE name = '{_GUC}'"  # noqa: S608


def settings_for(raw: psycopg.Connection[Any], wanted: Compression) -> dict[str, str]:
    """What to set in sessions of this server; empty before 14, which knows `pglz` alone.

    Raises:
        ConfigError: it is to be `lz4`, and the server has not got it.
    """
    row = raw.execute(_METHODS).fetchone()
    methods = ["pglz"] if row is None else row[0]
    if wanted == "lz4" and "lz4" not in methods:
        raise ConfigError(
            "it is lz4, which this PostgreSQL has not got (14 or newer, built with it): set it to auto",
            setting=SETTING,
        )
    chosen = wanted if wanted != "auto" else "lz4" if "lz4" in methods else "pglz"
    return {} if row is None else {_GUC: chosen}


def notes(connection: sa.Connection) -> tuple[str, ...]:
    """How this session has large values compressed, and which columns of ours to write say otherwise."""
    methods = connection.exec_driver_sql(_METHODS).scalar()
    if methods is None:
        return (
            "large values are compressed by pglz: lz4, which is faster, comes with PostgreSQL 14",
        )
    used = connection.scalar(sa.text(f"SELECT current_setting('{_GUC}')"))
    why = "" if "lz4" in methods else "; this server was built without lz4, which is faster"
    found = [f"large values are compressed by {used} ({SETTING}){why}"]
    found += [
        f"{table}.{column} has a compression of its own, {method}, which counts there"
        for table, column, method in connection.execute(_OWN)
        if method != used
    ]
    return tuple(found)


_OWN: Final = sa.text("""
    SELECT c.table_name, a.attname::text, CASE a.attcompression WHEN 'l' THEN 'lz4' ELSE 'pglz' END
    FROM (VALUES ('bot_workflow_versions', 'graph'), ('bots', 'legacy_workflow'),
                 ('workflow_execution_runs', 'graph_snapshot'),
                 ('workflow_node_executions', 'inputs'), ('workflow_node_executions', 'outputs'))
         AS c (table_name, column_name)
    JOIN pg_attribute a ON a.attrelid = to_regclass(c.table_name) AND a.attname = c.column_name
    WHERE NOT a.attisdropped AND a.attcompression <> ''
    ORDER BY 1, 2
""")
