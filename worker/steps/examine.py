"""Examine one bot: what is recorded of it, and whether its draft does what V1 does, tried now."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, Literal

import msgspec
import sqlalchemy as sa

from worker.core.parity.compare import EMPTY_RESPONSE
from worker.core.parity.first_difference import OfMessage, in_short
from worker.core.parity.messages import BUILT_IN
from worker.core.parity.recording import SESSION_OF_TEST
from worker.core.parity.side_by_side import (
    Verdict,
    prepare,
    refused,
    verdict,
)
from worker.core.parity.trial import Compared, Equipment, run_both
from worker.core.targets.convert import convert_text
from worker.core.targets.detect import AUTO, Choice, written_for
from worker.core.targets.registry import DEFAULT, TARGETS
from worker.core.targets.target import Target
from worker.core.workflow import v1
from worker.core.workflow.calls import Limits
from worker.core.workflow.checklist import Answer
from worker.core.workflow.config import Defaults
from worker.core.workflow.diff import Difference, differences, draft_differences
from worker.core.workflow.interface import compare
from worker.core.workflow.v2 import is_empty
from worker.db import executions, inspect
from worker.db.engine import map_database_errors
from worker.db.executions import Execution, NodeExecution
from worker.db.inspect import BotView, LedgerView
from worker.errors import BotError
from worker.steps import find
from worker.steps.batch.kinds import KINDS
from worker.steps.target import choose_target
from worker.steps.versions.standing import Standing, read_standing

Cause = Literal["edited", "outdated", "conversion", "engine"]

LIMITS: Final = Limits(timeout_s=5.0)
EXECUTIONS_READ: Final = 5


class Drift(msgspec.Struct, frozen=True):
    """Why a draft does something else than V1, and what a conversion would write instead.

    `edited`: a person drew or changed it. `outdated`: a run wrote it, and the workflow has changed
    since. `conversion`: a conversion writes exactly this, so the fault is flowshift's. `engine`: a
    conversion writes exactly this, and no draft can express what V1 does here.
    """

    cause: Cause
    changes: tuple[Difference, ...] = ()


class Examined(msgspec.Struct, frozen=True):
    """What was found out about a draft; `drift` only if it differs from V1.

    `target` is the one whose engine executed it, `messages` is what each message came to, in short.
    """

    checklist: tuple[Answer, ...]
    verdict: Verdict
    drift: Drift | None
    target: str = DEFAULT.name
    messages: tuple[OfMessage, ...] = ()


class Examination(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about one bot.

    `history` is the newest outcome first, `validated` where a validation passed; `timings` are the
    nodes of the newest execution, the slowest first; `changes` say how the draft differs from V1;
    `examined` is None without a draft.
    `target` is the platform's. `standing`: what answers now, and what publications say of the bot.
    """

    view: BotView
    standing: Standing
    history: tuple[LedgerView, ...]
    executions: tuple[Execution, ...]
    timings: tuple[NodeExecution, ...]
    changes: tuple[Difference, ...]
    examined: Examined | None
    target: Choice

    @property
    def is_stale(self) -> bool:
        """Whether its draft was written for another target than the platform's."""
        return self.examined is not None and self.examined.target != self.target.target

    @property
    def is_good(self) -> bool:
        """Whether its latest run did not fail it, and its draft is the target's and does what V1 does."""
        failed = bool(self.history) and self.history[0].outcome == "failed"
        differs = self.examined is not None and self.examined.verdict.same is False
        return not failed and not differs and not self.is_stale


def examine_bot(
    engine: sa.Engine,
    bot_id: str,
    defaults: Defaults,
    equip: Callable[[Target], Equipment],
    *,
    asked: str | None = None,
    setting: str = AUTO,
) -> Examination:
    """Read a bot, and execute its draft beside V1 on the built-in messages. Nothing is written.

    A draft is executed as the target does that it was written for, unless a target is `asked` for.

    Raises:
        UsageError: there is no such bot; it names ids that begin alike.
        TransientError: the database was unavailable.
    """
    with map_database_errors(), engine.connect() as connection:
        view = find.bot(connection, bot_id)
        choice = choose_target(connection, asked, setting)
        standing = read_standing(
            connection,
            bot_id,
            uses_v2=view.uses_v2,
            serves_drafts=TARGETS[choice.target].serves_drafts,
        )
        history = inspect.history(connection, bot_id)
        last = executions.of_bot(connection, bot_id, EXECUTIONS_READ)
        newest = last[0].execution_id if last else None
        nodes = [] if newest is None else executions.nodes(connection, newest, with_values=False)
    target = target_to_try(view.graph, choice, asked)
    return Examination(
        view=view,
        standing=standing,
        target=choice,
        history=tuple(map(_as_shown, history)),
        executions=tuple(last),
        timings=tuple(executions.slowest_first(nodes)),
        changes=changes_between(view.workflow, view.graph, defaults, target),
        examined=examine_draft(view, defaults, equip(target)),
    )


