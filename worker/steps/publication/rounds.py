"""The rounds of a rollback in the foreground: batch after batch, until no bot is left.

    the bots that are live, the newest wave first ─► batches ─► those that were locked ─► batches ─► …

Each batch is a transaction of its own, of as many bots as take about `TARGET_MS`.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Final

import msgspec
import sqlalchemy as sa

from worker.core.metrics.rolled_back import rolled_back
from worker.core.policy.pace import FIRST_BOTS, batch_size
from worker.db.engine import map_database_errors
from worker.db.measuring import totals
from worker.db.publication.rollback import Back, Part, Returned, roll_back_bots
from worker.db.publication.rolling import Which
from worker.errors import TransientError
from worker.runtime import Runtime
from worker.steps.publication.v1 import v1_problem

AT_ONCE: Final = 3
"""So many connections go through the bots at once."""

TARGET_MS: Final = 300
"""So long a batch should take: the longest that a person who saves one of its bots waits."""

MOST: Final = 5_000
LOCK_TIMEOUT_MS: Final = 500
ROUND_S: Final = 0.2
MOST_FAULTS: Final = 150
"""So many tries in a row may fail because the database is unavailable: half a minute."""

LOCKED: Final = "another session has their rows locked"

Sleep = Callable[[float], None]


class Moved(msgspec.Struct, frozen=True):
    """How far a rollback is; `waiting` says what the bots that are left wait for."""

    done: int
    total: int
    waiting: str = ""


class Rounds:
    """A rollback at work: `counts` by what happened, `left` is how many bots are still to be done."""

    def __init__(
        self, current: Runtime, which: Which, total: int, show: Callable[[Moved], None]
    ) -> None:
        self._current = current
        self._which = which
        self._total = total
        self._show = show
        self._back = 0
        self._stay: dict[tuple[int, str], Back] = {}
        self._recent: deque[tuple[int, float]] = deque(maxlen=5)
        self._faults = 0
        self._stopped = threading.Event()
        self._changing = threading.Lock()

    @property
    def counts(self) -> Counter[Back]:
        """How many bots are done, by what happened to them."""
        done: Counter[Back] = Counter(one for one in self._stay.values() if one != "busy")
        if self._back:
            done["rolled_back"] = self._back
        return done

    @property
    def left(self) -> int:
        """How many bots are still to be done."""
        return max(0, self._total - self.counts.total())

    def go_round(self, publication_ids: Sequence[int], sleep: Sleep) -> None:
        """Roll back everything; returns once no bot is left.

        Raises:
            TransientError: the database stayed unavailable; what is back stays back.
        """
        for publication_id in publication_ids:
            self._all_at_once(publication_id, sleep)
            # Once more through what is live: whatever a connection that failed had left out.
            self._through(publication_id, sleep, alongside=False)
        # What is neither done nor locked now is live no more: another rollback took it.
        self._total = self._back + len(self._stay)
        while waiting := [place for place, state in self._stay.items() if state == "busy"]:
            for publication_id in publication_ids:
                self._again(
                    [bot_id for one, bot_id in waiting if one == publication_id], publication_id
                )
            if all(self._stay.get(place) == "busy" for place in waiting):
                sleep(ROUND_S)

    def _again(self, bot_ids: list[str], publication_id: int) -> None:
        """Try the bots again that were locked."""
        for start in range(0, len(bot_ids), FIRST_BOTS):
            some = bot_ids[start : start + FIRST_BOTS]
            try:
                returned = self._batch(Part(publication_id=publication_id, bot_ids=some))
            except TransientError as error:
                self._note_fault(error)
                continue
            for bot_id in set(some) - {one.bot_id for one in returned}:
                # It is live no more: another rollback took it, or another publication has it live.
                del self._stay[publication_id, bot_id]
                self._total -= 1

    def _all_at_once(self, publication_id: int, sleep: Sleep) -> None:
        """Once through all that is live, by several connections."""
        count = min(AT_ONCE, 1 + self._total // FIRST_BOTS)
        with ThreadPoolExecutor(count) as threads:
            try:
                works = [
                    threads.submit(self._through, publication_id, sleep, alongside=True)
                    for _ in range(count)
                ]
                for work in as_completed(works):  # not in order: any may be the first to fail
                    work.result()
            finally:  # Ctrl-C, or one of them gave up: the others end with their batch
                self._stopped.set()

    def _through(self, publication_id: int, sleep: Sleep, *, alongside: bool) -> None:
        after: Returned | None = None
        while not (alongside and self._stopped.is_set()):
            part = Part(
                publication_id=publication_id,
                wave=self._which.wave,
                bot_ids=self._which.bot_ids,
                after=after,
                limit=batch_size(self._recent, target_ms=TARGET_MS, most=MOST, max_rate=None),
                alongside=alongside,
            )
            try:
                returned = self._batch(part)
            except TransientError as error:
                self._note_fault(error)
                sleep(ROUND_S)
                continue
            if not returned:
                return
            after = returned[-1]

    def _batch(self, part: Part) -> list[Returned]:
        began = time.monotonic()
        with map_database_errors(), self._current.engine.begin() as connection:
            connection.execute(sa.text(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}"))
            returned = roll_back_bots(
                connection, part, v1_problem=v1_problem(self._current.defaults)
            )
            totals.add(connection, rolled_back(self._new(part.publication_id, returned)))
        took_ms = (time.monotonic() - began) * 1000
        with self._changing:
            self._note(part.publication_id, returned, took_ms)
        return returned

    def _new(self, publication_id: int, returned: Sequence[Returned]) -> list[Back]:
        """What happened to those that this rollback has not counted yet: it comes by some bots twice."""
        with self._changing:
            stay = (self._stay.get((publication_id, one.bot_id)) for one in returned)
            return [
                one.state
                for one, was in zip(returned, stay, strict=True)
                if was in (None, "busy") or one.state == "rolled_back"
            ]

    def _note(self, publication_id: int, returned: Sequence[Returned], took_ms: float) -> None:
        self._faults = 0
        if not returned:
            return
        self._recent.append((len(returned), took_ms))
        for one in returned:
            if one.state == "rolled_back":
                self._back += 1
                self._stay.pop((publication_id, one.bot_id), None)
            else:
                self._stay[publication_id, one.bot_id] = one.state
        is_waiting = any(one.state == "busy" for one in returned)
        self._show(Moved(self._total - self.left, self._total, LOCKED if is_waiting else ""))

    def _note_fault(self, error: TransientError) -> None:
        with self._changing:
            self._faults += 1
            if self._faults >= MOST_FAULTS:
                raise error
            self._show(Moved(self._total - self.left, self._total, str(error)))
