"""Statements compiled once for a process of tests, not once for each of its hundreds of engines.

Every test has a database of its own, and so an engine; what SQLAlchemy makes of a statement is the same
for each of them. In a process of ours there is one engine, which keeps what it compiled itself.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.util import LRUCache

_MOST = 3_000


class _Shared(LRUCache[Any, Any]):
    """A cache whose keys say what kind of server a statement is for, in place of which engine."""

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(_of_any_engine(key), default)

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(_of_any_engine(key), value)


def _of_any_engine(key: tuple[Any, ...]) -> tuple[Any, ...]:
    dialect, *rest = key
    return (type(dialect), dialect.server_version_info, *rest)


_compiled = _Shared(_MOST)


def share_compiled_statements() -> None:
    """Let every engine of this process take its statements from one cache."""
    sa.event.listen(sa.Engine, "engine_connect", _take_from_one_cache)


def _take_from_one_cache(connection: sa.Connection) -> None:
    connection.execution_options(compiled_cache=_compiled)
