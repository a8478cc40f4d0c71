"""Roll back: V1 answers again. In the foreground, with PostgreSQL alone.

    look ─► (a person confirms) ─► begin ─► batches, round after round ─► end

Bots that another session has locked come again in the next round, until none is left.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import msgspec
import sqlalchemy as sa

from worker.core.publication.preview import Preview, Published, preview
from worker.core.publication.states import HeldBecause
from worker.db.engine import map_database_errors
from worker.db.publication import previews, rolling, waves
from worker.db.publication.rollback import Back
from worker.db.publication.rolling import Which
from worker.errors import ChangedError, NotFoundError, UsageError
from worker.log import get_logger
from worker.runtime import Runtime
from worker.steps.publication.rounds import Moved, Rounds, Sleep
from worker.steps.publication.state import note
from worker.steps.publication.v1 import v1_problem

log = get_logger(__name__)


Hold = Callable[[int], None]
"""Holds a number of bots that was confirmed against the one that is at stake, and raises if it differs."""


def any_number(_: int) -> None:
    """Any number is right."""


class Look(msgspec.Struct, frozen=True):
    """What a rollback would do: the publications it concerns (newest first), and the preview."""

    publication_ids: tuple[int, ...]
    preview: Preview

    @property
    def bots(self) -> int:
        """How many bots it concerns, whatever it does to them."""
        p = self.preview
        groups = (p.returns, p.newer_version, p.already_back, p.no_way_back, p.gone)
        return sum(group.bots for group in groups)


class Glance(msgspec.Struct, frozen=True):
    """How many bots of a publication are live, by wave, the newest first: none of them was looked at."""

    live: Mapping[int, int]

    @property
    def bots(self) -> int:
        """How many there are."""
        return sum(self.live.values())


LOOKED_EACH: Final = 200
"""After so many bots a look says how far it is."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What a rollback did: how many bots, by what happened to them, and each publication's state.

    `left` is how many bots it did not come to, or that other sessions had locked until its end.
    """

    bots: Mapping[Back, int]
    states: Mapping[int, str]
    left: int = 0
    interrupted: bool = False

    @property
    def stays(self) -> int:
        """How many bots still answer with a version."""
        return self.left + sum(self.bots.get(name, 0) for name in ("superseded", "no_way_back"))


def glance(engine: sa.Engine, publication_id: int, wave: int | None) -> Glance:
    """How many bots a rollback of a publication, or of a wave of it, concerns: some tenths of a second.

    Raises:
        NotFoundError: there is no such publication or wave.
        TransientError: the database was unavailable.
    """
    with map_database_errors(), engine.connect() as connection:
        _need_known(connection, Which(publication_id=publication_id, wave=wave))
        live = waves.count_live(connection, publication_id, wave)
        return Glance(dict(sorted(live.items(), reverse=True)))


def look(current: Runtime, which: Which, *, at: Callable[[int], None] = lambda _: None) -> Look:
    """What a rollback would do now; changes nothing.

    `at` is told every now and then at how many bots it has looked; what it raises ends the look.

    Raises:
        UsageError: there is no such publication or wave, or a bot was never in one.
        TransientError: the database was unavailable.
    """
    with map_database_errors(), current.engine.begin() as connection:
        _need_known(connection, which)
        return _look(connection, which, current, at)


def need_plan(seen: Look, plan: str | None) -> None:
    """Refuse a plan, the digest of a preview, that is not the one of now; None asks for none.

    Raises:
        ChangedError: it is another one.
    """
    if plan is not None and plan != seen.preview.digest:
        raise ChangedError(
            f"the plan is {seen.preview.digest} now, not {plan}: the bots have changed since, and"
            " nothing was changed"
        )


def roll_back(
    current: Runtime,
    which: Which,
    *,
    digest: str | None,
    actor: str,
    reason: str | None,
    show: Callable[[Moved], None],
    sleep: Sleep = time.sleep,
    because: HeldBecause = "person",
) -> Result:
    """Give the bots back to V1, round after round. Ctrl-C ends it after the batch at work.

    `digest` is that of the preview it was confirmed on: if anything has changed since, nothing is
    done. On repeat what is back stays back; after a kill the next call goes on.

    Raises:
        UsageError: what was confirmed has changed.
        TransientError: the database stayed unavailable; what is back stays back.
    """
    with map_database_errors(), current.engine.begin() as connection:
        ids = begin_locked(connection, which, digest, actor, reason, because, current)
        total = sum(rolling.count_live(connection, one, which) for one in ids)
    work = Rounds(current, which, total, show)
    interrupted = False
    try:
        work.go_round(ids, sleep)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        states, live = _end(
            current.engine, ids, which, actor=actor, reason=reason, counts=work.counts
        )
    log.info("rollback.finished", actor=actor, bots=dict(work.counts), states=states)
    left = max(0, live - work.counts["no_way_back"])
    return Result(bots=dict(work.counts), states=states, left=left, interrupted=interrupted)


# -- before ----------------------------------------------------------------------------------------


def _need_known(connection: sa.Connection, which: Which) -> None:
    publication_id, wave = which.publication_id, which.wave
    if publication_id is not None and not rolling.is_there(connection, publication_id, wave):
        part = "" if wave is None else f" with a wave {wave}"
        raise NotFoundError(f"there is no publication {publication_id}{part}: nothing was changed")
    if which.bot_ids is None:
        return
    if unknown := rolling.never_planned(connection, which.bot_ids):
        more = f" and {len(unknown) - 3:,} more" if len(unknown) > 3 else ""
        raise UsageError(
            f"flowshift never published {', '.join(map(repr, unknown[:3]))}{more}: nothing was changed"
        )


def _look(
    connection: sa.Connection,
    which: Which,
    current: Runtime,
    at: Callable[[int], None] = lambda _: None,
) -> Look:
    ids = rolling.concerned(connection, which)
    problem = v1_problem(current.defaults)

    def bots() -> Iterator[Published]:
        for publication_id in ids:
            yield from previews.published(
                connection,
                publication_id,
                problem,
                wave=which.wave,
                bot_ids=None if which.bot_ids is None else list(which.bot_ids),
            )

    def told() -> Iterator[Published]:
        for number, bot in enumerate(bots()):
            if number % LOOKED_EACH == 0:
                at(number)
            yield bot

    return Look(tuple(ids), preview(told()))


def begin_locked(
    connection: sa.Connection,
    which: Which,
    digest: str | None,
    actor: str,
    reason: str | None,
    because: HeldBecause,
    current: Runtime,
    hold: Hold = any_number,
) -> list[int]:
    """Stop the publications, hold them against the plan, and note who rolls back; returns which.

    `hold` gets the number of bots at stake, once nothing can be published or taken back beside: those on
    which V1 answers again by the plan; without a plan, those that are live.
    """
    ids = rolling.concerned(connection, which)
    rolling.lock(connection, ids)
    if digest is None:
        hold(sum(rolling.count_live(connection, one, which) for one in ids))
    else:
        found = _look(connection, which, current).preview
        if digest != found.digest:
            raise ChangedError(
                f"the bots have changed since the plan {digest}: nothing was changed. Look at the new"
                f" preview (its plan is {found.digest}), then run the command again"
            )
        hold(found.returns.bots)
    for publication_id in ids:
        rolling.begin(connection, publication_id, because=because)
        note(connection, publication_id, "rolling_back", actor, reason, plan=digest)
    return ids


def _end(
    engine: sa.Engine,
    publication_ids: Sequence[int],
    which: Which,
    *,
    actor: str,
    reason: str | None,
    counts: Mapping[Back, int],
) -> tuple[dict[int, str], int]:
    """Each publication's state after it, and how many bots are live still.

    They are counted here, since another rollback may have taken some of them meanwhile.
    """
    states: dict[int, str] = {}
    with map_database_errors(), engine.begin() as connection:
        rolling.lock(connection, publication_ids)
        for publication_id in publication_ids:
            said = reason or f"rolled back by {actor}"
            state = rolling.end(connection, publication_id, which, said)
            if state is not None:
                states[publication_id] = state
                note(connection, publication_id, state, actor, reason, bots=dict(counts))
        live = sum(rolling.count_live(connection, one, which) for one in publication_ids)
    return states, live
