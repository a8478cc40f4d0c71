"""Decide what becomes of a bot: its draft, tried beside V1, or why it gets none. No database."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Container, Generator, Iterable, Iterator
from typing import Final, Self, cast

import msgspec

from worker.core.bounded import bounded
from worker.core.codes import ConversionWarning
from worker.core.parity.opinion import Inquiry, Opinion
from worker.core.parity.recording import ExecutionRow, as_row
from worker.core.parity.trial import Equipment, TrialResult
from worker.core.parity.word import Word
from worker.core.targets.convert import convert_checked
from worker.core.targets.registry import DEFAULT
from worker.core.targets.target import Target
from worker.core.workflow import v1
from worker.core.workflow.config import CustomConfig, Defaults
from worker.core.workflow.draft import Draft
from worker.core.workflow.text import MAX_BYTES
from worker.core.workflow.v1 import Workflow, is_json_null
from worker.db.bots import Basis, BotRow
from worker.db.ledger import LedgerRow
from worker.db.runs import RunOptions
from worker.errors import BotError
from worker.steps.batch.opinions import ask_about, disproved, hear, refused
from worker.steps.batch.trial import Trial, fault


class Asked(msgspec.Struct, frozen=True):
    """What a run asks for that decides on its bots.

    `include_flagged` takes bots that the platform runs on V2 without a version to run. Where the
    target's platform runs their drafts, `live_drafts` does. Differences of the codes in `strict` fail.
    """

    target: Target = DEFAULT
    include_flagged: bool = False
    live_drafts: bool = False
    strict: frozenset[str] = frozenset()

    @classmethod
    def of(cls, options: RunOptions, target: Target) -> Self:
        """What a run's options say."""
        strict = frozenset[str](options.strict)
        return cls(target, options.include_flagged, options.live_drafts, strict)


NOTHING_ELSE: Final = Asked()

TOGETHER: Final = 32
"""So many bots are decided on together."""

TOGETHER_BYTES: Final = 256 * 1024
"""Bytes of their workflows together; one that has more is alone."""


class Converted(msgspec.Struct, frozen=True):
    """A bot whose draft is ready to be written.

    `workflow_hash` is of the workflow that it was made of; `source_hash` is the same, None if more than
    that workflow and the recipe decides. `trial_result` is None if it was not executed; `executions` are
    its executions, to be recorded. `inquiry` is what the platform is to be asked, until it was.
    """

    bot_id: str
    graph: bytes
    warnings: tuple[ConversionWarning, ...]
    has_draft: bool
    workflow_hash: int | None = None
    trial_result: TrialResult | None = None
    executions: tuple[ExecutionRow, ...] = ()
    inquiry: Inquiry | None = None
    source_hash: int | None = None


class Known(msgspec.Struct, frozen=True):
    """A bot whose draft is what converting it would give, as the ledger says: it was not converted.

    `content_hash` is of the draft that was there.
    """

    bot_id: str
    content_hash: int
    warnings: tuple[ConversionWarning, ...]
    workflow_hash: int | None


Ready = Converted | Known
"""A bot that gets a draft, or keeps the one that it has."""


class Decided(msgspec.Struct, frozen=True):
    """What becomes of a bot, on what basis, and how long it took to find out.

    It is infinite where it is unknown how long it would take to convert it. `size` is about the bytes
    that it takes to keep.
    """

    basis: Basis
    what: Ready | LedgerRow
    took_s: float

    @property
    def bot_id(self) -> str:
        """The bot's id."""
        return self.what.bot_id

    @property
    def size(self) -> int:
        """Bytes of its draft and executions."""
        if not isinstance(self.what, Converted):
            return 0
        return len(self.what.graph) + sum(_size(one) for one in self.what.executions)


