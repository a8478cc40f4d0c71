"""Prune: delete what is older than it has to be kept.

    lock ─► write it down ─► old partitions ─► executions, oldest first ─► flowshift's own ─► end

One prune goes on at a time, in batches that are transactions of their own (worker/steps/prune/session.py).
What is deleted stays deleted however the prune ends; the next one begins with what is oldest then.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa

from worker.core.policy.prune import DAY_S
from worker.db.engine import map_database_errors
from worker.db.prune import executions as table
from worker.db.prune import own, partitions, publications, record
from worker.db.prune.record import Prune, PruneState
from worker.db.session import has_own
from worker.errors import StaleError, TransientError
from worker.log import get_logger
from worker.steps.prune.errors import LeftError, StoppedError
from worker.steps.prune.executions import delete_executions
from worker.steps.prune.own import delete_own
from worker.steps.prune.partitions import Dropper
from worker.steps.prune.session import Session
from worker.steps.prune.tally import Moved, Tally

log = get_logger(__name__)

COUNTED_AT_A_TIME: Final = 5_000
"""Runs that a dry run counts in one statement."""


class Keep(msgspec.Struct, frozen=True, kw_only=True):
    """How long records are kept, in seconds, by kind."""

    executions_s: int = 30 * DAY_S
    runs_s: int = 90 * DAY_S
    ledger_s: int = 90 * DAY_S
    audit_s: int = 365 * DAY_S


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What a prune came to, or what it would delete (`dry_run`).

    `gone` counts by kind: `runs` and `nodes` (executions), `bytes` of both, `partitions`, and of
    flowshift's own `ledger`, `batches`, `own_runs`, `audit`, `proofs`, `gate_readings`, `gate_counts`;
    `kept` are execution runs before the cut-off that stayed, being locked or referred to. `unfinished`: a
    later call goes on; at once, where it is only `is_out_of_time`.
    """

    state: Literal["done", "stopped", "unfinished"]
    reason: str | None
    dry_run: bool
    interrupted: bool
    cutoffs: dict[str, dt.datetime]
    gone: dict[str, int]
    partitions: tuple[str, ...]
    batches: int
    longest_ms: int
    duration_s: float
    prune_id: int | None = None
    is_out_of_time: bool = False


def prune(
    engine: sa.Engine,
    keep: Keep,
    *,
    actor: str,
    slot: dt.datetime | None = None,
    forget_run: Callable[[int], None] = lambda _: None,
    **pace: Any,
) -> Result:
    """Delete what is older than `keep` says by the database's clock.

    With `slot` the prune is that slot's: it is done once, and goes on where an earlier call left
    off, with the same cut-offs. `forget_run` is called for each run of flowshift's own that is gone.
    `pace` is what a `Session` takes. Ctrl-C ends it in an orderly way: see `Result.interrupted`.

    Raises:
        StaleError: another prune is under way, or the one of `slot` is over.
        TransientError: the database stayed unavailable; what is deleted stays deleted.
        ConfigError: the role lacks a right.
    """
    session = Session(engine, **pace)
    dropped: list[str] = []
    with session.locked():
        with session.reading() as connection:
            cutoffs = _cutoffs(connection, keep)
            begun = record.begin(connection, actor=actor, cutoffs=cutoffs, slot=slot)
        if begun is None:
            raise StaleError("the prune of this day is over")
        session.prune_id = begun.prune_id
        with _ended(engine, session, begun, actor) as ending:
            _prune_executions(session, begun.cutoffs["executions"], dropped)
            delete_own(session, begun.cutoffs, forget_run)
    with map_database_errors(), engine.connect() as connection:
        now = record.get(connection, begun.prune_id)
    return Result(
        **ending,
        batches=session.batches,
        longest_ms=round(session.longest_ms),
        duration_s=round(session.tally.elapsed_s, 3),
        dry_run=False,
        cutoffs=now.cutoffs,
        gone=now.gone,
        partitions=tuple(dropped),
        prune_id=begun.prune_id,
    )


