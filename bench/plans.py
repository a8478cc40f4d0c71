"""The plans of whatever an engine executes, also beneath SQLAlchemy: explained, then executed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec
import psycopg
import sqlalchemy as sa
from psycopg import sql
from sqlalchemy import event

_LONG: Final = re.compile(r"'\{[^}]{80,}\}'")
"""A list of a batch's bots or versions."""

_PLANNED: Final = ("SELECT", "(", "INSERT", "UPDATE", "DELETE", "WITH")


class Plan(msgspec.Struct, frozen=True):
    """A statement, and what PostgreSQL did for it."""

    statement: str
    text: str

    def __str__(self) -> str:
        said = " ".join(self.statement.split())
        return f"-- {said[:100]}\n{self.text}"


@contextmanager
def explained(engine: sa.Engine | type[sa.Engine]) -> Iterator[list[Plan]]:
    """The plans of the statements that `engine`, or any engine, executes meanwhile, in their order.

    Each is executed by EXPLAIN (ANALYZE, BUFFERS), taken back, and then executed as it is. Those of
    cursors of the server's have none.
    """
    plans: list[Plan] = []

    class Explaining(psycopg.Cursor[Any]):
        def execute(self, query: Any, params: Any = None, **how: Any) -> Any:
            said = query.as_string(self.connection) if isinstance(query, sql.Composable) else query
            said = said.decode() if isinstance(said, bytes) else said
            if said.lstrip().startswith(_PLANNED):
                plans.append(Plan(said, _explain(self.connection, said, params)))
            return super().execute(query, params, **how)

    def out(raw: psycopg.Connection[Any], *_: object) -> None:
        raw.cursor_factory = Explaining

    def back(raw: psycopg.Connection[Any] | None, *_: object) -> None:
        if raw is not None:
            raw.cursor_factory = psycopg.Cursor

    event.listen(engine, "checkout", out)
    event.listen(engine, "checkin", back)
    try:
        yield plans
    finally:
        event.remove(engine, "checkout", out)
        event.remove(engine, "checkin", back)


def _explain(connection: psycopg.Connection[Any], said: str, params: Any) -> str:
    with connection.transaction(force_rollback=True), psycopg.Cursor(connection) as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF) {said}".encode(), params)
        return "\n".join(_LONG.sub("'{…}'", line) for (line,) in cursor.fetchall())
