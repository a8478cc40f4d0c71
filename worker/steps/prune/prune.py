"""Prune: delete what is older than it has to be kept.

    lock ─► write it down ─► old partitions ─► executions, oldest first ─► flowshift's own ─► end

One prune goes on at a time, in batches that are transactions of their own (worker/steps/prune/session.py).
What is deleted stays deleted however the prune ends; the next one begins with what is oldest then.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa

from worker.core.policy.health import Verdict
from worker.core.policy.retention import DAY_S, eta_s
from worker.db.engine import map_database_errors
from worker.db.prune import deletion, own, partitions, record
from worker.db.prune import executions as retention
from worker.db.prune.executions import START, Executions, Piece
from worker.db.prune.own import Page
from worker.db.prune.partitions import Old
from worker.db.prune.record import Prune, PruneState
from worker.errors import StaleError, TransientError
from worker.log import get_logger
from worker.steps.prune.partitions import Dropper
from worker.steps.prune.session import Gate, LeftError, Paced, StoppedError, TooMuchError, always_go

log = get_logger(__name__)

COUNTED_AT_A_TIME: Final = 5_000
"""Runs that a dry run counts in one statement."""


REFUSALS: Final = 100
"""So many executions in a row that a constraint or a trigger keeps end a prune: there will be more."""


class Keep(msgspec.Struct, frozen=True, kw_only=True):
    """How long records are kept, in seconds, by kind."""

    executions_s: int = 30 * DAY_S
    runs_s: int = 90 * DAY_S
    ledger_s: int = 90 * DAY_S
    audit_s: int = 365 * DAY_S


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """How far a prune is. `total` is an estimate of the execution runs to delete, `rate` theirs a
    second; `waiting` is what the gate said, where it lets nothing through.
    """

    runs: int
    nodes: int
    octets: int
    total: int
    rate: float
    eta_s: float | None
    waiting: Verdict | None = None


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What a prune came to, or what it would delete (`dry_run`).

    `gone` counts by kind: `runs` and `nodes` (executions), `bytes` of both, `partitions`, and of
    flowshift's own `ledger`, `batches`, `own_runs`, `audit`; `kept` are execution runs before the
    cut-off that stayed, being locked or referred to. `unfinished`: a later call goes on; at once,
    where it is only `is_out_of_time`.
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
    gate: Gate = always_go,
    slot: dt.datetime | None = None,
    pause_s: float = 0.01,
    slice_s: float | None = None,
    patient: bool = True,
    show: Callable[[Moved], None] = lambda _: None,
    forget_run: Callable[[int], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Result:
    """Delete what is older than `keep` says by the database's clock.

    With `slot` the prune is that slot's: it is done once, and goes on where an earlier call left
    off, with the same cut-offs. `slice_s` is how long this call may take, None without limit; with
    `patient` false it leaves when the gate says wait. `forget_run` is called for each run of
    flowshift's own that is gone. Ctrl-C ends it in an orderly way: see `Result.interrupted`.

    Raises:
        StaleError: another prune is under way, or the one of `slot` is over.
        TransientError: the database stayed away; what is deleted stays deleted.
        ConfigError: the role lacks a right.
    """
    pruner = _Pruner(
        engine, actor=actor, gate=gate, pause_s=pause_s, show=show, clock=clock, sleep=sleep,
        until=None if slice_s is None else clock() + slice_s, patient=patient,
    )  # fmt: skip
    return pruner.run(keep, slot, forget_run)


def look(
    engine: sa.Engine, keep: Keep, *, show: Callable[[Moved], None] = lambda _: None
) -> Result:
    """Count what `prune` would delete now; deletes and records nothing."""
    began = time.monotonic()
    with map_database_errors(), engine.connect() as connection:
        cutoffs = _cutoffs(connection, keep)
        executions = retention.find(connection)
        old = [
            partition
            for partition in partitions.old(connection, executions, cutoffs["executions"])
            if not partition.obstacle
        ]
        gone = _counted(connection, executions, cutoffs["executions"], old, show)
        gone |= own.count(
            connection, **{kind: cutoffs[kind] for kind in ("ledger", "runs", "audit")}
        )
    return Result(
        state="done",
        reason=None,
        dry_run=True,
        interrupted=False,
        cutoffs=cutoffs,
        gone={kind: number for kind, number in gone.items() if number},
        partitions=tuple(partition.name for partition in old),
        batches=0,
        longest_ms=0,
        duration_s=round(time.monotonic() - began, 3),
    )


def _counted(
    connection: sa.Connection,
    executions: Executions,
    cutoff: dt.datetime,
    old: Sequence[Old],
    show: Callable[[Moved], None],
) -> dict[str, int]:
    began, after = time.monotonic(), START
    total = retention.estimate(connection, executions, cutoff)
    dropped = [oid for partition in old for oid in partition.leaves]
    gone = {"runs": 0, "nodes": 0, "bytes": 0, "kept": 0}
    while True:
        connection.rollback()  # a transaction of its own for each page: none is long
        piece = retention.count_page(
            connection, executions, cutoff, after=after, size=COUNTED_AT_A_TIME, dropped=dropped
        )
        if piece.mark is None:
            gone["partitions"] = len(old)
            gone["bytes"] += sum(partition.octets for partition in old)
            return gone
        after = piece.mark
        _add(gone, _of_piece(piece))
        gone["kept"] += piece.seen - piece.runs
        show(_moved(gone, total, time.monotonic() - began))


class _Pruner:
    """One call of `prune`."""

    def __init__(
        self,
        engine: sa.Engine,
        *,
        actor: str,
        gate: Gate,
        pause_s: float,
        until: float | None,
        patient: bool,
        show: Callable[[Moved], None],
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._engine = engine
        self._actor = actor
        self._show = show
        self._clock = clock
        self._began = clock()
        self._gone = {"runs": 0, "nodes": 0, "bytes": 0}
        self._total = 0
        self._paced = Paced(
            engine, gate=gate, pause_s=pause_s, until=until, patient=patient,
            waiting=self._tell, clock=clock, sleep=sleep,
        )  # fmt: skip
        self._dropped: list[str] = []

    def run(
        self, keep: Keep, slot: dt.datetime | None, forget_run: Callable[[int], None]
    ) -> Result:
        with self._paced.locked():
            with self._paced.reading() as connection:
                begun = record.begin(
                    connection, actor=self._actor, cutoffs=_cutoffs(connection, keep), slot=slot
                )
            if begun is None:
                raise StaleError("the prune of this day is over")
            self._paced.prune_id = begun.prune_id
            with self._ended(begun) as ending:
                self._executions(begun.cutoffs["executions"])
                self._own(begun.cutoffs, forget_run)
        return self._result(begun, ending)

    @contextmanager
    def _ended(self, begun: Prune) -> Iterator[dict[str, Any]]:
        """Record how the block ended. Yields what becomes known of that."""
        ending: dict[str, Any] = {"state": "done", "reason": None, "interrupted": False}
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
            if begun.slot is None:  # nobody goes on with it
                self._end(begun, "stopped", str(error))
            raise
        except BaseException as error:
            self._end(begun, "stopped", f"{type(error).__name__}: {error}"[:500])
            raise
        self._end(begun, ending["state"], ending["reason"])

    def _end(self, begun: Prune, state: PruneState, reason: str | None) -> None:
        # On a connection of its own: the one that pruned may be in the middle of something.
        with map_database_errors(), self._engine.begin() as connection:
            ended = record.end(connection, begun.prune_id, state, reason=reason, actor=self._actor)
        log.info(
            "prune.finished",
            prune_id=ended.prune_id,
            state=state,
            reason=reason,
            cutoff=ended.cutoffs["executions"].isoformat(),
            **{f"gone_{kind}": number for kind, number in ended.gone.items()},
            batches=self._paced.batches,
            longest_ms=round(self._paced.longest_ms),
            duration_s=round(self._clock() - self._began, 3),
        )

    def _result(self, begun: Prune, ending: Mapping[str, Any]) -> Result:
        with map_database_errors(), self._engine.connect() as connection:
            now = record.get(connection, begun.prune_id)
        return Result(
            **ending,
            dry_run=False,
            cutoffs=now.cutoffs,
            gone=now.gone,
            partitions=tuple(self._dropped),
            batches=self._paced.batches,
            longest_ms=round(self._paced.longest_ms),
            duration_s=round(self._clock() - self._began, 3),
            prune_id=begun.prune_id,
        )

    # -- executions --------------------------------------------------------------------------------

    def _executions(self, cutoff: dt.datetime) -> None:
        with self._paced.reading() as connection:
            executions = retention.find(connection)
            self._total = retention.estimate(connection, executions, cutoff)
            old = partitions.old(connection, executions, cutoff)
        self._tell()
        if self._paced.has_own_session:
            dropper = Dropper(self._paced, executions, cutoff, counted=self._count)
            dropper.finish_earlier()
            self._dropped += dropper.drop(old)
        kept = self._rows(executions, cutoff)
        if kept:
            with self._paced.reading() as connection:
                record.add(connection, self._paced.prune_id, {"kept": kept})

    def _rows(self, executions: Executions, cutoff: dt.datetime) -> int:
        """Delete by rows until nothing more can be; returns how many old runs stayed.

        Once more after a pass that both deleted and kept: what was kept may have been referred to
        by what is gone now.
        """
        while True:
            gone, kept = self._pass(executions, cutoff)
            if not (gone and kept and executions.references.where):
                return kept

    def _pass(self, executions: Executions, cutoff: dt.datetime) -> tuple[int, int]:
        self._paced.begin_part()
        with self._paced.reading() as connection:
            since = retention.oldest(connection, executions, cutoff)
        gone, kept, refused = 0, 0, 0
        passed: list[str] = []
        stuck: tuple[str, ...] = ()
        while since is not None:
            try:
                piece = self._delete(executions, cutoff, since, (*passed, *stuck))
            except TooMuchError as error:
                run_id = self._give_way(executions, cutoff, since, (*passed, *stuck), error)
                if run_id is not None:
                    passed.append(run_id)
                    kept += 1
                    log.warning("execution.kept", execution_id=run_id, reason=str(error))
                refused += error.is_refused
                if refused >= REFUSALS:
                    raise StoppedError(
                        f"{refused} executions in a row cannot go: {error}"
                    ) from error
                continue
            gone, refused = gone + piece.runs, 0
            kept += piece.seen - piece.runs
            stuck = (*stuck, *piece.stuck) if piece.mark == since else piece.stuck
            since = piece.mark
        return gone, kept

    def _delete(
        self, executions: Executions, cutoff: dt.datetime, since: str, passed: tuple[str, ...]
    ) -> Piece:
        piece = self._paced.batch(
            lambda connection, size: deletion.delete_batch(
                connection, executions, cutoff, since=since, stuck=passed, size=size
            ),
            _of_piece,
        )
        self._count(piece)
        return piece

    def _give_way(
        self,
        executions: Executions,
        cutoff: dt.datetime,
        since: str,
        passed: tuple[str, ...],
        error: TooMuchError,
    ) -> str | None:
        """Deal with a run that is too much for a batch of its own; returns it if it has to stay.

        Where it has too many nodes they are deleted in batches of their own; where it or its nodes
        are locked, or may not be deleted, it is passed over.
        """
        with self._paced.reading() as connection:
            run_id = retention.first_run(connection, executions, cutoff, since=since, stuck=passed)
        if run_id is None or error.is_locked or error.is_refused:
            return run_id
        deleted = 0
        try:
            while piece := self._delete_nodes(executions, run_id):
                deleted += piece.nodes
        except TooMuchError:
            return run_id
        return None if deleted else run_id

    def _delete_nodes(self, executions: Executions, run_id: str) -> Piece | None:
        piece = self._paced.batch(
            lambda connection, size: deletion.delete_nodes(
                connection, executions, run_id, size=size
            ),
            _of_piece,
        )
        self._count(piece)
        return piece if piece.nodes else None

    def _count(self, piece: Piece) -> None:
        _add(self._gone, _of_piece(piece))
        self._tell()

    def _tell(self, waiting: Verdict | None = None) -> None:
        moved = _moved(self._gone, self._total, self._clock() - self._began)
        self._show(msgspec.structs.replace(moved, waiting=waiting))

    # -- our own -----------------------------------------------------------------------------------

    def _own(self, cutoffs: Mapping[str, dt.datetime], forget_run: Callable[[int], None]) -> None:
        while (run_id := self._next(own.run_to_thin, cutoffs["ledger"])) is not None:
            self._thin(run_id)
        while (run_id := self._next(own.run_to_delete, cutoffs["runs"])) is not None:
            self._delete_run(run_id)
            forget_run(run_id)
        self._until_empty("audit", lambda c, size: own.delete_audit(c, cutoffs["audit"], size=size))
        self._until_empty(
            "prunes", lambda c, size: own.delete_prunes(c, cutoffs["audit"], size=size)
        )

    def _thin(self, run_id: int) -> None:
        self._paced.begin_part()
        after: str | None = None
        while True:
            page = self._paced.batch(
                lambda connection, size, after=after: own.thin_ledger(  # type: ignore[misc]
                    connection, run_id, after=after, size=size
                ),
                lambda page: {"ledger": page.gone},
            )
            if page.mark is None:
                break
            after = page.mark
        with self._paced.reading() as connection:
            own.thinned(connection, run_id)

    def _delete_run(self, run_id: int) -> None:
        self._until_empty("batches", lambda c, size: own.delete_batches(c, run_id, size=size))
        self._paced.batch(
            lambda connection, _: own.delete_run(connection, run_id),
            lambda page: {"own_runs": page.gone},
        )

    def _until_empty(self, kind: str, work: Callable[[sa.Connection, int], Page]) -> None:
        self._paced.begin_part()
        while self._paced.batch(work, lambda page: {kind: page.gone}).gone:
            pass

    def _next(
        self, find: Callable[[sa.Connection, dt.datetime], int | None], before: dt.datetime
    ) -> int | None:
        with self._paced.reading() as connection:
            return find(connection, before)


def _cutoffs(connection: sa.Connection, keep: Keep) -> dict[str, dt.datetime]:
    """By kind, the time before which records are deleted; what was created at that very time stays."""
    now = retention.now(connection)
    seconds = {
        "executions": keep.executions_s,
        "runs": keep.runs_s,
        "ledger": keep.ledger_s,
        "audit": keep.audit_s,
    }
    return {kind: now - dt.timedelta(seconds=age_s) for kind, age_s in seconds.items()}


def _of_piece(piece: Piece) -> dict[str, int]:
    return {"runs": piece.runs, "nodes": piece.nodes, "bytes": piece.octets}


def _add(gone: dict[str, int], more: Mapping[str, int]) -> None:
    for kind, number in more.items():
        gone[kind] = gone.get(kind, 0) + number


def _moved(gone: Mapping[str, int], total: int, elapsed_s: float) -> Moved:
    rate = gone["runs"] / elapsed_s if elapsed_s > 0 else 0.0
    total = max(total, gone["runs"])
    return Moved(
        runs=gone["runs"],
        nodes=gone["nodes"],
        octets=gone["bytes"],
        total=total,
        rate=rate,
        eta_s=eta_s(total - gone["runs"], rate),
    )