def look(
    engine: sa.Engine, keep: Keep, *, show: Callable[[Moved], None] = lambda _: None
) -> Result:
    """Count what `prune` would delete now; deletes and records nothing."""
    tally = Tally(show, time.monotonic)
    with map_database_errors(), engine.connect() as connection:
        cutoffs = _cutoffs(connection, keep)
        dropped = _count_executions(connection, cutoffs["executions"], tally)
        kinds = ("ledger", "runs", "audit")
        tally.add(own.count(connection, **{kind: cutoffs[kind] for kind in kinds}))
        tally.add(publications.count(connection, ledger=cutoffs["ledger"], runs=cutoffs["runs"]))
    return Result(
        state="done",
        reason=None,
        dry_run=True,
        interrupted=False,
        cutoffs=cutoffs,
        gone={kind: number for kind, number in tally.gone.items() if number},
        partitions=dropped,
        batches=0,
        longest_ms=0,
        duration_s=round(tally.elapsed_s, 3),
    )


def _count_executions(
    connection: sa.Connection, cutoff: dt.datetime, tally: Tally
) -> tuple[str, ...]:
    """Count old executions; returns the partitions that would be dropped: none through a pooler."""
    executions = table.find(connection, cutoff)
    old = [one for one in partitions.old(connection, executions) if not one.obstacle]
    if not has_own(connection):
        old = []
    tally.total = table.estimate(connection, executions)
    dropped, after = [oid for one in old for oid in one.leaves], table.START
    while after is not None:
        connection.rollback()  # a transaction of its own for each page: none is long
        piece = table.count_page(
            connection, executions, after=after, size=COUNTED_AT_A_TIME, dropped=dropped
        )
        after = piece.mark
        tally.add(piece.gone)
    tally.add({"partitions": len(old), "bytes": sum(one.octets for one in old)})
    return tuple(one.name for one in old)


def _prune_executions(session: Session, cutoff: dt.datetime, dropped: list[str]) -> None:
    """Drop old partitions, whose names `dropped` gets, then delete what is left by rows."""
    with session.reading() as connection:
        executions = table.find(connection, cutoff)
        session.tally.total = table.estimate(connection, executions)
        old = partitions.old(connection, executions)
    session.tally.tell()
    if session.has_own_session:
        dropper = Dropper(session, executions)
        dropper.finish_earlier()
        dropped += dropper.drop(old)
    kept = delete_executions(session, executions)
    with session.reading() as connection:
        record.add(connection, session.prune_id, {"kept": kept})


@contextmanager
def _ended(
    engine: sa.Engine, session: Session, begun: Prune, actor: str
) -> Iterator[dict[str, Any]]:
    """Record how the block ended. Yields what becomes known of that."""
    ending: dict[str, Any] = {"state": "done", "reason": None, "interrupted": False}

    def end(state: PruneState, reason: str | None) -> None:
        # On a connection of its own: the one that pruned may be in the middle of something.
        with map_database_errors(), engine.begin() as connection:
            ended = record.end(connection, begun.prune_id, state, reason=reason, actor=actor)
        log.info(
            "prune.finished",
            prune_id=ended.prune_id,
            state=state,
            reason=reason,
            cutoff=ended.cutoffs["executions"].isoformat(),
            **{f"gone_{kind}": number for kind, number in ended.gone.items()},
            batches=session.batches,
            longest_ms=round(session.longest_ms),
            duration_s=round(session.tally.elapsed_s, 3),
        )

    try:
        yield ending
    except LeftError as why:
        if begun.slot is not None:
            ending |= {"state": "unfinished", "reason": str(why)}
            ending["is_out_of_time"] = why.is_out_of_time
            return
        ending |= {"state": "stopped", "reason": str(why)}
    except StoppedError as why:
        ending |= {"state": "stopped", "reason": str(why)}
    except KeyboardInterrupt:
        ending |= {"state": "stopped", "reason": "interrupted", "interrupted": True}
    except (TransientError, StaleError, SystemExit) as error:
        if begun.slot is None:  # no later call goes on with it
            end("stopped", str(error))
        raise
    except BaseException as error:
        end("stopped", f"{type(error).__name__}: {error}"[:500])
        raise
    end(ending["state"], ending["reason"])


def _cutoffs(connection: sa.Connection, keep: Keep) -> dict[str, dt.datetime]:
    """By kind, the time before which records are deleted; what was created at that very time stays."""
    now = table.now(connection)
    ages_s: dict[str, int] = msgspec.structs.asdict(keep)
    return {
        kind.removesuffix("_s"): now - dt.timedelta(seconds=age_s) for kind, age_s in ages_s.items()
    }
