"""Publish bots anew that a publication gave back to V1: converted, proven, then wave by wave.

    retry ─► a conversion, and a publication that waits for it ─► workers ─► the gate's tick: waves ─► …

All of it is rows, written in one transaction: whatever is killed afterwards, workers and the beat go on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import msgspec
import sqlalchemy as sa

from worker.core.codes import quote
from worker.core.counted import counted
from worker.core.publication.sizes import DEFAULT_WAVES, parse_waves
from worker.core.targets.registry import TARGETS
from worker.db.engine import map_database_errors
from worker.db.publication import moves, retried, waves
from worker.db.publication.locks import lock_state
from worker.db.publication.waves import Options, Publication
from worker.db.runs import Run
from worker.errors import ChangedError, ConflictError, UsageError
from worker.log import get_logger
from worker.queue.dispatch import Queue
from worker.runtime import Runtime
from worker.steps import request_ids
from worker.steps.publication.begin import Going, begin_next
from worker.steps.publication.state import need, note
from worker.steps.request import Request
from worker.steps.start import enqueue_planning, record_as_set

log = get_logger(__name__)


class Again(msgspec.Struct, frozen=True, kw_only=True):
    """Which bots of a publication are published anew, and how.

    Those that were rolled back, quarantined or failed; with `code` those that were skipped or failed
    with it; of `bot_ids` only, if given. `waves` begin with one bot. `publish_edited` takes drafts that
    a person changed, too, once they are validated. `request` says how fast the conversion may go, and
    for which target.
    """

    publication_id: int
    code: str | None = None
    bot_ids: tuple[str, ...] | None = None
    waves: str = DEFAULT_WAVES
    publish_edited: bool = False
    without_backup: bool = False
    request: Request = Request()


class Retried(msgspec.Struct, frozen=True):
    """A publication that retries another, and the run that it waits for."""

    publication_id: int
    run_id: int


def look(current: Runtime, again: Again) -> Mapping[str, int]:
    """How many bots would be converted, proven and published, by what became of them; changes nothing.

    Raises:
        UsageError: there is no such publication, it is rolling back, or there is nothing to retry.
        TransientError: the database was unavailable.
    """
    with map_database_errors(), current.engine.connect() as connection:
        return Counter(_chosen(connection, need(connection, again.publication_id), again).values())


def of_request(engine: sa.Engine, again: Again, request_id: str) -> Retried | None:
    """What an earlier request with this id recorded, None if there was none.

    Raises:
        ConflictError: another request has this id.
        TransientError: the database was unavailable.
    """
    with map_database_errors(), engine.connect() as connection:
        return _known(connection, again, request_id)


def retry(
    current: Runtime,
    queue: Queue,
    again: Again,
    *,
    request_id: str,
    actor: str,
    confirmed: int | None = None,
) -> Retried:
    """Record the conversion and the publication that waits for it, then enqueue the conversion.

    One transaction. On repeat with the same `request_id` the first one is returned. What the gate does
    and what becomes of the draft are as in the publication that is retried. `confirmed` is the number
    of bots that a person has agreed to, None asks for none.

    Raises:
        ChangedError: by now it would be another number of bots than was confirmed; nothing was written.
        ConflictError: the publication is rolling back, or another request has this id.
        UsageError: there is no such publication, it is rolling back, there is nothing to retry, an active
            run has some of the bots, or the first wave is not one bot; nothing was written.
        TransientError: PostgreSQL was unavailable (nothing was written), or the queue was: then it waits
            in the database, and a sweep enqueues it.
    """
    with map_database_errors(), current.engine.begin() as connection:
        lock_state(connection, again.publication_id, alone=True)
        known = _known(connection, again, request_id)
        if known is not None:
            return known
        found = need(connection, again.publication_id)
        bot_ids = tuple(_chosen(connection, found, again))
        _need_confirmed(len(bot_ids), confirmed)
        run = _record_conversion(current, connection, found, again, bot_ids, request_id, actor)
        publication_id = _record(connection, found, again, run, request_id, actor)
    log.info(
        "publication.retried",
        publication_id=publication_id,
        retry_of=found.publication_id,
        run_id=run.run_id,
    )
    enqueue_planning(queue, run)
    return Retried(publication_id, run.run_id)


def publish_proven(current: Runtime, publication_id: int, *, actor: str) -> Going:
    """Begin the first wave of a publication whose bots are proven by now, as the gate's tick does.

    If the tick was first, its run is returned; if it waits, what it waits for.

    Raises:
        UsageError: there is no such publication.
        TransientError: the database was unavailable.
    """
    with map_database_errors(), current.engine.begin() as connection:
        lock_state(connection, publication_id, alone=True)
        found = need(connection, publication_id)
        if found.state == "planned":
            return begin_next(connection, publication_id, actor)
        run_ids = [one.run_id for one in waves.of(connection, publication_id) if one.run_id]
        why = f": {found.state_reason}" if found.state_reason else ""
        return Going(publication_id, next(iter(run_ids), None), f"is {found.state}{why}")


def _known(connection: sa.Connection, again: Again, request_id: str) -> Retried | None:
    request_ids.need_free(connection, request_id, "publication")
    known = waves.of_request(connection, request_id)
    if known is None:
        return None
    if known.retry_of != again.publication_id or known.source_run_id is None:
        raise ConflictError(
            f"the request id {quote(request_id)} belongs to publication {known.publication_id}, which"
            f" does not retry publication {again.publication_id}: nothing was started; use another"
        )
    name = f"publication {known.publication_id}"
    request_ids.need_same(request_id, name, known.options.request_digest, request_ids.digest(again))
    return Retried(known.publication_id, known.source_run_id)


def _need_confirmed(bots: int, confirmed: int | None) -> None:
    if confirmed is not None and bots != confirmed:
        raise ChangedError(
            f"{counted(bots, 'bot is', 'bots are')} to be published anew by now, not {confirmed:,}:"
            " nothing was started; look again"
        )


def _check_waves(text: str) -> None:
    try:
        steps = parse_waves(text)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if steps[0].bots != 1:
        raise UsageError(f"a retry begins with a wave of one bot: --waves '1, {text}'")


def _chosen(connection: sa.Connection, found: Publication, again: Again) -> Mapping[str, str]:
    _check_waves(again.waves)
    if found.state == "rolling_back":
        raise ConflictError(
            f"publication {found.publication_id} is rolling back: retry it when that is over"
            f" (`flowshift publication {found.publication_id}`)"
        )
    chosen = retried.to_retry(
        connection, found.publication_id, code=again.code, bot_ids=again.bot_ids
    )
    if not chosen:
        raise UsageError(_nothing(found.publication_id, again))
    return chosen


def _nothing(publication_id: int, again: Again) -> str:
    which = "none of these bots" if again.bot_ids else "no bot"
    what = "is rolled back, quarantined or failed"
    if again.code is not None:
        what = f"was skipped or failed with {again.code}"
    return (
        f"{which} of publication {publication_id} {what}, or a later publication has it:"
        " there is nothing to retry"
    )


def _record_conversion(
    current: Runtime,
    connection: sa.Connection,
    found: Publication,
    again: Again,
    bot_ids: tuple[str, ...],
    request_id: str,
    actor: str,
) -> Run:
    target = TARGETS.get(found.options.target)
    request = msgspec.structs.replace(
        again.request,
        bot_ids=bot_ids,
        validate="all",
        live_drafts=found.options.live_drafts and target is not None and target.serves_drafts,
    )
    name = f"retry of publication {found.publication_id}: {request_id}"
    return record_as_set(current, connection, request, request_id=name, requested_by=actor)


def _record(
    connection: sa.Connection,
    found: Publication,
    again: Again,
    run: Run,
    request_id: str,
    actor: str,
) -> int:
    options = Options(
        target=run.options.target,
        publish_edited=again.publish_edited,
        live_drafts=found.options.live_drafts,
        needs_backup=not again.without_backup,
        alerts=found.options.alerts,
        waves=again.waves,
        next_draft=found.options.next_draft,
        request_digest=request_ids.digest(again),
    )
    publication_id, _ = waves.create(
        connection,
        request_id=request_id,
        source_run_id=run.run_id,
        options=options,
        requested_by=actor,
        gate=found.gate,
        retry_of=found.publication_id,
    )
    note(connection, publication_id, "created", actor, None, retry_of=found.publication_id)
    moves.wait(connection, publication_id, f"run {run.run_id} converts and proves its bots first")
    return publication_id
