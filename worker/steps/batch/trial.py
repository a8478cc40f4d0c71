"""Try drafts beside V1 within a batch: execute, judge, record."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from typing import Self

import msgspec
import sqlalchemy as sa

from worker.core.engine import v1 as v1_engine
from worker.core.engine.execution import NO_VARIABLES, Variables
from worker.core.parity import trial as trials
from worker.core.parity.messages import Trials
from worker.core.parity.recording import ExecutionRow, session_id
from worker.core.parity.trial import Equipment, Executed, TrialResult
from worker.core.workflow.draft import Draft
from worker.core.workflow.v1 import Workflow
from worker.db.batches import Batch
from worker.db.ledger import LedgerRow
from worker.db.measuring.measured import MEASURED
from worker.db.recordings import insert_executions
from worker.db.row_ids import Source
from worker.db.runs import RunOptions
from worker.errors import BotError
from worker.log import get_logger

log = get_logger(__name__)

UNRECORDED = (
    "the database kept no execution, or not all its nodes (a trigger?): see the triggers, rules and "
    "row level security of workflow_execution_runs and workflow_node_executions; nothing was written"
)
OUT_OF_MEMORY = "it takes more memory than a process may have (FLOWSHIFT_CHILD_MEMORY_MB)"


class Trial(msgspec.Struct, frozen=True):
    """How the drafts of one run are tried."""

    source: Source
    trials: Trials
    equipment: Equipment

    @classmethod
    def of(cls, batch: Batch, options: RunOptions, equipment: Equipment) -> Self | None:
        """What a batch's run asks for; None if nothing is to be executed."""
        if options.trials is None:
            return None
        return cls(batch.source, options.trials, equipment)

    @property
    def run_id(self) -> int:
        """The run."""
        return self.source.run_id

    def try_draft(
        self,
        bot_id: str,
        workflow: Workflow,
        draft: Draft | bytes,
        variables: Variables = NO_VARIABLES,
    ) -> TrialResult:
        """Execute a bot's draft beside its workflow, on the messages that are this bot's.

        A draft that was just written is prepared by its plan, a stored one (its graph) from its text.
        """
        target, registry = self.equipment.target, self.equipment.registry
        try:
            if isinstance(draft, Draft):
                new = target.prepare(draft, registry)
            else:
                new = target.decode(draft, registry)
        except BotError as error:
            return TrialResult((), agreed=False, code="execution_failed", message=str(error))
        messages = [
            (number, message, session_id(self.run_id, number))
            for number, message in self.trials.of(bot_id)
        ]
        old = v1_engine.prepare(workflow)
        result = trials.try_draft(old, new, messages, self.equipment, variables)
        for one in result.executions:
            _measure(one)
        return result


def _measure(one: Executed) -> None:
    """Time a trial, of V1 and of V2, and count those that gave no answer."""
    times = [("v2", one.trace.elapsed_us, one.trace.error is not None)]
    if one.v1_us is not None:
        times.append(("v1", one.v1_us, one.v1_failed))
    for engine, elapsed_us, has_failed in times:
        MEASURED.observe("flowshift_trial_duration_seconds", elapsed_us / 1e6, engine)
        if has_failed:
            MEASURED.count("flowshift_trials_failed", 1, engine)


def judged(row: LedgerRow, trial_result: TrialResult | None) -> LedgerRow:
    """A bot's outcome after its draft was tried: a draft that fails is a failed bot.

    A known difference of the target that was met is a warning, once for each kind.
    """
    if trial_result is None or row.outcome not in ("converted", "unchanged"):
        return row
    if trial_result.code is not None:
        return msgspec.structs.replace(
            row,
            outcome="failed",
            code=trial_result.code,
            message=trial_result.message,
            overhead_us=trial_result.overhead_us,
            workflow_hash=None,
        )
    known = {warning.code for warning in row.warnings}
    met = tuple(one.warning() for one in trial_result.known if one.code not in known)
    return msgspec.structs.replace(
        row,
        message=trial_result.message,
        overhead_us=trial_result.overhead_us,
        agreed=trial_result.agreed,
        warnings=row.warnings + met,
        workflow_hash=None if met else row.workflow_hash,  # what was met no conversion says
    )


def record(
    connection: sa.Connection,
    trial: Trial,
    rows: Sequence[ExecutionRow],
    versions: dict[str, str] | None = None,
) -> frozenset[str]:
    """Write down executions, in the transaction of the batch; returns the bots whose are there.

    `versions` as `insert_executions` takes it: a draft that changed since is left out.
    """
    now = trial.equipment.clock()
    return insert_executions(connection, trial.source, rows, now=now, versions=versions)


def not_recorded(bot_id: str) -> LedgerRow:
    """The outcome of a bot whose execution the database did not keep: nothing of it stays."""
    return LedgerRow(bot_id, "failed", "not_recorded", UNRECORDED)


def fault(bot_id: str, error: BaseException) -> LedgerRow:
    """What the ledger keeps of an error that no workflow caused."""
    if isinstance(error, MemoryError):
        return LedgerRow(bot_id, "failed", "worker_lost", OUT_OF_MEMORY)
    log.error("bot.faulted", bot_id=bot_id, error=type(error).__name__)
    message = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
    return LedgerRow(
        bot_id,
        "failed",
        "internal_error",
        message[:500],
        traceback="".join(traceback.format_exception(error))[-8000:],
    )
