"""Validate a batch: execute the drafts that are there beside V1, then record it all at once.

    claim ─► read a few drafts ─► execute each beside V1 ─┐
                   └────────────── next few ◄─────────────┤
    hold the batch ─► executions, ledger, counters, its end ◄┘ commit

Nothing is locked while drafts are executed: a model may take its time. What was executed is
recorded in one transaction, so that a batch that is delivered again finds it done; a draft that
somebody changed meanwhile is not recorded, and its bot skipped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice

import msgspec
import sqlalchemy as sa

from worker.core.engine.v2 import Variables
from worker.core.parity.recording import ExecutionRow, as_row
from worker.core.parity.trial import Equipment
from worker.core.workflow import v1, v2
from worker.core.workflow.config import Defaults
from worker.core.workflow.text import MAX_BYTES
from worker.db import drafts, ledger
from worker.db.batches import Batch
from worker.db.drafts import MAX_GRAPH_BYTES, DraftToTry
from worker.db.ledger import LedgerRow
from worker.db.runs import RunOptions
from worker.errors import BotError, BudgetSpentError, StaleError, TransientError
from worker.log import get_logger
from worker.steps.batch.lifecycle import do_batch, write_halving
from worker.steps.batch.tally import Report, Tally
from worker.steps.batch.trial import Trial, fault, judged, record

log = get_logger(__name__)

AT_A_TIME = 50
"""Drafts read at a time: with every one at its limit, 1 GiB at most."""

Equip = Callable[[int, RunOptions], Equipment]


class Tried(msgspec.Struct, frozen=True):
    """A bot whose draft was executed: its outcome, and what there is to record."""

    row: LedgerRow
    executions: tuple[ExecutionRow, ...]
    version: str


def validate_batch(
    engine: sa.Engine,
    run_id: int,
    number: int,
    *,
    worker: str,
    lease_s: int,
    defaults: Defaults,
    equip: Equip,
    target_ms: int = 0,
    claimed: Callable[[Batch], None] = lambda _: None,
) -> Report:
    """Execute the drafts of a batch's bots: see `do_batch`, also for what it raises."""
    started = time.monotonic()

    def prepare(batch: Batch) -> tuple[Trial, list[Tried | LedgerRow]]:
        options = msgspec.convert(batch.options, RunOptions)
        trial = Trial.of(batch, options, equip(run_id, options))
        if trial is None:
            raise StaleError(f"run {run_id} has no messages to validate on")
        return trial, _try_all(engine, batch, defaults, trial)

    report = do_batch(
        engine,
        run_id,
        number,
        kind="validate",
        worker=worker,
        lease_s=lease_s,
        target_ms=target_ms,
        claimed=claimed,
        prepare=prepare,
        save=lambda connection, batch, tried: _save(connection, batch, *tried, started),
    )
    log.info(
        "batch.validated",
        run_id=run_id,
        batch=number,
        attempt=report.attempt,
        **{f"bots_{name}": n for name, n in msgspec.structs.asdict(report.counts).items()},
        duration_ms=report.duration_ms,
    )
    return report


def _try_all(
    engine: sa.Engine, batch: Batch, defaults: Defaults, trial: Trial
) -> list[Tried | LedgerRow]:
    with engine.connect() as connection:
        ids = iter(drafts.bot_ids(connection, batch))
    tried: list[Tried | LedgerRow] = []
    while some := list(islice(ids, AT_A_TIME)):
        with engine.connect() as connection:
            read = list(drafts.read(connection, some))
        tried += [try_draft(one, defaults, trial) for one in read]
    return tried


# -- core ------------------------------------------------------------------------------------------


def try_draft(one: DraftToTry, defaults: Defaults, trial: Trial) -> Tried | LedgerRow:
    """Execute a bot's draft beside V1, or say why not.

    Raises:
        TransientError: a provider's budget could not be read; nothing is known.
    """
    try:
        return _try(one, defaults, trial)
    except TransientError:
        raise
    except BudgetSpentError as error:
        return LedgerRow(one.bot_id, "skipped", "budget_spent", str(error))
    except BotError as error:
        return LedgerRow(one.bot_id, "failed", error.code, str(error))
    except Exception as error:  # noqa: BLE001  (a fault of ours is recorded on the bot, whole)
        return fault(one.bot_id, error)


def _try(one: DraftToTry, defaults: Defaults, trial: Trial) -> Tried | LedgerRow:
    if one.version is None or one.graph_bytes is None:
        return LedgerRow(one.bot_id, "skipped", "no_draft")
    if one.workflow_bytes is None or (one.workflow is not None and v1.is_json_null(one.workflow)):
        return LedgerRow(one.bot_id, "skipped", "no_workflow")
    workflow_text = _within(one.workflow, one.workflow_bytes, MAX_BYTES, "workflow")
    graph = _within(one.graph, one.graph_bytes, MAX_GRAPH_BYTES, "draft")
    if v2.is_empty(graph):
        return LedgerRow(one.bot_id, "skipped", "no_draft", "its draft has no nodes")
    workflow = v1.decode(workflow_text, defaults)
    if issues := trial.equipment.target.check(graph, trial.equipment.registry):
        where = f"{issues[0].path}: " if issues[0].path else ""
        message = f"its draft is no V2 graph: {where}{issues[0].message}"
        raise BotError("execution_failed", message)
    variables = Variables(_mapping(one.environment), _mapping(one.conversation))
    proof = trial.prove(one.bot_id, workflow, graph, variables)
    executions = tuple(as_row(one.bot_id, execution) for execution in proof.executions)
    return Tried(judged(LedgerRow(one.bot_id, "unchanged"), proof), executions, one.version)


def _within(text: bytes | None, size: int, limit: int, name: str) -> bytes:
    if text is None:
        raise BotError("too_large", f"its {name} has {size:,} bytes of JSON; at most {limit:,}")
    return text


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


# -- save ------------------------------------------------------------------------------------------


def _save(
    connection: sa.Connection,
    batch: Batch,
    trial: Trial,
    tried: Sequence[Tried | LedgerRow],
    started: float,
) -> Report:
    rows = [one for one in tried if isinstance(one, LedgerRow)]
    rows += _record(connection, trial, [one for one in tried if isinstance(one, Tried)])
    ledger.insert_ledger(connection, batch.run_id, batch.number, rows)
    tally = Tally()
    tally.add(rows)
    return tally.complete(connection, batch, started)


def _record(connection: sa.Connection, trial: Trial, tried: Sequence[Tried]) -> list[LedgerRow]:
    """Record executions; what the database refuses becomes that bot's outcome."""

    def write(some: Sequence[Tried]) -> list[LedgerRow]:
        rows = [row for one in some for row in one.executions]
        versions = {one.row.bot_id: one.version for one in some}
        recorded = record(connection, trial, rows, versions)
        return [_recorded(one, recorded) for one in some]

    return write_halving(connection, tried, write, lambda one, error: fault(one.row.bot_id, error))


def _recorded(one: Tried, recorded: frozenset[str]) -> LedgerRow:
    if one.row.bot_id in recorded or not one.executions:
        return one.row
    message = "its draft was changed while it was being executed: validate it again"
    return LedgerRow(one.row.bot_id, "skipped", "draft_edited", message)