def decide_each(
    rows: Iterable[BotRow],
    defaults: Defaults,
    trial: Trial | None = None,
    asked: Asked = NOTHING_ELSE,
    equipment: Equipment | None = None,
) -> Generator[Decided]:
    """`decide`, for each bot in its order, with the basis and the time.

    Some are decided on together, a step for all of them before the next one: what a step needs stays in
    the processor's caches (measured by `bench.profile`).
    """
    steps = _Steps(defaults, trial, asked, equipment)
    for some in bounded(rows, _workflow_bytes, most=TOGETHER, most_size=TOGETHER_BYTES):
        yield from steps.decide(some)


def _workflow_bytes(row: BotRow) -> int:
    return len(row.workflow or b"")


def decide(
    row: BotRow,
    defaults: Defaults,
    trial: Trial | None = None,
    asked: Asked = NOTHING_ELSE,
    equipment: Equipment | None = None,
) -> Ready | LedgerRow:
    """Convert a bot and try its draft, or say why not; a draft that is known stays.

    With `equipment` the draft comes with what the platform is to be asked about it.

    Never raises: one bot's failure never fails its batch.
    """
    [decided] = decide_each([row], defaults, trial, asked, equipment)
    return decided.what


def heard(decided: Iterable[Decided], word: Word) -> Generator[Decided]:
    """What becomes of bots after the platform was asked about their drafts, in the same order.

    A bot about whose draft it was asked counts as slow, so that it is not asked again under a lock.

    Raises:
        TransientError: the platform cannot be asked now.
    """
    return hear(word, decided, _asked, _heard)


def _asked(one: Decided) -> Inquiry | None:
    return one.what.inquiry if isinstance(one.what, Converted) else None


def _heard(one: Decided, found: Opinion | None) -> Decided:
    what = one.what
    if not isinstance(what, Converted):
        return one
    if found is not None and (what.trial_result is None or found.code == "platform_refused"):
        return Decided(one.basis, refused(what.bot_id, found), math.inf)
    trial_result = what.trial_result
    if found is not None and trial_result is not None:
        trial_result = disproved(trial_result, found)
    what = msgspec.structs.replace(what, trial_result=trial_result, inquiry=None)
    return Decided(one.basis, what, math.inf)


class _Bot:
    """A bot on its way: what was made of it so far, and how long that took; `what` once it is decided."""

    __slots__ = ("draft", "row", "took_s", "what", "workflow")

    draft: Draft
    workflow: Workflow

    def __init__(self, row: BotRow) -> None:
        self.row = row
        self.took_s = 0.0
        self.what: Ready | LedgerRow | None = None

    def take(self, step: Callable[[_Bot], Ready | LedgerRow | None]) -> None:
        """Take one step; what it raises is the bot's failure."""
        started = time.perf_counter()
        try:
            self.what = step(self)
        except BotError as error:
            self.what = LedgerRow(self.row.bot_id, "failed", error.code, str(error))
        except Exception as error:  # noqa: BLE001  (a fault of ours is recorded on the bot, whole)
            self.what = fault(self.row.bot_id, error)
        self.took_s += time.perf_counter() - started


class _Steps(msgspec.Struct, frozen=True):
    """What is done with each bot, step by step, until one of them decides; the last always does."""

    defaults: Defaults
    trial: Trial | None
    asked: Asked
    equipment: Equipment | None

    def decide(self, rows: Iterable[BotRow]) -> Iterator[Decided]:
        """What becomes of each bot, in their order."""
        bots = [_Bot(row) for row in rows]
        for step in (self._read, self._convert, self._try):
            for bot in bots:
                if bot.what is None:
                    bot.take(step)
        for bot in bots:
            what = cast("Ready | LedgerRow", bot.what)
            took_s = math.inf if isinstance(what, Known) else bot.took_s
            yield Decided(bot.row.basis, what, took_s)

    def _read(self, bot: _Bot) -> Ready | LedgerRow | None:
        row = bot.row
        if (skipped := _skipped(row, self.asked)) is not None:
            return skipped
        if row.known is not None:
            known = row.known
            return Known(row.bot_id, known.content_hash, known.warnings, row.workflow_hash)
        if row.workflow is None:
            message = f"{row.workflow_bytes:,} bytes of JSON; at most {MAX_BYTES:,}"
            return LedgerRow(row.bot_id, "failed", "too_large", message)
        bot.workflow = v1.decode(row.workflow, self.defaults)
        return None

    def _convert(self, bot: _Bot) -> None:
        bot.draft = convert_checked(bot.workflow, self.asked.target)

    def _try(self, bot: _Bot) -> Converted:
        row, workflow, draft = bot.row, bot.workflow, bot.draft
        trial, equipment = self.trial, self.equipment
        trial_result = None if trial is None else trial.try_draft(row.bot_id, workflow, draft)
        trial_result = _strictly(draft.warnings, trial_result, self.asked.strict)
        inquiry = None if equipment is None else ask_about(draft.graph, trial_result, equipment)
        return _converted(row, workflow, draft, trial_result, self.asked.target, inquiry)


