"""Which process of pytest-xdist runs which test.

Tests of live processes mostly wait, the others work. So some processes run the one kind while the rest
run the other, and both cores are busy from the first minute to the last.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import Any

from xdist.scheduler import LoadScopeScheduling

LIVE = "tests/acceptance/"
LONGEST = ("test_chaos", "test_demo", "test_nights", "test_live", "test_connections")
"""Files of live tests that begin first, so that none of the long ones is left for the end."""


def piece_of(test: str) -> str:
    """The piece of work that a test belongs to; a process of tests is given whole pieces.

    Unit tests, and live ones that share servers, go file by file: handing out ten thousand tests one
    by one takes a core's half minute.

    >>> piece_of("tests/unit/core/test_codes.py::test_every_code_has_a_meaning")
    'tests/unit/core/test_codes.py'
    >>> piece_of("tests/integration/test_runs.py::test_a_run_ends")
    'tests/integration/test_runs.py::test_a_run_ends'
    """
    return test if test.startswith("tests/integration/") else test.partition("::")[0]


def most_live(processes: int) -> int:
    """How many of the processes of tests may run live ones while there are others.

    >>> [most_live(processes) for processes in (1, 2, 3, 5)]
    [1, 1, 2, 3]
    """
    return max(1, (processes + 1) // 2)


def is_of_day(nodeid: str, day: dt.date) -> bool:
    """Whether a test belongs to the eighth that is run on a day; the others are on the next seven."""
    return hashlib.sha256(nodeid.encode()).digest()[0] % 8 == day.toordinal() % 8


class BothCoresBusy(LoadScopeScheduling):  # type: ignore[misc] # it has no types
    """Gives out pieces: live ones to some of the processes, the longest first, and others to the rest."""

    def _split_scope(self, nodeid: str) -> str:
        return piece_of(nodeid)

    def _assign_work_unit(self, node: Any) -> None:
        """Put the piece that this process should have to the front, whence it is taken."""
        self.workqueue.move_to_end(self._next_for(node), last=False)
        super()._assign_work_unit(node)

    def _next_for(self, node: Any) -> str:
        pieces: list[str] = list(self.workqueue)
        live = [piece for piece in pieces if piece.startswith(LIVE)]
        first_other = next((piece for piece in pieces if not piece.startswith(LIVE)), None)
        if first_other is None or (live and self._may_go_live(node)):
            return min(live, key=_turn)
        return first_other

    def _may_go_live(self, node: Any) -> bool:
        """Whether this process is at live tests, or fewer than may be are."""
        at_it = {one for one, pieces in self.assigned_work.items() if _has_live(pieces)}
        return node in at_it or len(at_it) < most_live(self.numnodes)

    def mark_test_complete(self, node: Any, item_index: int, duration: float = 0) -> None:
        """Also forget a piece that is done: each look at what is left would go through all of them."""
        piece = piece_of(self.registered_collections[node][item_index])
        super().mark_test_complete(node, item_index, duration)
        if all(self.assigned_work[node][piece].values()):
            del self.assigned_work[node][piece]


def _has_live(pieces: Any) -> bool:
    return any(
        piece.startswith(LIVE) and not all(tests.values()) for piece, tests in pieces.items()
    )


def _turn(piece: str) -> int:
    name = piece.rpartition("/")[2].removesuffix(".py")
    return LONGEST.index(name) if name in LONGEST else len(LONGEST)
