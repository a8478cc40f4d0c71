"""How a wave is named where a run or a batch of it is shown."""

from __future__ import annotations

import msgspec


class WaveRef(msgspec.Struct, frozen=True):
    """A wave: the publication that it is of, its number there, counted from 1, and what it is called.

    >>> str(WaveRef(3, 12, "1 %"))
    'publication 3, wave 12 (1 %)'
    """

    publication_id: int
    number: int
    label: str

    def __str__(self) -> str:
        return f"publication {self.publication_id}, wave {self.number} ({self.label})"
