"""A bot's V1 workflow and its draft side by side on the same message, for a person to look at.

What a run records of the same is `worker.core.parity.trial`.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from worker.core.engine import v1 as v1_engine
from worker.core.engine.program import Program
from worker.core.engine.registry import Registry
from worker.core.parity.trial import Compared, Pair
from worker.core.targets.registry import DEFAULT
from worker.core.targets.target import Target
from worker.core.workflow import v1
from worker.core.workflow.calls import Trace
from worker.core.workflow.config import Defaults
from worker.errors import BotError


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
