"""Convert a batch: claim it, then read, convert and write its bots in one transaction.

    claim ─► hold the batch ─► read a chunk, locked ─► convert each bot ─► write the chunk ─┐
                                      └─────────────────── next chunk ◄──────────────────────┤
                                                 counters and the batch's end ◄──────────────┘ commit

Everything that the batch did is in that one transaction: a batch that is delivered again finds it
done, and one whose worker dies has done nothing (design section 6, guarantee 2).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

import msgspec
import sqlalchemy as sa

from worker.core import v1
from worker.core.codes import ConversionWarning
from worker.core.config import Defaults
from worker.core.convert import convert_checked
from worker.core.proof import Equipment, Proof
from worker.core.text import MAX_BYTES
from worker.core.v1 import is_json_null
from worker.db import bots
from worker.db.batches import Batch
from worker.db.bots import BotRow, DraftRow, LedgerRow
from worker.db.engine import sqlstate
from worker.db.runs import RunOptions
from worker.errors import BotError
from worker.log import get_logger
from worker.steps.batch import DatabaseError, do_batch, write_halving
from worker.steps.report import Report, Tally
from worker.steps.trial import Trial, fault, judged, record

log = get_logger(__name__)


class Converted(msgspec.Struct, frozen=True):
    """A bot whose draft is ready to be written; `proof` None where it was not executed."""

    bot_id: str
    graph: bytes
    warnings: tuple[ConversionWarning, ...]
    has_draft: bool
    proof: Proof | None = None


def convert_batch(
    engine: sa.Engine,
    run_id: int,
    number: int,
    *,
    worker: str,
    lease_s: int,
    defaults: Defaults,
    equipment: Equipment,
    target_ms: int = 0,
    claimed: Callable[[Batch], None] = lambda _: None,
) -> Report:
    """Convert the bots of a batch, and try their drafts: see `do_batch`, also for what it raises."""
    started = time.monotonic()
    report = do_batch(
        engine,
        run_id,
        number,
        kind="convert",
        worker=worker,
        lease_s=lease_s,
        target_ms=target_ms,
        claimed=claimed,
        prepare=lambda _: None,
        save=lambda connection, batch, _: _do(connection, batch, defaults, equipment, started),
    )
    log.info(
        "batch.converted",
        run_id=run_id,
        batch=number,
        attempt=report.attempt,
        **{f"bots_{name}": n for name, n in msgspec.structs.asdict(report.counts).items()},
        duration_ms=report.duration_ms,
    )
    return report


def _do(
    connection: sa.Connection,
    batch: Batch,
    defaults: Defaults,
    equipment: Equipment,
    started: float,
) -> Report:
    options = msgspec.convert(batch.options, RunOptions)
    trial = Trial.of(batch, options, equipment)
    chunks = bots.read_chunks(
        connection,
        after=batch.after_bot_id,
        through=batch.through_bot_id,
        bot_ids=batch.bot_ids,
        lock=not batch.dry_run,
    )
    tally = Tally()
    for chunk in chunks:
        decided = [decide(row, defaults, trial) for row in chunk]
        ready = [one for one in decided if isinstance(one, Converted)]
        rows = [one for one in decided if isinstance(one, LedgerRow)]
        rows += save(connection, ready, dry_run=batch.dry_run, options=options, trial=trial)
        bots.insert_ledger(connection, batch.run_id, batch.number, rows)
        tally.add(rows)
    return tally.complete(connection, batch, started)


# -- core ------------------------------------------------------------------------------------------


def decide(row: BotRow, defaults: Defaults, trial: Trial | None = None) -> Converted | LedgerRow:
    """Convert a bot and try its draft, or say why not.

    Never raises: one bot's failure never fails its batch.
    """
    if row.workflow_bytes is None or (row.workflow is not None and is_json_null(row.workflow)):
        return LedgerRow(row.bot_id, "skipped", "no_workflow")
    if row.uses_v2:
        return LedgerRow(row.bot_id, "skipped", "already_v2")
    if row.workflow is None:
        message = f"{row.workflow_bytes:,} bytes of JSON; at most {MAX_BYTES:,}"
        return LedgerRow(row.bot_id, "failed", "too_large", message)
    try:
        workflow = v1.decode(row.workflow, defaults)
        draft = convert_checked(workflow)
        proof = None if trial is None else trial.prove(row.bot_id, workflow, draft.graph)
    except BotError as error:
        return LedgerRow(row.bot_id, "failed", error.code, str(error))
    except Exception as error:  # noqa: BLE001  (a fault of ours is recorded on the bot, whole)
        return fault(row.bot_id, error)
    return Converted(row.bot_id, draft.graph, draft.warnings, row.has_draft, proof)


# -- save ------------------------------------------------------------------------------------------


def save(
    connection: sa.Connection,
    ready: Sequence[Converted],
    *,
    dry_run: bool,
    options: RunOptions,
    trial: Trial | None = None,
) -> list[LedgerRow]:
    """Write the drafts, backups and executions of `ready`, all in the same few statements.

    Where the database refuses one of them, the bot is found by halving and recorded as failed; the
    rest is written.

    Raises:
        psycopg.Error, sqlalchemy.exc.SQLAlchemyError: the fault is no bot's.
    """

    def write(some: Sequence[Converted]) -> list[LedgerRow]:
        rows = _write(connection, some, dry_run=dry_run, options=options)
        if trial is not None and not dry_run:
            _record(connection, trial, some, rows)
        return _judged(some, rows)

    return write_halving(connection, ready, write, lambda one, error: _refused(one.bot_id, error))


def _refused(bot_id: str, error: DatabaseError) -> LedgerRow:
    """A bot that the database would not take: by its data (class 22) or for another reason."""
    if (sqlstate(error) or "").startswith("22"):
        said = str(getattr(error, "orig", None) or error).splitlines()[0]
        return LedgerRow(bot_id, "failed", "invalid_text", f"PostgreSQL cannot store it: {said}")
    return fault(bot_id, error)


def _record(
    connection: sa.Connection, trial: Trial, ready: Sequence[Converted], rows: Sequence[LedgerRow]
) -> None:
    """Record the executions of the drafts that are there now; not those of a draft that was kept."""
    stored = {row.bot_id for row in rows if row.outcome in ("converted", "unchanged")}
    proofs = {one.bot_id: one.proof for one in ready if one.bot_id in stored and one.proof}
    record(connection, trial, proofs)


def _judged(ready: Sequence[Converted], rows: Sequence[LedgerRow]) -> list[LedgerRow]:
    """The outcomes, after what executing the drafts showed."""
    proofs = {one.bot_id: one.proof for one in ready}
    return [judged(row, proofs.get(row.bot_id)) for row in rows]


def _write(
    connection: sa.Connection, ready: Sequence[Converted], *, dry_run: bool, options: RunOptions
) -> list[LedgerRow]:
    # A dry run shows every draft to the database, which may refuse it; a real run writes them.
    shown = [one for one in ready if one.has_draft or dry_run]
    found = bots.compare_drafts(connection, _graphs(shown), lock=not dry_run) if shown else {}
    fresh = [one for one in ready if one.bot_id not in found]
    written = _hashes(connection, bots.insert_drafts, fresh, dry_run=dry_run)
    overtaken = [one for one in fresh if one.bot_id not in written]
    if overtaken:  # somebody made them a draft since we looked: what it holds decides
        found |= bots.compare_drafts(connection, _graphs(overtaken), lock=True)
    kept = {
        one.bot_id: _kept(one, found[one.bot_id], options) for one in ready if one.bot_id in found
    }
    stale = [one for one in ready if one.bot_id in kept and kept[one.bot_id] is None]
    written |= _hashes(connection, bots.update_drafts, stale, dry_run=dry_run)
    rows = [
        LedgerRow(one.bot_id, "converted", warnings=one.warnings, draft_hash=written[one.bot_id])
        if one.bot_id in written
        else kept.get(one.bot_id) or _blocked(one.bot_id)
        for one in ready
    ]
    if not dry_run:
        good = [row.bot_id for row in rows if row.outcome in ("converted", "unchanged")]
        bots.back_up(connection, good)
    return rows


def _hashes(
    connection: sa.Connection,
    write: Callable[[sa.Connection, list[tuple[str, bytes]]], dict[str, int]],
    ones: Sequence[Converted],
    *,
    dry_run: bool,
) -> dict[str, int | None]:
    """Write drafts; the content hash of each one written, None for one that only would be."""
    if dry_run:
        return dict.fromkeys(one.bot_id for one in ones)
    return dict(write(connection, _graphs(ones)))


def _kept(one: Converted, draft: DraftRow, options: RunOptions) -> LedgerRow | None:
    """The outcome of a bot that has a draft; None where the draft is to be replaced."""
    if draft.is_same:
        return LedgerRow(
            one.bot_id, "unchanged", warnings=one.warnings, draft_hash=draft.content_hash
        )
    if draft.is_empty or draft.is_ours or options.overwrite_edited:
        return None
    message = "its draft holds what flowshift did not write; --overwrite-edited replaces it"
    return LedgerRow(one.bot_id, "skipped", "draft_edited", message)


def _blocked(bot_id: str) -> LedgerRow:
    message = "a version called 'draft' exists whose status is not draft"
    return LedgerRow(bot_id, "failed", "internal_error", message)


def _graphs(ready: Iterable[Converted]) -> list[tuple[str, bytes]]:
    return [(one.bot_id, one.graph) for one in ready]