def _skipped(row: BotRow, asked: Asked) -> LedgerRow | None:
    """Why there is nothing to convert; None if there is."""
    if row.is_duplicate:
        message = (
            "several rows of bots have this bot_id; make it unique (flowshift db check lists them)"
        )
        return LedgerRow(row.bot_id, "skipped", "duplicate_bot_id", message)
    if row.workflow_bytes is None or (row.workflow is not None and is_json_null(row.workflow)):
        return LedgerRow(row.bot_id, "skipped", "no_workflow")
    if row.uses_v2 and row.is_published:
        return LedgerRow(row.bot_id, "skipped", "already_v2")
    if row.uses_v2 and asked.target.serves_drafts:
        return None if asked.live_drafts else _would_go_live(row)
    if row.uses_v2 and not asked.include_flagged:
        message = (
            "use_workflow_v2 is true and no version is published; --include-flagged converts it"
        )
        return LedgerRow(row.bot_id, "skipped", "flagged_without_version", message)
    return None


def _would_go_live(row: BotRow) -> LedgerRow:
    message = (
        "use_workflow_v2 is true and no version is published: this platform runs the draft then; "
        "--live-drafts writes it anyway"
    )
    return LedgerRow(row.bot_id, "skipped", "draft_would_go_live", message)


def _strictly(
    warnings: Iterable[ConversionWarning], trial_result: TrialResult | None, strict: Container[str]
) -> TrialResult | None:
    """The trial result of a draft of which a difference is known that was asked to be a failure."""
    first = next((one for one in warnings if one.code in strict), None)
    if first is None or (trial_result is not None and trial_result.code is not None):
        return trial_result
    trial_result = trial_result or TrialResult((), agreed=False)
    message = f"{first.code} is a failure here (strict): {first.message}"
    return msgspec.structs.replace(
        trial_result, agreed=False, code="parity_mismatch", message=message
    )


def _converted(
    row: BotRow,
    workflow: Workflow,
    draft: Draft,
    trial_result: TrialResult | None,
    target: Target,
    inquiry: Inquiry | None,
) -> Converted:
    executions: tuple[ExecutionRow, ...] = ()
    if trial_result is not None:
        # As rows, whose fields are cut: the executions themselves may hold what a bot's models said.
        executions = tuple(
            as_row(row.bot_id, one, target.recording) for one in trial_result.executions
        )
        trial_result = msgspec.structs.replace(trial_result, executions=())
    own_types = any(isinstance(node.config, CustomConfig) for node in workflow.nodes)
    return Converted(
        row.bot_id,
        draft.graph,
        draft.warnings,
        row.has_draft,
        row.workflow_hash,
        trial_result,
        executions,
        inquiry,
        source_hash=None if own_types else row.workflow_hash,
    )


def _size(execution: ExecutionRow) -> int:
    fields = (execution.inputs, execution.outputs or b"")
    nodes = (len(node.inputs) + len(node.outputs) for node in execution.nodes)
    return sum(map(len, fields)) + sum(nodes)
