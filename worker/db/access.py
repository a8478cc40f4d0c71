"""How PostgreSQL reads tables for a transaction."""

from __future__ import annotations

import sqlalchemy as sa


def prefer_indexes(connection: sa.Connection) -> None:
    """Let this transaction read tables by their indexes, where they have any that serve.

    A session plans the check of a foreign key once, and keeps the plan until the table is analyzed
    again. If the table was empty or small at that moment, the plan reads all of it for each row that
    refers to it, also after a run has filled the table.
    """
    connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
