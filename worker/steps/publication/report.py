"""Read publications with their waves, and what the gate said of them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Final

import msgspec
import sqlalchemy as sa

from worker.core.counted import counted
from worker.core.publication.folding import fold
from worker.core.publication.gate import Verdict, judge
from worker.db.engine import map_database_errors
from worker.db.publication import outline, readings, turns, waves
from worker.db.publication.outline import Outline
from worker.db.publication.readings import Kept
from worker.db.publication.waves import Publication, Wave
from worker.errors import NotFoundError
from worker.settings import Settings
from worker.steps.publication.state import need

MISSED_LOOKS: Final = 4
"""After so many looks that did not come, the gate is taken for absent."""

LEAST_S: Final = 60.0


class Live(msgspec.Struct, frozen=True):
    """How many bots each wave has live, for those that have any, and when they were counted if not now."""

    by_wave: dict[int, int]
    counted_at: dt.datetime | None = None


def count_live(connection: sa.Connection, one: Publication) -> Live:
    """Count now: of 500,000 live bots it takes some tenths of a second."""
    return Live(waves.count_live(connection, one.publication_id))


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A publication with its waves, and the last verdict of each that has one.

    `live` is how many bots each wave has live, for those that have any. `unlooked_s` is set if the gate
    should have looked so many seconds ago, and did not.
    """

    publication: Publication
    waves: list[Wave]
    live: Live
    verdicts: dict[int, Kept]
    unlooked_s: float | None = None


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate said of a wave, and what it says of the same reading now."""

    publication: Publication
    wave: Wave
    kept: Kept | None = None
    again: Verdict | None = None

    @property
    def agrees(self) -> bool:
        """Whether the verdict that was stored follows from the reading that was stored.

        The sentence may differ: another version of flowshift may have said the same in other words.
        """
        if self.kept is None or self.again is None:
            return True
        return self.kept.outcome == self.again.outcome


def newest_publications(
    engine: sa.Engine, limit: int, *, before: int | None = None
) -> list[Outline]:
    """The newest publications at a glance, the newest first; with `before` older than that one.

    Raises:
        TransientError: the database was unavailable.
    """
    with map_database_errors(), engine.connect() as connection:
        return outline.newest(connection, limit, before=before)


def publication_of(engine: sa.Engine, publication_id: int) -> tuple[Publication, list[Wave]]:
    """A publication with its waves.

    Raises:
        UsageError: there is none.
        TransientError: the database was unavailable.
    """
    with map_database_errors(), engine.connect() as connection:
        return need(connection, publication_id), waves.of(connection, publication_id)


def read_publication(
    engine: sa.Engine,
    values: Settings,
    publication_id: int,
    *,
    folded: bool = False,
    live_of: Callable[[sa.Connection, Publication], Live] = count_live,
) -> Found:
    """A publication with its waves, their verdicts, and whether the gate looks.

    With `folded` only of the waves that have a line of their own in `fold` is the verdict read. `live_of`
    counts what is live.

    Raises:
        UsageError: there is none.
        TransientError: the database was unavailable.
    """
    with map_database_errors(), engine.connect() as connection:
        found = need(connection, publication_id)
        since_s = turns.unlooked_s(connection, publication_id)
        is_late = since_s > max(LEAST_S, MISSED_LOOKS * values.gate_s)
        its = waves.of(connection, publication_id)
        shown = [its[one.first].number for one in fold([w.state for w in its])] if folded else None
        return Found(
            publication=found,
            waves=its,
            live=live_of(connection, found),
            verdicts=readings.newest(connection, publication_id, shown),
            unlooked_s=since_s if is_late and _is_looked_at(found) else None,
        )


def _is_looked_at(found: Publication) -> bool:
    return found.state in ("publishing", "watching") or found.held_because == "alarm"


def explain(engine: sa.Engine, publication_id: int, number: int | None) -> Explained:
    """The last verdict of a wave, judged again; without a number, of the wave that was looked at last.

    Raises:
        UsageError: there is no such publication or wave.
        TransientError: the database was unavailable.
    """
    with map_database_errors(), engine.connect() as connection:
        found = need(connection, publication_id)
        its = waves.of(connection, publication_id)
        verdicts = readings.newest(connection, publication_id)
    wave = _wave(publication_id, its, number, verdicts)
    kept = verdicts.get(wave.number)
    again = None if kept is None else judge(kept.reading)
    return Explained(publication=found, wave=wave, kept=kept, again=again)


def _wave(
    publication_id: int, its: list[Wave], number: int | None, verdicts: dict[int, Kept]
) -> Wave:
    if not its:
        raise NotFoundError(
            f"publication {publication_id} has no wave yet: its bots are proven first"
        )
    if number is None:
        looked_at = max(verdicts, key=lambda one: verdicts[one].read_at, default=its[0].number)
        number = looked_at
    wave = next((one for one in its if one.number == number), None)
    if wave is None:
        raise NotFoundError(
            f"publication {publication_id} has no wave {number}: it has {counted(len(its), 'wave')}"
        )
    return wave


LOOKS_READ: Final = 100


def evidence(engine: sa.Engine, publication_id: int, wave: int) -> list[Kept]:
    """What the gate read of a wave, the oldest first: the last `LOOKS_READ` readings that differ.

    Raises:
        TransientError: the database was unavailable.
    """
    with map_database_errors(), engine.connect() as connection:
        return readings.of_wave(connection, publication_id, wave, limit=LOOKS_READ)[::-1]