def _as_shown(entry: LedgerView) -> LedgerView:
    """The entry; an `unchanged` that a run of its kind means as `validated` is named so."""
    validates = entry.kind is not None and KINDS[entry.kind].validates
    if not validates or entry.outcome != "unchanged":
        return entry
    return msgspec.structs.replace(entry, outcome="validated")


def target_to_try(graph: str | None, choice: Choice, asked: str | None) -> Target:
    """The target whose engine executes a draft: the one asked for, else the draft's own, else the
    platform's.
    """
    if asked is not None or graph is None or is_empty(graph.encode()):
        return TARGETS[choice.target]
    return written_for(graph.encode())


def examine_draft(view: BotView, defaults: Defaults, equipment: Equipment) -> Examined | None:
    """Check a bot's draft against the checklist and against V1; None if it has no draft.

    As in a validation, a draft that fails the checklist is not executed.
    """
    if not view.has_draft or view.graph is None:
        return None
    graph = view.graph.encode()
    column = None if view.workflow is None else view.workflow.encode()
    answers = equipment.target.checklist(graph, equipment.registry)
    target = equipment.target
    pair = prepare(column, graph, defaults, equipment.registry, target)
    if why := _refusal(answers):
        pair = msgspec.structs.replace(pair, v2=refused(BotError("execution_failed", why)))
    equipment = msgspec.structs.replace(equipment, limits=LIMITS)
    messages: list[OfMessage] = []

    def each() -> Iterator[Compared]:
        for message in BUILT_IN:
            compared = run_both(pair, message, equipment, view.variables, SESSION_OF_TEST)
            messages.append(in_short(compared))
            yield compared

    found = verdict(each())
    drift = None
    if found.same is False and column is not None:
        drift = _drift(column, graph, defaults, target, is_ours=bool(view.draft_is_ours))
        if drift.cause == "conversion" and found.first.parity.difference == EMPTY_RESPONSE:
            drift = Drift("engine")
    return Examined(answers, found, drift, target.name, tuple(messages))


def _refusal(answers: Sequence[Answer]) -> str | None:
    """Why a draft is not executed: the first thing that the checklist found."""
    for answer in answers:
        for issue in answer.issues:
            where = f"{issue.path}: " if issue.path else ""
            return f"its draft is no V2 graph: {where}{issue.message}"
        if not answer.yes:
            return (
                f"its draft is no V2 graph: {answer.evidence.removeprefix('cannot be decided: ')}"
            )
    return None


def _drift(
    column: bytes, graph: bytes, defaults: Defaults, target: Target, *, is_ours: bool
) -> Drift:
    cause: Cause = "outdated" if is_ours else "edited"
    try:
        conversion = convert_text(column, defaults, target).graph
        written, there = msgspec.json.decode(conversion), msgspec.json.decode(graph)
    except (BotError, msgspec.DecodeError, RecursionError):
        return Drift(cause)
    if there == written or compare(conversion, graph) == "saved":
        return Drift("conversion")
    changes = draft_differences(written, there) if isinstance(there, dict) else []
    return Drift(cause, tuple(changes))


def changes_between(
    workflow: str | None, graph: str | None, defaults: Defaults, target: Target
) -> tuple[Difference, ...]:
    """How a graph of V2 differs from V1 (JSON texts); empty if there is nothing to compare."""
    if workflow is None or graph is None:
        return ()
    try:
        renamed = target.new_ids(v1.decode(workflow.encode(), defaults).nodes)
        before, after = msgspec.json.decode(workflow), msgspec.json.decode(graph)
    except (BotError, msgspec.DecodeError, RecursionError):
        return ()
    if not isinstance(before, dict) or not isinstance(after, dict):
        return ()
    return tuple(differences(before, after, renamed))
