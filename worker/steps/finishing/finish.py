"""Finish: clear V1 of bots that have run V2 for long, or bring it back. In the foreground, as the owner.

    look ─► (a person confirms) ─► batches: lock ─► decide ─► copy, compare, clear ─► commit

A batch commits once: killed at any moment, a bot is either as it was or wholly finished, and the same
command goes on. Bots that another session has locked come again at the end.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import msgspec
import sqlalchemy as sa

from worker.core.counted import counted
from worker.core.publication.finishing import Preview, Rules, left_out, preview, stays
from worker.db import audit
from worker.db.engine import map_database_errors
from worker.db.publication import finishing, finishing_rights
from worker.db.publication.locks import lock_bots
from worker.errors import TransientError
from worker.log import get_logger
from worker.runtime import Runtime
from worker.steps.backup.recent import need_recent_backup

log = get_logger(__name__)

BATCH: Final = 500
LOCK_TIMEOUT_MS: Final = 500
ROUNDS: Final = 20
ROUND_S: Final = 0.5
MOST_FAULTS: Final = 60
"""So many tries in a row may fail because the database is unavailable: half a minute."""

Sleep = Callable[[float], None]


class What(msgspec.Struct, frozen=True, kw_only=True):
    """What a person asked for: these bots or all, cleared by these rules, or brought back."""

    bot_ids: tuple[str, ...] | None = None
    rules: Rules = Rules()
    is_undo: bool = False


class Moved(msgspec.Struct, frozen=True):
    """How many bots were looked at, of about so many; `waiting` says what others wait for."""

    done: int
    total: int
    waiting: str = ""


class Result(msgspec.Struct, frozen=True):
    """How many bots were cleared (or restored), and how many were left out by why."""

    bots: int
    left_out: Mapping[str, int]
    interrupted: bool = False

    @property
    def busy(self) -> int:
        """How many are to come again."""
        return self.left_out.get("busy", 0)


def look(current: Runtime, what: What) -> Preview:
    """What it would do now; changes nothing, locks nothing.

    Raises:
        ConfigError: the role may not do it.
        UsageError: the platform insists on a workflow.
        TransientError: the database was unavailable.
    """
    with map_database_errors(), current.engine.begin() as connection:
        finishing_rights.need_rights(connection)
        if not what.is_undo:
            finishing_rights.need_nullable(connection)
    return preview(_judged(current.engine, what))


def _judged(engine: sa.Engine, what: What) -> Iterator[tuple[str, str | None]]:
    for page in _pages(engine, what):
        with map_database_errors(), engine.begin() as connection:
            judged = _decide(connection, page, what)
        yield from judged


def _pages(engine: sa.Engine, what: What) -> Iterator[list[str]]:
    """The bots that were asked for, page by page, each read in a transaction of its own."""
    if what.bot_ids is not None:
        ids = sorted(set(what.bot_ids))
        yield from (ids[at : at + finishing.PAGE] for at in range(0, len(ids), finishing.PAGE))
        return
    after = ""
    while True:
        with map_database_errors(), engine.begin() as connection:
            page = finishing.candidates(connection, after, are_finished=what.is_undo)
        if not page:
            return
        yield page
        after = page[-1]


def _decide(
    connection: sa.Connection, bot_ids: Sequence[str], what: What
) -> list[tuple[str, str | None]]:
    """Each of these bots with why it is left out, as committed now."""
    if what.is_undo:
        return [(one.bot_id, stays(one)) for one in finishing.archived(connection, bot_ids)]
    return [(one.bot_id, left_out(one, what.rules)) for one in finishing.facts(connection, bot_ids)]


def need_backup(current: Runtime, bots: int) -> None:
    """Raise UsageError unless the database was backed up, and that verified, in the last 24 hours."""
    with map_database_errors(), current.engine.connect() as connection:
        need_recent_backup(connection, f"V1 of {bots:,} {'bot' if bots == 1 else 'bots'} is to go")


def finish(
    current: Runtime,
    what: What,
    *,
    actor: str,
    reason: str | None,
    total: int,
    show: Callable[[Moved], None],
    sleep: Sleep = time.sleep,
) -> Result:
    """Clear or restore batch by batch. Ctrl-C ends it: the batch at work is wholly done or not at all.

    On repeat what is done stays done, and the rest is taken up.

    Raises:
        UsageError: clearing without a recently verified backup; the platform insists on a workflow.
        BotError: what was written is not what is stored; its batch was taken back.
        TransientError: the database stayed unavailable; what is done stays done.
    """
    if not what.is_undo:
        need_backup(current, total)
    word = "undone" if what.is_undo else "cleared"
    _note(current.engine, actor, "begun", reason, {"undo": what.is_undo, "bots": total})
    counts: Counter[str] = Counter()
    work = _Work(current.engine, what, actor, counts, total, show, sleep)
    interrupted = False
    try:
        work.do()
    except KeyboardInterrupt:
        interrupted = True
    finally:
        done = counts.pop("done", 0)
        _note(current.engine, actor, word, reason, {"bots": done, "left_out": dict(counts)})
    log.info("finish.ended", actor=actor, undo=what.is_undo, bots=done, left_out=dict(counts))
    return Result(done, dict(counts), interrupted)


class _Work:
    """One finish or undo, all of its batches."""

    def __init__(
        self,
        engine: sa.Engine,
        what: What,
        actor: str,
        counts: Counter[str],
        total: int,
        show: Callable[[Moved], None],
        sleep: Sleep,
    ) -> None:
        self._engine = engine
        self._what = what
        self._actor = actor
        self._counts = counts
        self._total = total
        self._show = show
        self._sleep = sleep

    def do(self) -> None:
        """Every page once, then those that were locked, until none is left or it takes too long."""
        busy: list[str] = []
        self._show(Moved(0, self._total))
        for page in _pages(self._engine, self._what):
            busy += self._batches(page)
        for _ in range(ROUNDS):
            if not busy:
                break
            self._show(
                Moved(
                    self._counts["done"],
                    self._total,
                    f"{counted(len(busy), 'bot is', 'bots are')} locked",
                )
            )
            self._sleep(ROUND_S)
            busy = self._batches(busy)
        if busy:
            self._counts["busy"] = len(busy)

    def _batches(self, bot_ids: list[str]) -> list[str]:
        """Do these bots; returns those that were locked."""
        busy: list[str] = []
        for start in range(0, len(bot_ids), BATCH):
            busy += self._patiently(bot_ids[start : start + BATCH])
            self._show(Moved(self._counts["done"], self._total))
        return busy

    def _patiently(self, bot_ids: list[str]) -> list[str]:
        for fault in range(MOST_FAULTS):
            try:
                return self._batch(bot_ids)
            except TransientError as error:
                if fault == MOST_FAULTS - 1:
                    raise
                self._show(Moved(self._counts["done"], self._total, str(error)))
                self._sleep(ROUND_S)
        return bot_ids

    def _batch(self, bot_ids: list[str]) -> list[str]:
        """One transaction. Returns the bots that were to go and that another session has locked."""
        with map_database_errors(), self._engine.begin() as connection:
            connection.execute(sa.text(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}"))
            before = _decide(connection, bot_ids, self._what)
            wanted = [bot_id for bot_id, why in before if why is None]
            locked = lock_bots(connection, wanted)
            # Read again: what was committed before the lock is seen only now.
            judged = _decide(connection, sorted(locked), self._what)
            going = [bot_id for bot_id, why in judged if why is None]
            if self._what.is_undo:
                finishing.restore(connection, going)
            else:
                finishing.clear(connection, going, actor=self._actor)
        self._counts["done"] += len(going)
        self._counts.update(why for _, why in (*before, *judged) if why is not None)
        return sorted(set(wanted) - locked)


def _note(
    engine: sa.Engine, actor: str, word: str, reason: str | None, detail: dict[str, object]
) -> None:
    with map_database_errors(), engine.begin() as connection:
        audit.record(connection, None, actor, f"finish.{word}", reason, detail)
