"""How far a prune is: what is gone, the rate, and the time left."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from worker.core.policy.health import Verdict
from worker.core.policy.progress import eta_of


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """How far a prune is. `total` is an estimate of the execution runs to delete, `rate` theirs a
    second; `waiting` is what the throttle said, if it lets nothing through.
    """

    runs: int
    nodes: int
    octets: int
    total: int
    rate: float
    eta_s: float | None
    waiting: Verdict | None = None


class Tally:
    """What is gone, by kind; `show` is called at every change. `total` is what `Moved` says."""

    def __init__(self, show: Callable[[Moved], None], clock: Callable[[], float]) -> None:
        self._show = show
        self._clock = clock
        self._began = clock()
        self.gone = {"runs": 0, "nodes": 0, "bytes": 0}
        self.total = 0

    def add(self, gone: Mapping[str, int]) -> None:
        """Count what is gone, and tell."""
        for kind, number in gone.items():
            self.gone[kind] = self.gone.get(kind, 0) + number
        self.tell()

    def tell(self, waiting: Verdict | None = None) -> None:
        """Tell how far it is."""
        runs, elapsed_s = self.gone["runs"], self.elapsed_s
        rate = runs / elapsed_s if elapsed_s > 0 else 0.0
        total = max(self.total, runs)
        moved = Moved(
            runs=runs,
            nodes=self.gone["nodes"],
            octets=self.gone["bytes"],
            total=total,
            rate=rate,
            eta_s=eta_of(total - runs, rate),
            waiting=waiting,
        )
        self._show(moved)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the beginning."""
        return self._clock() - self._began
