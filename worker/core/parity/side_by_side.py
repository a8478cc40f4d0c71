"""A bot's V1 workflow and its draft side by side on the same message, for a person to look at.

What a run records of the same is `worker.core.parity.trial`.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from worker.core.engine import v1 as v1_engine
from worker.core.engine import v2 as v2_engine
from worker.core.engine.execution import NO_VARIABLES, Variables
from worker.core.engine.program import Program
from worker.core.engine.registry import Registry
from worker.core.parity.compare import Parity
from worker.core.parity.known import Change, judge
from worker.core.parity.trial import Equipment
from worker.core.targets.registry import DEFAULT
from worker.core.targets.target import Target
from worker.core.workflow import v1
from worker.core.workflow.calls import Trace
from worker.core.workflow.config import Defaults
from worker.errors import BotError


class Pair(msgspec.Struct, frozen=True):
    """Both sides of a bot, ready to run; a side that cannot run is the trace that says why."""

    v1: v1_engine.Program | Trace
    v2: Program | Trace


class Compared(msgspec.Struct, frozen=True):
    """What both sides did on one message, and whether it was the same."""

    message: str
    v1: Trace
    v2: Trace
    parity: Parity


class Verdict(msgspec.Struct, frozen=True):
    """Several messages taken together.

    `same` is False if one differs, and None if none could be compared. `first` is the one to
    look at: the first that differs, else the first of all.
    """

    same: bool | None
    tried: int
    differing: int
    first: Compared


def prepare(
    column: bytes | None,
    graph: bytes,
    defaults: Defaults,
    registry: Registry,
    target: Target = DEFAULT,
) -> Pair:
    """Make a bot's column (its text) and its draft's graph ready; once, for any number of messages."""
    return Pair(_prepare_v1(column, defaults), _prepare_v2(graph, registry, target))


def _prepare_v1(column: bytes | None, defaults: Defaults) -> v1_engine.Program | Trace:
    if not column or v1.is_json_null(column):
        return refused(BotError("no_workflow", "the column is empty"))
    try:
        return v1_engine.prepare(v1.decode(column, defaults))
    except BotError as error:
        return refused(error)


def _prepare_v2(graph: bytes, registry: Registry, target: Target) -> Program | Trace:
    try:
        return target.decode(graph, registry)
    except BotError as error:
        return refused(error)
    except RecursionError:  # jsonb nests deeper than a program should follow
        return refused(BotError("execution_failed", "the graph is nested too deep to be read"))


def refused(error: BotError) -> Trace:
    """The execution of what cannot be executed."""
    return Trace(None, (), f"{error.code}: {error}")


def run_both(
    pair: Pair,
    message: str,
    equipment: Equipment,
    variables: Variables = NO_VARIABLES,
    session_id: str = "",
) -> Compared:
    """Run both sides on `message` and compare them; only V2 has variables and a session."""
    other = pair.v2
    first, second = equipment.pair()
    clock, limits = equipment.clock, equipment.limits

    def run_v1(**changes: Change) -> Trace:
        if isinstance(pair.v1, Trace):
            return pair.v1
        return v1_engine.execute(pair.v1, message, first, clock=clock, limits=limits, **changes)

    one = run_v1()
    if isinstance(other, Program):
        other = v2_engine.execute(
            other,
            message,
            second,
            clock=clock,
            limits=limits,
            variables=variables,
            session_id=session_id,
            pool=equipment.pool,
        )

    return Compared(message, one, other, judge(one, other, equipment.differences, run_v1))


def verdict(compared: Iterable[Compared]) -> Verdict:
    """What several comparisons (one at least) come to; only the one to look at is kept."""
    first: Compared | None = None
    tried = differing = agreed = 0
    for one in compared:
        tried += 1
        agreed += one.parity.same is True
        differing += one.parity.same is False
        if first is None or (one.parity.same is False and differing == 1):
            first = one
    if first is None:
        raise ValueError("nothing was compared")
    return Verdict(False if differing else True if agreed else None, tried, differing, first)
