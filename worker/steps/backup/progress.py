"""How far a backup is: the step at work, its units, and about how long it will still take."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import msgspec

_SAY_AFTER_S: Final = 1.0


class Moved(msgspec.Struct, frozen=True):
    """Step `number` of `steps`, `name`, has done so much of `total` units; `eta_s` is of this step."""

    number: int
    steps: int
    name: str
    unit: str
    done: int
    total: int
    eta_s: float | None = None


Show = Callable[[Moved], None]


class Meter:
    """Tells `show` about one step after the other."""

    def __init__(self, show: Show, steps: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._show = show
        self._steps = steps
        self._clock = clock
        self._number = 0
        self._name = self._unit = ""
        self._done = self._total = 0
        self._began: float | None = None
        self._done_before = 0

    def begin(self, name: str, unit: str, total: int) -> None:
        """The next step, of about `total` units."""
        self._number += 1
        self._name, self._unit, self._total, self._done = name, unit, total, 0
        self._began = None
        self._tell()

    def add(self, done: int = 1) -> None:
        """So many units more are done."""
        self.at(self._done + done)

    def at(self, done: int) -> None:
        """So many units are done by now; an estimate that was too low grows with them."""
        if self._began is None and done:  # what was sorted before does not count for the pace
            self._began, self._done_before = self._clock(), done
        self._done = done
        self._total = max(self._total, done)
        self._tell()

    def _tell(self) -> None:
        self._show(
            Moved(
                self._number,
                self._steps,
                self._name,
                self._unit,
                self._done,
                self._total,
                self._eta_s(),
            )
        )

    def _eta_s(self) -> float | None:
        """Seconds that the rest takes at the pace since the first unit; None if nothing can be said."""
        if self._began is None or self._done <= self._done_before:
            return None
        spent = self._clock() - self._began
        if spent < _SAY_AFTER_S:
            return None
        return spent * (self._total - self._done) / (self._done - self._done_before)
