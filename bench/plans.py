"""The plans of whatever an engine executes, also beneath SQLAlchemy: explained, then executed."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec
import psycopg
import sqlalchemy as sa
from psycopg import sql
from sqlalchemy import event

_LONG: Final = re.compile(r"'\{[^}]{80,}\}'")
"""A list of a batch's bots or versions."""

_BUFFERS: Final = re.compile(r"Buffers: shared.*")
_PAGES: Final = re.compile(r"\b(?:hit|read)=(\d+)")
_SCANNED: Final = re.compile(r"Seq Scan on (\w+)")

_PLANNED: Final = ("SELECT", "(", "INSERT", "UPDATE", "DELETE", "WITH")


class Plan(msgspec.Struct, frozen=True):
    """A statement, and what PostgreSQL did for it."""

    statement: str
    text: str

    @property
    def name(self) -> str:
        """The statement in one line, the same for whatever it is executed with."""
        return " ".join(self.statement.split())

    @property
    def pages(self) -> int:
        """Pages that it took from buffers or from disk, each as often as it did."""
        executed = self.text.partition("\nPlanning")[0]
        buffers = _BUFFERS.search(executed)
        return 0 if buffers is None else sum(int(n) for n in _PAGES.findall(buffers[0]))

    def scanned(self, tables: Collection[str]) -> list[str]:
        """Which of these tables it reads whole."""
        return sorted({name for name in _SCANNED.findall(self.text) if name in tables})

    def __str__(self) -> str:
        return f"-- {self.name[:100]}\n{self.text}"


@contextmanager
def explained(
    engine: sa.Engine | type[sa.Engine], *, with_cursors: bool = False
) -> Iterator[list[Plan]]:
    """The plans of the statements that `engine`, or any engine, executes meanwhile, in their order.

    Each is executed by EXPLAIN (ANALYZE, BUFFERS), taken back, and then executed as it is. Those of
    cursors of the server's only `with_cursors`.
    """
    plans: list[Plan] = []

    def explain(connection: psycopg.Connection[Any], query: Any, params: Any) -> None:
        said = query.as_string(connection) if isinstance(query, sql.Composable) else query
        said = said.decode() if isinstance(said, bytes) else said
        if said.lstrip().startswith(_PLANNED):
            plans.append(Plan(said, _explain(connection, said, params)))

    class Explaining(psycopg.Cursor[Any]):
        def execute(self, query: Any, params: Any = None, **how: Any) -> Any:
            explain(self.connection, query, params)
            return super().execute(query, params, **how)

    class ExplainingServer(psycopg.ServerCursor[Any]):
        def execute(self, query: Any, params: Any = None, **how: Any) -> Any:
            explain(self.connection, query, params)
            return super().execute(query, params, **how)

    def out(raw: psycopg.Connection[Any], *_: object) -> None:
        raw.cursor_factory = Explaining
        if with_cursors:
            raw.server_cursor_factory = ExplainingServer

    def back(raw: psycopg.Connection[Any] | None, *_: object) -> None:
        if raw is not None:
            raw.cursor_factory = psycopg.Cursor
            raw.server_cursor_factory = psycopg.ServerCursor

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
