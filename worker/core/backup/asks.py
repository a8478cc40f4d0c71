"""Which waves of a publication ask for a backup of the database before they begin."""

from __future__ import annotations

from typing import Final

SHARE_PERCENT: Final = 10
"""Waves of this share of their publication's bots, or more, ask for one."""


def asks_for_backup(wave_bots: int, publication_bots: int) -> bool:
    """Whether a wave of so many bots asks for a backup; a wave of one bot never does.

    >>> asks_for_backup(100, 1_000), asks_for_backup(99, 1_000), asks_for_backup(1, 5)
    (True, False, False)
    """
    return wave_bots > 1 and 100 * wave_bots >= SHARE_PERCENT * publication_bots
