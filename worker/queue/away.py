"""A server that did not answer a moment ago is left alone for a moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

AWAY_S: Final = 2.0
"""Seconds for which a server is not asked again after it did not answer."""


class Away:
    """Whether a server is unavailable: for `AWAY_S` after each `note`.

    It spares every caller the wait for a connection that will not come.

    >>> times = iter((10.0, 11.9, 12.0))
    >>> server = Away(lambda: next(times))
    >>> server.note()
    >>> server.is_away, server.is_away
    (True, False)
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until: float | None = None

    @property
    def is_away(self) -> bool:
        """Whether the server did not answer a moment ago."""
        return self._until is not None and self._clock() < self._until

    def note(self) -> None:
        """Note that the server does not answer now."""
        self._until = self._clock() + AWAY_S
