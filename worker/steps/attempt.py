"""Try on a few real bots what a batch writes, and take it all back: what does the database answer?

    lock a few ─► convert ─► drafts ─► backup ─► executions, nodes ─► ledger ─► delete ─► roll back

One short transaction, with constraints made immediate, in which each kind of write has a savepoint
of its own, so that one refusal does not hide the next. Rows that others have locked are passed over.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

import msgspec
import psycopg
import sqlalchemy as sa

from worker.core.parity.messages import BUILT_IN, Trials
from worker.core.parity.recording import ExecutionRow
from worker.core.parity.trial import Equipment
from worker.core.workflow.config import Defaults
from worker.db import bots, drafts, ledger, probe
from worker.db.backups import Place, back_up
from worker.db.bots import BotRow
from worker.db.engine import is_transient
from worker.db.ledger import LedgerRow
from worker.db.recordings import insert_executions, unrecorded
from worker.db.row_ids import Source
from worker.errors import ConfigError
from worker.sample import SMALLEST
from worker.steps.answers import Answer, Attempt, Fault, LostError, named, remedy, said
from worker.steps.batch.decide import Asked, Converted, decide
from worker.steps.batch.trial import Trial

MOST_BOTS: Final = 20
LOCK_TIMEOUT_MS: Final = 200
STATEMENT_TIMEOUT_MS: Final = 5_000

_RUN_ID: Final = 0  # no run has it
_SOURCE: Final = Source("flowshift db check")
_WITHOUT_NODES: Final = Source("flowshift db check, without nodes")


def try_writes(
    engine: sa.Engine, defaults: Defaults, equipment: Equipment, backup: Place
) -> Attempt:
    """Try every kind of write of a batch on up to 20 bots, and roll back. Leaves no trace.

    (But for numbers that the platform's own sequences gave out, which no transaction takes back.)

    Raises:
        psycopg.Error, sqlalchemy.exc.SQLAlchemyError: the connection was lost.
    """
    with engine.connect() as connection:
        try:
            return _Attempt(connection, equipment, backup).make(defaults)
        finally:
            connection.rollback()


class _Attempt:
    """The answers so far, in one transaction."""

    def __init__(self, connection: sa.Connection, equipment: Equipment, backup: Place) -> None:
        self.connection = connection
        self.equipment = equipment
        self.backup = backup
        self.answers: list[Answer] = []

    def make(self, defaults: Defaults) -> Attempt:
        """Everything, in the order of a batch."""
        role = probe.begin(
            self.connection,
            lock_timeout_ms=LOCK_TIMEOUT_MS,
            statement_timeout_ms=STATEMENT_TIMEOUT_MS,
        )
        ids = self.lock()
        untried = None
        try:
            if ids:
                self.write(ids, defaults)
            else:
                untried = self.untried()
        except (psycopg.Error, sa.exc.SQLAlchemyError) as error:  # of looking, between the writes
            if self.connection.invalidated or self.connection.closed:
                raise
            self._answer("bots", "looking at bots, drafts and backups", len(ids), error)
        return Attempt(role=role, bots=len(ids), answers=tuple(self.answers), untried=untried)

    def write(self, ids: Sequence[str], defaults: Defaults) -> None:
        """What a batch writes for these bots, and a prune deletes."""
        ready = {one.bot_id: one for one in self.convert(ids, defaults)}
        drafted = self.drafts(ready)
        self.backups(ids)
        self.executions([ready[bot_id] for bot_id in drafted])
        self.ledger(ids)

    def lock(self) -> list[str]:
        """Bots to try on, none if the database does not let us."""
        ids: list[str] = []

        def lock(_: Sequence[str]) -> None:
            ids.extend(probe.lock_some_bots(self.connection, MOST_BOTS))

        if self._ask("bots", "reading and locking", ["some bots"], lock):
            self.answers.clear()
        return ids

    def untried(self) -> str:
        """Why there was nothing to try on."""
        if self.answers:
            return "the bots could not be locked"
        if probe.any_bot(self.connection):
            return "the bots that were looked at are in use, or none of them converts: try again"
        return "the role sees no bot with a workflow"

    def convert(self, ids: Sequence[str], defaults: Defaults) -> list[Converted]:
        """The drafts of these bots; a sample's for a bot that does not convert."""
        asked = Asked(self.equipment.target)
        trial = Trial(_SOURCE, Trials(BUILT_IN, 1), self.equipment)
        chunks = bots.read_chunks(self.connection, after=None, through=None, bot_ids=ids)
        ready = []
        for row in (row for chunk in chunks for row in chunk):
            one = decide(row, defaults, trial, asked)
            if isinstance(one, LedgerRow):
                sample = BotRow(row.bot_id, False, SMALLEST, len(SMALLEST), row.has_draft, False)
                one = decide(sample, defaults, trial, asked)
            if isinstance(one, Converted):
                ready.append(one)
        return ready

    def drafts(self, ready: Mapping[str, Converted]) -> list[str]:
        """Insert drafts if there are none, then replace every draft; returns who has one."""
        table = "bot_workflow_versions"
        there = [bot_id for bot_id, one in ready.items() if one.has_draft]
        blocked = probe.with_a_version_called_draft(self.connection, list(ready))
        fresh = [bot_id for bot_id in ready if bot_id not in blocked and bot_id not in there]

        def insert(ids: Sequence[str]) -> None:
            graphs = [(bot_id, ready[bot_id].graph) for bot_id in ids]
            _kept(ids, drafts.insert_drafts(self.connection, graphs), "no draft was kept")
            self._same(graphs)

        def update(ids: Sequence[str]) -> None:
            graphs = [(bot_id, ready[bot_id].graph) for bot_id in ids]
            _kept(ids, drafts.update_drafts(self.connection, graphs), "the draft was not replaced")
            self._same(graphs)

        inserted = self._ask(table, "insert of drafts", fresh, insert)
        self._ask(table, "update of drafts", sorted({*inserted, *there}), update)
        return [*inserted, *there]

    def _same(self, graphs: Sequence[tuple[str, bytes]]) -> None:
        ids = [bot_id for bot_id, _ in graphs]
        found = drafts.compare_drafts(self.connection, graphs, None)
        _kept(ids, found, "there was no draft afterwards")
        same = [bot_id for bot_id, draft in found.items() if draft.is_same]
        _kept(ids, same, "another draft was stored than the one written")

    def backups(self, ids: Sequence[str]) -> None:
        """Keep the workflows of bots that have no backup yet, where runs keep them."""
        in_column = self.backup == "column"

        def write(some: Sequence[str]) -> None:
            kept = set(back_up(self.connection, some, self.backup))
            if in_column:
                kept -= probe.without_their_backup(self.connection, some)
            _kept(some, kept, "no backup was kept")

        empty = sorted(probe.without_a_backup(self.connection, ids))
        action = "backup into legacy_workflow" if in_column else "backup of workflows"
        self._ask("bots" if in_column else "flowshift.backups", action, empty, write)

    def executions(self, drafted: Sequence[Converted]) -> None:
        """Record executions, first without their nodes, to tell the two tables apart; delete them."""
        rows = {one.bot_id: one.executions for one in drafted}

        def insert(ids: Sequence[str]) -> None:
            bare = [msgspec.structs.replace(row, nodes=()) for key in ids for row in rows[key]]
            self._record(_WITHOUT_NODES, bare)

        def insert_nodes(ids: Sequence[str]) -> None:
            self._record(_SOURCE, [row for key in ids for row in rows[key]])

        def delete(ids: Sequence[str]) -> None:
            keys = {key: bot_id for bot_id in ids for key in _keys(rows[bot_id])}
            left = {keys[key] for key in probe.delete_executions(self.connection, list(keys))}
            _kept(ids, set(ids) - left, "the execution was still there")

        runs, nodes = "workflow_execution_runs", "workflow_node_executions"
        recorded = self._ask(runs, "insert of executions", list(rows), insert)
        whole = self._ask(nodes, "insert of nodes", recorded, insert_nodes)
        self._ask(runs, "delete of executions", whole, delete)

    def _record(self, source: Source, rows: Sequence[ExecutionRow]) -> None:
        insert_executions(self.connection, source, rows, now=self.equipment.clock())
        lost = unrecorded(self.connection, source, rows)
        nodes = any(row.nodes for row in rows)
        otherwise = "not all nodes were kept" if nodes else "no execution was kept"
        ids = {row.bot_id for row in rows}
        _kept(sorted(ids), ids - lost, otherwise)

    def ledger(self, ids: Sequence[str]) -> None:
        """Record outcomes under a number that no run has."""

        def insert(some: Sequence[str]) -> None:
            rows = [LedgerRow(bot_id, "skipped", "no_workflow") for bot_id in some]
            ledger.insert_ledger(self.connection, _RUN_ID, 0, rows)
            _kept(some, probe.in_ledger(self.connection, _RUN_ID), "no outcome was kept")

        self._ask("flowshift.ledger", "insert of outcomes", ids, insert)

    def _ask(
        self, table: str, action: str, ids: Sequence[str], write: Callable[[Sequence[str]], None]
    ) -> list[str]:
        """Write for all these bots at once, or, where that fails, for each; returns those it took."""
        if not ids:
            return []
        fault = self._fault(ids, write)
        if fault is None:
            self.answers.append(Answer(table=table, action=action, rows=len(ids)))
            return list(ids)
        if is_transient(fault):
            self._answer(table, action, len(ids), fault)
            return []
        faults = {bot_id: self._fault([bot_id], write) for bot_id in ids} if ids[1:] else {}
        failed = [bot_id for bot_id, one in faults.items() if one is not None]
        some = f" (for {named(failed)}: {len(failed)} of {len(ids)})"
        self._answer(table, action, len(ids), fault, some if 0 < len(failed) < len(ids) else "")
        return [bot_id for bot_id, one in faults.items() if one is None]

    def _answer(self, table: str, action: str, rows: int, fault: Fault, some: str = "") -> None:
        answer = Answer(table=table, action=action, rows=rows)
        words = f"{said(fault)}{some}"
        self.answers.append(
            msgspec.structs.replace(answer, undecided=words)
            if is_transient(fault)
            else msgspec.structs.replace(answer, refused=words, remedy=remedy(fault, table))
        )

    def _fault(self, ids: Sequence[str], write: Callable[[Sequence[str]], None]) -> Fault | None:
        """Write within a savepoint; the error, None if it was accepted."""
        try:
            with self.connection.begin_nested():
                write(ids)
        except (LostError, ConfigError) as error:
            return error
        except (psycopg.Error, sa.exc.SQLAlchemyError) as error:
            if self.connection.invalidated or self.connection.closed:
                raise
            return error
        return None


def _kept(ids: Sequence[str], kept: Collection[str], otherwise: str) -> None:
    if any(bot_id not in kept for bot_id in ids):
        raise LostError(otherwise)


def _keys(rows: Sequence[ExecutionRow]) -> list[uuid.UUID]:
    return [_SOURCE.row_id(row.bot_id, row.number) for row in rows]
