"""What a statement of SQL does, in one word."""

from __future__ import annotations

import re
from typing import Final, Literal, get_args

Operation = Literal["select", "insert", "update", "delete", "commit", "other"]
OPERATIONS: Final[tuple[Operation, ...]] = get_args(Operation)

_FIRST: Final = re.compile(r"\s*(?:--[^\n]*\n\s*)*([a-z]+)", re.IGNORECASE)
_WRITES: Final = re.compile(
    r"\b(INSERT\s+INTO|UPDATE\s+[\w.\"]+\s+(?:\w+\s+)?SET|DELETE\s+FROM)\b", re.IGNORECASE
)


def operation_of(statement: str) -> Operation:
    """What a statement does; one that begins with WITH does what it writes, else it reads.

    >>> operation_of("SELECT 1"), operation_of(" update t set a = 1"), operation_of("SET x = 1")
    ('select', 'update', 'other')
    >>> operation_of("WITH page AS (SELECT 1) DELETE FROM t USING page")
    'delete'
    >>> operation_of("WITH page AS (SELECT 1 FOR UPDATE) SELECT * FROM page")
    'select'
    """
    first = _FIRST.match(statement)
    word = first[1].lower() if first else ""
    if word == "with":
        written = _WRITES.search(statement)
        word = written[1].split()[0].lower() if written else "select"
    return next((one for one in OPERATIONS if one == word and one != "commit"), "other")
