"""How PostgreSQL reads tables for a transaction."""

from __future__ import annotations

import sqlalchemy as sa


def prefer_indexes(connection: sa.Connection) -> None:
    """Let this transaction read tables by their indexes, where they have any that serve.

    A session keeps the plan by which it checks a foreign key, from its first check until somebody
    analyzes the table. Of a table that was empty or small then, that plan reads all of it, for each
    row that refers to it, and goes on to while a run fills the table.
    """
    connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
