"""Execute the draft of one bot beside V1, or say why not."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from worker.core.engine.execution import Variables
from worker.core.parity.opinion import Inquiry
from worker.core.parity.recording import ExecutionRow, as_row
from worker.core.parity.trial import TrialResult
from worker.core.targets.detect import written_for
from worker.core.workflow import v1, v2
from worker.core.workflow.config import Defaults
from worker.core.workflow.text import MAX_BYTES
from worker.db.drafts import MAX_GRAPH_BYTES, DraftToTry
from worker.db.ledger import LedgerRow
from worker.errors import BotError, BudgetSpentError, TransientError
from worker.steps.batch.opinions import ask_about
from worker.steps.batch.stale import stale_row
from worker.steps.batch.trial import Trial, fault, judged


class Tried(msgspec.Struct, frozen=True):
    """A bot whose draft was executed: its outcome, and what there is to record."""

    row: LedgerRow
    executions: tuple[ExecutionRow, ...]
    version: str
    workflow_hash: int | None
    trial_result: TrialResult
    inquiry: Inquiry | None = None


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
    own, target = written_for(graph), trial.equipment.target
    if own is not target:
        return stale_row(one.bot_id, own.name, target.name)
    workflow = v1.decode(workflow_text, defaults)
    if issues := trial.equipment.target.check(graph, trial.equipment.registry):
        where = f"{issues[0].path}: " if issues[0].path else ""
        message = f"its draft is no V2 graph: {where}{issues[0].message}"
        raise BotError("execution_failed", message)
    variables = Variables(_mapping(one.environment), _mapping(one.conversation))
    trial_result = trial.try_draft(one.bot_id, workflow, graph, variables)
    recording = trial.equipment.target.recording
    executions = tuple(
        as_row(one.bot_id, execution, recording) for execution in trial_result.executions
    )
    row = judged(LedgerRow(one.bot_id, "unchanged"), trial_result)
    asked = ask_about(graph, trial_result, trial.equipment)
    trial_result = msgspec.structs.replace(trial_result, executions=())
    return Tried(row, executions, one.version, one.workflow_hash, trial_result, asked)


def _within(text: bytes | None, size: int, limit: int, name: str) -> bytes:
    if text is None:
        raise BotError("too_large", f"its {name} has {size:,} bytes of JSON; at most {limit:,}")
    return text


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}
