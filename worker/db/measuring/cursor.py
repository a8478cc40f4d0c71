"""The driver's cursor, which times its statements: as long as this process waits for each."""

from __future__ import annotations

import time
from functools import lru_cache
from typing import Any, Final, Self

import psycopg

from worker.core.metrics.statements import Operation, operation_of
from worker.db.measuring.measured import MEASURED

STATEMENTS: Final = "flowshift_database_statement_duration_seconds"

_known = lru_cache(maxsize=512)(operation_of)


class TimedCursor(psycopg.Cursor[Any]):
    """Times `execute` and `executemany`, whoever calls them; a failure counts as well."""

    def execute(self, query: Any, *arguments: Any, **options: Any) -> Self:
        """As the driver's."""
        began = time.perf_counter()
        try:
            return super().execute(query, *arguments, **options)
        finally:
            MEASURED.observe(STATEMENTS, time.perf_counter() - began, _operation(query))

    def executemany(self, query: Any, *arguments: Any, **options: Any) -> None:
        """As the driver's; all together are one statement."""
        began = time.perf_counter()
        try:
            super().executemany(query, *arguments, **options)
        finally:
            MEASURED.observe(STATEMENTS, time.perf_counter() - began, _operation(query))


def _operation(query: object) -> Operation:
    return _known(query) if isinstance(query, str) else "other"
