"""What was found out about one of the platform's tables."""

from __future__ import annotations

import msgspec


class Finding(msgspec.Struct, frozen=True):
    """A sentence about a table, with what to do; `obstructs` where runs would fail or miss rows."""

    table: str
    text: str
    obstructs: bool = True
