"""Publish a batch: the drafts of its bots become their live versions, all in one transaction.

claim ─► ask the platform ─► lock, read anew, decide ─┐
             version, flag, draft ─► ledger, counters, its end ◄┘ commit
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Final

import msgspec
import sqlalchemy as sa

from worker.core.publication.eligibility import Heard
from worker.core.publication.states import OVER
from worker.db import batches, run_transitions
from worker.db.batches import Batch
from worker.db.engine import map_database_errors
from worker.db.ledger import LedgerRow
from worker.db.publication import waves
from worker.db.publication.locks import lock_state
from worker.db.publication.publish import Outcome, publish_bots
from worker.errors import StaleError, UsageError
from worker.log import get_logger
from worker.runtime import Runtime
from worker.steps.batch.hear import hear_platform
from worker.steps.batch.kind import Kind
from worker.steps.batch.lifecycle import at_work, end_batch, ending
from worker.steps.batch.tally import Report
from worker.steps.publication.follow_run import let_go_on
from worker.steps.publication.rules import rules_of
from worker.steps.publication.settle import settle
from worker.steps.publication.v1 import v1_problem
from worker.steps.request import Request

log = get_logger(__name__)


def publish_batch(batch: Batch, runtime: Runtime) -> Report:
    """Publish the bots of a claimed batch.

    Raises:
        StaleError: it went to another worker, or its publication is not publishing: then the batch
            is given back, and its run paused, or cancelled if the publication is over.
        LockedError: other sessions have every bot of it locked; nothing was published.
        TransientError: the database was away or busy; nothing was published.
    """
    started = time.monotonic()
    with at_work(runtime, batch):
        place = _place(runtime.engine, batch)
        heard = hear_platform(runtime, place[0], batch.bot_ids or ())
        with ending(runtime, batch) as end:
            lock_state(end.connection, place[0], alone=False)
            publication = waves.get(end.connection, place[0])
            is_open = publication is not None and publication.state == "publishing"
            if publication is not None and is_open:
                report = _save(
                    end.connection, batch, publication, place[1], runtime, heard, started
                )
                end.counted(report)
        if not is_open:
            _give_back(runtime.engine, batch, place[0])
            raise StaleError(f"publication {place[0]} is not publishing: {batch.ref} waits")
    settle(runtime.engine, *place)
    report = end.timed(report)
    log.info(
        "batch.published",
        run_id=batch.run_id,
        batch=batch.number,
        attempt=report.attempt,
        **{f"bots_{name}": n for name, n in msgspec.structs.asdict(report.counts).items()},
        duration_ms=report.duration_ms,
    )
    return report


def _check(_: Request) -> None:
    raise UsageError("a publication is started by `flowshift publish`")


PUBLISH: Final = Kind(
    name="publish",
    run=publish_batch,
    check=_check,
    default_trials=lambda _: "none",
    mark="publication",
    outcomes=("published", "skipped", "failed"),
)
"""A wave of a publication."""


def _place(engine: sa.Engine, batch: Batch) -> tuple[int, int]:
    with engine.connect() as connection:
        place = waves.of_run(connection, batch.run_id)
    if place is None:
        raise StaleError(f"run {batch.run_id} publishes no wave")
    return place


def _save(
    connection: sa.Connection,
    batch: Batch,
    publication: waves.Publication,
    wave: int,
    runtime: Runtime,
    heard: Mapping[str, Heard] | None,
    started: float,
) -> Report:
    options = publication.options
    outcomes = publish_bots(
        connection,
        publication.publication_id,
        batch.bot_ids or (),
        rules=rules_of(runtime, options, asks_platform=heard is not None),
        next_draft=options.next_draft,
        v1_problem=v1_problem(runtime.defaults),
        heard=heard or {},
    )
    counted = Counter(one.state for one in outcomes)
    waves.count(
        connection,
        publication.publication_id,
        wave,
        published=counted["published"],
        skipped=counted["skipped"],
    )
    rows = [_row(one) for one in outcomes if one.state != "busy"]
    locked = [one.bot_id for one in outcomes if one.state == "busy"]
    return end_batch(connection, batch, rows, locked=locked, started=started)


def _row(one: Outcome) -> LedgerRow:
    if one.refusal is not None:
        return LedgerRow(one.bot_id, "skipped", one.refusal.code, one.refusal.message)
    return LedgerRow(one.bot_id, "published")


def _give_back(engine: sa.Engine, batch: Batch, publication_id: int) -> None:
    """Give back a batch whose publication waits or is over, and let its run wait or end too.

    One that is held for its health goes on instead: that its run claims a batch shows that it may.
    """
    with map_database_errors(), engine.begin() as connection:
        lock_state(connection, publication_id, alone=True)
        found = waves.get(connection, publication_id)
        goes_on = found is not None and let_go_on(connection, found, "flowshift")
        if not goes_on and (found is None or found.state != "publishing"):
            is_over = found is None or found.state in OVER
            run_transitions.apply(
                connection,
                batch.run_id,
                "cancelled" if is_over else "paused",
                reason=f"publication {publication_id} is {found.state if found else 'not there'}",
                actor="flowshift",
            )
        batches.give_back(connection, batch)
