"""Where a batch's time goes: each part of it alone, in the middle of a fleet."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import TypeVar

import sqlalchemy as sa

from worker.core import v1, v2
from worker.core.config import Defaults
from worker.core.convert import convert
from worker.core.text import issues_of_text
from worker.db import bots
from worker.db.bots import BotRow, LedgerRow
from worker.steps.convert import Converted, decide

BOTS = 500
REPEATS = 7

_T = TypeVar("_T")


def batch_times(engine: sa.Engine, defaults: Defaults) -> dict[str, float]:
    """Microseconds a bot, the median of a few tries; everything is rolled back."""
    with engine.connect() as connection:
        connection.execute(
            sa.text("DELETE FROM bot_workflow_versions WHERE bot_id <= :b"),
            {"b": _last(connection)},
        )
        rows = _read(connection)
        ready = [one for row in rows if isinstance(one := decide(row, defaults), Converted)]
        texts = [
            row.workflow for row in rows if row.workflow and row.bot_id in {r.bot_id for r in ready}
        ]
        workflows = [v1.decode(text, defaults) for text in texts]
        graphs = [(one.bot_id, one.graph) for one in ready]
        ledger = [LedgerRow(one.bot_id, "converted", warnings=one.warnings) for one in ready]
        parts: dict[str, Callable[[], object]] = {
            "read, locked": lambda: _read(connection),
            "core: look at the text": lambda: [issues_of_text(text) for text in texts],
            "core: decode (with the look)": lambda: [v1.decode(text, defaults) for text in texts],
            "core: convert": lambda: [convert(workflow) for workflow in workflows],
            "core: checklist": lambda: [v2.check(graph) for _, graph in graphs],
            "insert drafts, hashed": lambda: bots.insert_drafts(connection, graphs),
            "fill backups": lambda: bots.back_up(connection, [one.bot_id for one in ready]),
            "insert ledger": lambda: bots.insert_ledger(connection, 10**9, 1, ledger),
        }
        connection.execute(
            sa.text("UPDATE bots SET legacy_workflow = NULL WHERE bot_id <= :b"),
            {"b": _last(connection)},
        )
        measured = {
            name: _time(connection, part) / len(ready) * 1e6 for name, part in parts.items()
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
    chunks = bots.read_chunks(
        connection, after=None, through=_last(connection), bot_ids=None, lock=True
    )
    return [row for chunk in chunks for row in chunk]


def _last(connection: sa.Connection) -> str:
    query = sa.text("SELECT max(bot_id) FROM (SELECT bot_id FROM bots ORDER BY bot_id LIMIT :n) b")
    return str(connection.scalar(query, {"n": BOTS}))
