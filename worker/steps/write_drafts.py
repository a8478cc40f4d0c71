"""Write what was decided: drafts, backups and executions, set-based, each bot's refusal its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import sqlalchemy as sa

from worker.db import bots
from worker.db.backups import back_up
from worker.db.bots import DraftRow, LedgerRow
from worker.db.engine import sqlstate
from worker.db.runs import RunOptions
from worker.steps.batch import DatabaseError, write_halving
from worker.steps.decide import Converted
from worker.steps.trial import Trial, fault, judged, record


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
        back_up(connection, good, options.backup)
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
