"""Write what was decided: drafts, backups and executions, set-based, each bot's refusal its own."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Literal, TypeGuard

import msgspec
import sqlalchemy as sa

from worker.core.parity.recording import ExecutionRow
from worker.db import drafts
from worker.db.backups import back_up, without_backup
from worker.db.bots import Lock
from worker.db.drafts import DraftRow
from worker.db.engine import sqlstate
from worker.db.interference import drafts_not_lockable
from worker.db.ledger import LedgerRow
from worker.db.publication.proofs import Agreed
from worker.db.recordings import unrecorded
from worker.db.runs import RunOptions
from worker.steps.batch.decide import Converted, Known, Ready
from worker.steps.batch.halving import DatabaseError
from worker.steps.batch.proven import note_proofs
from worker.steps.batch.saved import look_at_saved
from worker.steps.batch.stale import name_stale
from worker.steps.batch.trial import Trial, fault, judged, not_recorded, record

_NO_DRAFT = (
    "the database kept no draft (a trigger?): see the triggers, rules and row level security of "
    "bot_workflow_versions"
)
_OLD_DRAFT = (
    "the database kept the draft that was there (a trigger?): see the triggers, rules and row level "
    "security of bot_workflow_versions"
)
_OTHER_DRAFT = (
    "the database kept another draft than flowshift wrote (a trigger?): see the triggers and rules "
    "of bot_workflow_versions; nothing was changed"
)
_HIDDEN_DRAFT = (
    "row level security shows its draft and does not let it be locked: give the role a policy of "
    "bot_workflow_versions for UPDATE (flowshift db check says which)"
)
_NO_BACKUP = (
    "the database kept no backup of the workflow, or another text (a trigger?): see the triggers, "
    "rules and row level security of bots; no draft was written"
)


class Left(msgspec.Struct, frozen=True):
    """A bot that has no outcome yet, and why not."""

    bot_id: str
    why: Literal["locked", "changed"]


class Written(msgspec.Struct, frozen=True):
    """What became of some bots; `filled` are those whose backup was filled now.

    `recorded` are those of which the server says that every execution was written; `left` has the
    content hash of each draft that stayed as it was.
    """

    rows: list[LedgerRow | Left]
    filled: list[str]
    left: Mapping[str, int | None]
    recorded: frozenset[str] = frozenset()

    @property
    def with_draft(self) -> set[str]:
        """Bots whose draft says what it should: its hash is known, whatever executing it showed."""
        return {row.bot_id for row in self.rows if _has_draft(row)}


def write_drafts(
    connection: sa.Connection,
    ready: Sequence[Ready],
    options: RunOptions,
    trial: Trial | None,
    lock: Lock,
) -> Written:
    """Write the drafts, backups and executions of bots that are locked, in the same few statements.

    With `Lock.SKIP` a bot whose draft another transaction has locked is left. So is a bot that is known,
    if its draft changed.

    Raises:
        psycopg.Error, sqlalchemy.exc.SQLAlchemyError: the database refuses one of them.
    """
    converted, known = _apart(ready)
    rows = name_stale(connection, _drafts(connection, converted, options, lock), options.target)
    rows += _same_drafts(connection, known, lock)
    good = {row.bot_id for row in rows if _has_draft(row)}
    filled = back_up(connection, sorted(good), options.backup)
    recorded = frozenset[str]()
    if trial is not None:
        recorded = record(connection, trial, _executed(converted, good))
    left = {row.bot_id: row.draft_hash for row in rows if _is_unchanged(row)}
    outcomes = judge(converted, rows)
    if trial is not None:
        ended = [row for row in outcomes if isinstance(row, LedgerRow)]
        note_proofs(connection, trial.run_id, ended, _executed_as(converted, ended))
    return Written(outcomes, filled, left, recorded)


def _executed_as(ready: Sequence[Converted], rows: Iterable[LedgerRow]) -> list[Agreed]:
    """What was executed of bots, by the hashes that are known of it."""
    hashes = {one.bot_id: one.workflow_hash for one in ready}
    return [
        Agreed(row.bot_id, hashes[row.bot_id], graph_hash=row.draft_hash)
        for row in rows
        if row.draft_hash is not None
    ]


def judge(ready: Sequence[Converted], rows: Iterable[LedgerRow | Left]) -> list[LedgerRow | Left]:
    """The outcomes, after what executing the drafts showed."""
    trial_results = {one.bot_id: one.trial_result for one in ready}
    return [
        row if isinstance(row, Left) else judged(row, trial_results.get(row.bot_id)) for row in rows
    ]


def not_kept(
    connection: sa.Connection,
    ready: Sequence[Ready],
    written: Written,
    trial: Trial | None,
    *,
    is_watched: bool,
) -> dict[str, LedgerRow]:
    """Bots of which the database kept something else than what was written, without an error.

    Their drafts must not stay: roll back, and write the others again. Unless `is_watched`, what the
    server says it wrote is there, and only what it left out is looked at.
    """
    good = written.with_draft
    lost = _other_draft(connection, ready, written) if is_watched else {}
    if trial is not None:
        doubted = good - (frozenset() if is_watched else written.recorded)
        executed = _executed(_apart(ready)[0], doubted - lost.keys())
        lost |= {
            bot_id: not_recorded(bot_id)
            for bot_id in unrecorded(connection, trial.source, executed)
        }
    return lost


def _other_draft(
    connection: sa.Connection, ready: Sequence[Ready], written: Written
) -> dict[str, LedgerRow]:
    good = written.with_draft
    converted, known = _apart(one for one in ready if one.bot_id in good)
    there = drafts.compare_drafts(connection, _graphs(converted), None)
    same = {bot_id for bot_id, draft in there.items() if draft.is_same}
    now = {bot_id: draft.content_hash for bot_id, draft in there.items()}
    now |= drafts.content_hashes(connection, [one.bot_id for one in known], None)
    messages = dict.fromkeys(without_backup(connection, sorted(good), written.filled), _NO_BACKUP)
    for bot_id in good:
        if bot_id not in now:
            messages[bot_id] = _NO_DRAFT
        elif bot_id not in same and written.left.get(bot_id) != now[bot_id]:
            messages[bot_id] = _OTHER_DRAFT
    return {bot_id: _failed(bot_id, message) for bot_id, message in messages.items()}


def _executed(ready: Sequence[Converted], bot_ids: Container[str]) -> list[ExecutionRow]:
    return [row for one in ready if one.bot_id in bot_ids for row in one.executions]


def refused(bot_id: str, error: DatabaseError) -> LedgerRow:
    """A bot that the database would not take: by its data (class 22) or for another reason."""
    if (sqlstate(error) or "").startswith("22"):
        said = str(getattr(error, "orig", None) or error).splitlines()[0]
        return LedgerRow(bot_id, "failed", "invalid_text", f"PostgreSQL cannot store it: {said}")
    return fault(bot_id, error)


def expected(
    connection: sa.Connection, ready: Sequence[Ready], options: RunOptions
) -> list[LedgerRow | Left]:
    """The outcomes to expect of bots that cannot be written now, by the drafts that they have."""
    converted, known = _apart(ready)
    found = look_at_saved(
        connection, converted, drafts.compare_drafts(connection, _graphs(converted), None)
    )
    rows = [
        (found.get(one.bot_id) and _kept(one, found[one.bot_id], options))
        or LedgerRow(one.bot_id, "converted", warnings=one.warnings)
        for one in converted
    ]
    rows = name_stale(connection, rows, options.target)
    return judge(converted, [*rows, *_same_drafts(connection, known, None)])


def _apart(ready: Iterable[Ready]) -> tuple[list[Converted], list[Known]]:
    converted, known = list[Converted](), list[Known]()
    for one in ready:
        if isinstance(one, Converted):
            converted.append(one)
        else:
            known.append(one)
    return converted, known


def _is_unchanged(row: LedgerRow | Left) -> TypeGuard[LedgerRow]:
    return isinstance(row, LedgerRow) and row.outcome == "unchanged"


def _has_draft(row: LedgerRow | Left) -> bool:
    return isinstance(row, LedgerRow) and row.draft_hash is not None


def _drafts(
    connection: sa.Connection, ready: Sequence[Converted], options: RunOptions, lock: Lock
) -> list[LedgerRow | Left]:
    found, locked = _compare(connection, [one for one in ready if one.has_draft], lock)
    fresh = [one for one in ready if one.bot_id not in found and one.bot_id not in locked]
    written = drafts.insert_drafts(connection, _graphs(fresh))
    overtaken = [one for one in fresh if one.bot_id not in written]
    if overtaken:  # a draft was inserted since we looked: what it holds decides
        more, more_locked = _compare(connection, overtaken, lock)
        found, locked = found | more, locked | more_locked
    kept = {
        one.bot_id: _kept(one, found[one.bot_id], options) for one in ready if one.bot_id in found
    }
    stale = [one for one in ready if one.bot_id in kept and kept[one.bot_id] is None]
    written |= drafts.update_drafts(connection, _graphs(stale))
    hidden = drafts_not_lockable(connection, sorted(locked))
    missing = [one.bot_id for one in overtaken if one.bot_id not in found]
    called = drafts.versions_called_draft(connection, missing)
    return [
        _failed(one.bot_id, _HIDDEN_DRAFT)
        if one.bot_id in hidden
        else Left(one.bot_id, "locked")
        if one.bot_id in locked
        else LedgerRow(
            one.bot_id,
            "converted",
            warnings=one.warnings,
            draft_hash=hashed,
            workflow_hash=one.source_hash,
        )
        if (hashed := written.get(one.bot_id)) is not None
        else kept.get(one.bot_id) or _unwritten(one.bot_id, found, called)
        for one in ready
    ]


def _compare(
    connection: sa.Connection, ones: Sequence[Converted], lock: Lock
) -> tuple[dict[str, DraftRow], frozenset[str]]:
    """The drafts that these bots have, locked; and the bots whose draft another one has locked."""
    found = look_at_saved(connection, ones, drafts.compare_drafts(connection, _graphs(ones), lock))
    return found, _locked(connection, [one.bot_id for one in ones if one.bot_id not in found])


def _locked(connection: sa.Connection, missing: Sequence[str]) -> frozenset[str]:
    """Of bots whose drafts could not be locked, those that have one."""
    called = drafts.versions_called_draft(connection, missing)
    return frozenset(bot_id for bot_id, status in called.items() if status == "draft")


def _same_drafts(
    connection: sa.Connection, known: Sequence[Known], lock: Lock | None
) -> list[LedgerRow | Left]:
    """The outcomes of bots that are known, their drafts locked; one whose draft changed is left."""
    now = drafts.content_hashes(connection, [one.bot_id for one in known], lock)
    locked = _locked(connection, [one.bot_id for one in known if one.bot_id not in now])
    hidden = drafts_not_lockable(connection, sorted(locked))
    return [
        LedgerRow(
            one.bot_id,
            "unchanged",
            warnings=one.warnings,
            draft_hash=one.content_hash,
            workflow_hash=one.workflow_hash,
        )
        if now.get(one.bot_id) == one.content_hash
        else _failed(one.bot_id, _HIDDEN_DRAFT)
        if one.bot_id in hidden
        else Left(one.bot_id, "locked" if one.bot_id in locked else "changed")
        for one in known
    ]


def _kept(one: Converted, draft: DraftRow, options: RunOptions) -> LedgerRow | None:
    """The outcome of a bot that has a draft; None if the draft is to be replaced."""
    if draft.is_same or draft.saved == "saved":
        return LedgerRow(
            one.bot_id,
            "unchanged",
            warnings=one.warnings,
            draft_hash=draft.content_hash,
            # One that was only saved is looked at each time: what it holds is not what was made.
            workflow_hash=one.source_hash if draft.is_same else None,
        )
    if not draft.holds_other or draft.saved == "stripped" or options.overwrite_edited:
        return None
    message = "its draft holds what flowshift did not write; --overwrite-edited replaces it"
    return LedgerRow(one.bot_id, "skipped", "draft_edited", message)


def _unwritten(bot_id: str, found: Container[str], called: Container[str]) -> LedgerRow:
    """A bot whose draft the database neither took nor refused."""
    if bot_id in found:
        return _failed(bot_id, _OLD_DRAFT)
    if bot_id in called:
        return _failed(bot_id, "a version called 'draft' exists whose status is not draft")
    return _failed(bot_id, _NO_DRAFT)


def _failed(bot_id: str, message: str) -> LedgerRow:
    return LedgerRow(bot_id, "failed", "internal_error", message)


def _graphs(ready: Iterable[Converted]) -> list[tuple[str, bytes]]:
    return [(one.bot_id, one.graph) for one in ready]
