"""Roll back by workers: a run for each publication, whose last batch ends the rollback.

detach: stop the publication, plan batches ─► workers: batches ─► end_rollback, with the run's end
"""

from __future__ import annotations

import uuid
from typing import Final

import msgspec
import sqlalchemy as sa

from worker.core.publication.states import HeldBecause
from worker.core.targets.convert import CONVERTER_VERSION
from worker.db import run_transitions, runs
from worker.db.bulk import driver
from worker.db.engine import map_database_errors
from worker.db.publication import rolling
from worker.db.publication.rolling import Which
from worker.db.runs import Run, RunOptions
from worker.runtime import Runtime
from worker.steps import request_ids
from worker.steps.publication.rollback import Hold, any_number, begin_locked
from worker.steps.publication.state import note

BATCH: Final = 1_000


class Detached(msgspec.Struct, frozen=True):
    """A publication that goes back, and the run that does it; None if nothing of it was live."""

    publication_id: int
    run_id: int | None
    bots: int


def detach(
    current: Runtime,
    which: Which,
    *,
    digest: str | None,
    actor: str,
    reason: str | None,
    because: HeldBecause = "person",
    request_id: str | None = None,
    hold: Hold = any_number,
) -> list[Detached]:
    """Stop the publications and plan a run for each, the newest first; enqueue their batches afterwards.

    One transaction. `digest` is that of the preview it was confirmed on: if anything has changed
    since, nothing is done. `hold` is told how many bots are at stake under the lock, and raises if it
    were not these that were confirmed. On repeat what is back stays back, and a further run does the
    rest; with the same `request_id` no run is made twice (`of_request` finds them).

    Raises:
        ChangedError: what was confirmed has changed.
        ConflictError: another request has this id.
        TransientError: the database was unavailable; nothing was done.
    """
    key = request_id or str(uuid.uuid4())
    with map_database_errors(), current.engine.begin() as connection:
        ids = begin_locked(connection, which, digest, actor, reason, because, current, hold)
        return [_plan(connection, one, which, actor, reason, key) for one in ids]


def of_request(engine: sa.Engine, which: Which, request_id: str) -> list[Run]:
    """The runs that a rollback of this request id made, the newest publication's first.

    Raises:
        ConflictError: another request has this id.
        TransientError: the database was unavailable.
    """
    with map_database_errors(), engine.connect() as connection:
        request_ids.need_free(connection, request_id, "rollback")
        ids = connection.execute(_OF_REQUEST, {"key": request_id}).scalars()
        found = (runs.get(connection, run_id) for run_id in ids.all())
        its = [run for run in found if run is not None]
    for run in its:
        _need_same(request_id, run, which)
    return its


def _need_same(request_id: str, run: Run, which: Which) -> None:
    name, kept = f"run {run.run_id}", run.options.request_digest
    request_ids.need_same(request_id, name, kept, request_ids.digest(which))


# One look into the unique index of request ids for each publication: there are few.
_OF_REQUEST: Final = sa.text("""
    SELECT r.run_id FROM flowshift.publications p
    JOIN flowshift.runs r ON r.request_id = 'rollback-' || p.publication_id || '-' || CAST(:key AS text)
    WHERE r.kind = 'roll_back' ORDER BY p.publication_id DESC
""")


_BATCHES: Final = """
    INSERT INTO flowshift.batches (run_id, number, bot_ids, bot_count)
    SELECT %(run_id)s, 1 + slice, array_agg(bot_id ORDER BY bot_id), count(*) FROM (
        SELECT bot_id, (row_number() OVER (ORDER BY wave DESC, bot_id DESC) - 1) / %(size)s AS slice
        FROM flowshift.publication_bots
        WHERE publication_id = %(id)s AND state IN ('published', 'confirmed')
          AND (%(wave)s::int IS NULL OR wave = %(wave)s)
          AND (%(bot_ids)s::text[] IS NULL OR bot_id = ANY(%(bot_ids)s))
    ) s GROUP BY slice
    RETURNING bot_count
"""


def _plan(
    connection: sa.Connection,
    publication_id: int,
    which: Which,
    actor: str,
    reason: str | None,
    key: str,
) -> Detached:
    if not rolling.count_live(connection, publication_id, which):
        # A rollback was killed after its last batch: all that is missing is its end.
        rolling.end(connection, publication_id, which, reason or f"rolled back by {actor}")
        return Detached(publication_id, None, 0)
    run, is_new = runs.create(
        connection,
        request_id=f"rollback-{publication_id}-{key}",
        kind="roll_back",
        options=RunOptions(
            selection="all" if which.bot_ids is None else "listed",
            publication=publication_id,
            wave=which.wave,
            batch_size=BATCH,
            request_digest=request_ids.digest(which),
        ),
        dry_run=False,
        requested_by=actor,
        converter_version=CONVERTER_VERSION,
    )
    if not is_new:  # the same request, at the same time
        _need_same(key, run, which)
        return Detached(publication_id, run.run_id, run.bot_count)
    given = {
        "run_id": run.run_id,
        "size": BATCH,
        "id": publication_id,
        "wave": which.wave,
        "bot_ids": None if which.bot_ids is None else list(which.bot_ids),
    }
    with driver(connection).cursor() as cursor:
        cursor.execute(_BATCHES, given)
        sizes = [size for (size,) in cursor.fetchall()]
    runs.note_planned(
        connection, run.run_id, through=None, batch_count=len(sizes), bot_count=sum(sizes)
    )
    run_transitions.apply(connection, run.run_id, "running", reason=reason, actor=actor)
    return Detached(publication_id, run.run_id, sum(sizes))


def end_rollback(connection: sa.Connection, run: Run, *, actor: str) -> None:
    """End the rollback of a run that ends in this transaction; nothing for a run of another kind.

    What is still live is counted, not what the run did: a run that was cancelled, or whose batches
    failed, leaves the publication `held` or `stopped`. Call it before the run's row is changed.
    """
    publication_id = run.options.publication
    if run.kind != "roll_back" or publication_id is None:
        return
    rolling.lock(connection, [publication_id])
    which = Which(
        publication_id=publication_id,
        wave=run.options.wave,
        bot_ids=() if run.options.selection == "listed" else None,
    )
    said = run.state_reason or f"rolled back by {run.requested_by}"
    state = rolling.end(connection, publication_id, which, said)
    if state is not None:
        note(connection, publication_id, state, actor, said, run=run.run_id)
