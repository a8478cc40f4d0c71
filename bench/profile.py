"""Where a batch's time goes: each part of it alone, in the middle of a fleet."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import TypeVar

import sqlalchemy as sa

from worker.core.parity.messages import BUILT_IN, Trials
from worker.core.parity.recording import as_row
from worker.core.parity.trial import Equipment
from worker.core.targets.convert import convert, convert_checked
from worker.core.workflow import v1
from worker.core.workflow.config import Defaults
from worker.core.workflow.text import issues_of_text
from worker.db import bots, drafts
from worker.db.backups import back_up
from worker.db.bots import BotRow, Lock
from worker.db.ledger import LedgerRow, insert_ledger
from worker.db.recordings import insert_executions
from worker.db.row_ids import Source
from worker.steps.batch.decide import Converted, decide, decide_each
from worker.steps.batch.trial import Trial

BOTS = 500
REPEATS = 7
SOURCE = Source("bench", run_id=10**9, batch=1)

_EXECUTIONS = "workflow_execution_runs"
_INDEX = "bench_executions_by_version"

_T = TypeVar("_T")


def batch_times(engine: sa.Engine, defaults: Defaults, equipment: Equipment) -> dict[str, float]:
    """Microseconds a bot, the median of a few tries; everything is rolled back."""
    with engine.connect() as connection:
        # The platform has no index by which a draft that is deleted finds executions that refer to it.
        connection.execute(sa.text(f"CREATE INDEX {_INDEX} ON {_EXECUTIONS} (workflow_version_id)"))
        for table in (_EXECUTIONS, "bot_workflow_versions"):
            connection.execute(
                sa.text(f"DELETE FROM {table} WHERE bot_id <= :b"), {"b": _last(connection)}
            )
        connection.execute(sa.text(f"DROP INDEX {_INDEX}"))
        trial = Trial(SOURCE, Trials(BUILT_IN, 1), equipment)
        rows = _read(connection)
        ready = [one for row in rows if isinstance(one := decide(row, defaults, trial), Converted)]
        texts = [
            row.workflow for row in rows if row.workflow and row.bot_id in {r.bot_id for r in ready}
        ]
        workflows = [v1.decode(text, defaults) for text in texts]
        graphs = [(one.bot_id, one.graph) for one in ready]
        written = [convert(workflow) for workflow in workflows]
        ids = [one.bot_id for one in ready]
        ledger = [LedgerRow(one.bot_id, "converted", warnings=one.warnings) for one in ready]
        parts: dict[str, Callable[[], object]] = {
            "read": lambda: _read(connection),
            "lock, and look again": lambda: bots.look(connection, ids, Lock.SKIP),
            "core: look at the text": lambda: [issues_of_text(text) for text in texts],
            "core: decode (with the look)": lambda: [v1.decode(text, defaults) for text in texts],
            "core: convert": lambda: [convert(workflow) for workflow in workflows],
            "core: convert, with the checklist": lambda: [
                convert_checked(workflow) for workflow in workflows
            ],
            "core: execute V1 and V2, compare": lambda: [
                trial.try_draft(one.bot_id, workflow, draft)
                for one, workflow, draft in zip(ready, workflows, written, strict=True)
            ],
            "core: all of it, one bot after the other": lambda: [
                decide(row, defaults, trial) for row in rows
            ],
            "core: all of it, some bots together": lambda: [*decide_each(rows, defaults, trial)],
            "insert drafts, hashed": lambda: drafts.insert_drafts(connection, graphs),
            "fill backups": lambda: back_up(connection, [one.bot_id for one in ready], "column"),
            "insert ledger": lambda: insert_ledger(connection, 10**9, 1, ledger),
        }
        executions = [row for one in ready for row in one.executions]
        trial_results = {
            one.bot_id: trial.try_draft(one.bot_id, workflow, draft)
            for one, workflow, draft in zip(ready, workflows, written, strict=True)
        }
        with_drafts: dict[str, Callable[[], object]] = {
            "executions as rows": lambda: [
                as_row(bot, one, equipment.target.recording)
                for bot, trial_result in trial_results.items()
                for one in trial_result.executions
            ],
            "insert executions": lambda: insert_executions(
                connection, SOURCE, executions, now=equipment.clock()
            ),
        }
        connection.execute(
            sa.text("UPDATE bots SET legacy_workflow = NULL WHERE bot_id <= :b"),
            {"b": _last(connection)},
        )
        measured = {
            name: _time(connection, part) / len(ready) * 1e6 for name, part in parts.items()
        }
        drafts.insert_drafts(connection, graphs)
        measured |= {
            name: _time(connection, part) / len(ready) * 1e6 for name, part in with_drafts.items()
        }
        connection.rollback()
    return {**measured, "drafts, average bytes": sum(len(g) for _, g in graphs) / len(graphs)}


def _time(connection: sa.Connection, part: Callable[[], _T]) -> float:
    spent = []
    for _ in range(REPEATS):
        with connection.begin_nested() as savepoint:
            started = time.perf_counter()
            part()
            spent.append(time.perf_counter() - started)
            savepoint.rollback()
    return median(spent)


def _read(connection: sa.Connection) -> list[BotRow]:
    chunks = bots.read_chunks(connection, after=None, through=_last(connection), bot_ids=None)
    return [row for chunk in chunks for row in chunk]


def _last(connection: sa.Connection) -> str:
    query = sa.text("SELECT max(bot_id) FROM (SELECT bot_id FROM bots ORDER BY bot_id LIMIT :n) b")
    return str(connection.scalar(query, {"n": BOTS}))
