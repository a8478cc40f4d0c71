"""Try a draft beside V1, message by message, and say whether it is safe (design sections 4 and 5)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Final, Literal, get_args

import msgspec

from worker.core.codes import ConversionWarning, WarningCode, quote
from worker.core.engine import v1 as v1_engine
from worker.core.engine import v2 as v2_engine
from worker.core.engine.execution import NO_VARIABLES, Variables
from worker.core.engine.parallel import Pool
from worker.core.engine.program import Program
from worker.core.engine.registry import Registry
from worker.core.engine.replay import Replay
from worker.core.parity.compare import Parity
from worker.core.parity.known import Change, judge
from worker.core.parity.word import Word
from worker.core.targets.registry import DEFAULT
from worker.core.targets.target import KnownDifference, Target
from worker.core.workflow.calls import DEFAULT_LIMITS, Clock, Limits, Providers, Trace

Code = Literal["execution_failed", "parity_mismatch"]
_CODES: Final[tuple[Code, ...]] = get_args(Code)


class Executed(msgspec.Struct, frozen=True):
    """One execution of a draft: `began` is the clock's reading, `number` the message's, from 1.

    `v1_us` is how long V1 took for the message, None if it was not asked; `v1_failed`, whether it failed.
    """

    number: int
    message: str
    session_id: str
    began: float
    trace: Trace
    v1_us: int | None = None
    v1_failed: bool = False


class Met(msgspec.Struct, frozen=True):
    """A known difference that was met, and what it came to."""

    code: WarningCode
    message: str

    def warning(self) -> ConversionWarning:
        """The warning that the bot gets."""
        return ConversionWarning(self.code, None, self.message)


class TrialResult(msgspec.Struct, frozen=True):
    """What trying a draft came to.

    `code` is None if it agreed with V1 on every message, and also where V1 itself gave no
    answer: `agreed` tells the two apart. `overhead_us` is V2's time less V1's, on the message where
    that is greatest, without the time that live models took; None if nothing was executed. `known`
    are the target's known differences that were met, each with what it first came to.
    """

    executions: tuple[Executed, ...]
    agreed: bool
    code: Code | None = None
    message: str | None = None
    overhead_us: int | None = None
    known: tuple[Met, ...] = ()


class Equipment(msgspec.Struct, frozen=True, dict=True):
    """What drafts are executed with.

    `pair` gives the providers of V1 and of V2 for one message: the same ones. Where a model does
    not answer the same twice, that is one `Replay`, made for this message. With a `pool` V2's
    independent nodes run side by side in its threads, which all use the second's providers. After
    `bot_s` seconds no further message of a bot is begun. `registry` has the node types of `target` and
    those that are installed. A known difference of the target whose code is in `strict` is one like
    any other. `platform` is the platform's own check, if it can be asked.
    """

    pair: Callable[[], tuple[Providers, Providers]]
    clock: Clock
    registry: Registry
    limits: Limits = DEFAULT_LIMITS
    pool: Pool | None = None
    bot_s: float = math.inf
    target: Target = DEFAULT
    strict: frozenset[str] = frozenset()
    platform: Word | None = None

    @cached_property
    def differences(self) -> tuple[KnownDifference, ...]:
        """The differences from V1 that a draft may have."""
        return tuple(one for one in self.target.differences if one.code not in self.strict)


class Pair(msgspec.Struct, frozen=True):
    """Both sides of a bot, ready to run; a side that cannot run is the trace that says why."""

    v1: v1_engine.Program | Trace
    v2: Program | Trace


class Compared(msgspec.Struct, frozen=True):
    """What both sides did on one message, and whether it was the same.

    `began` is the clock's reading when V2 began; `overhead_us` as in `TrialResult`.
    """

    message: str
    v1: Trace
    v2: Trace
    parity: Parity
    began: float = 0.0
    overhead_us: int = 0


def run_both(
    pair: Pair,
    message: str,
    equipment: Equipment,
    variables: Variables = NO_VARIABLES,
    session_id: str = "",
) -> Compared:
    """Run both sides on `message` and compare them; only V2 has variables and a session.

    Raises:
        BudgetSpentError, TransientError: a provider could not be asked; nothing is known.
    """
    first, second = equipment.pair()
    clock, limits = equipment.clock, equipment.limits

    def run_v1(**changes: Change) -> Trace:
        if isinstance(pair.v1, Trace):
            return pair.v1
        return v1_engine.execute(pair.v1, message, first, clock=clock, limits=limits, **changes)

    one, other = run_v1(), pair.v2
    waited_us, began = _waited_us(first), clock()
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
    v2_us = other.elapsed_us - (_waited_us(second) - waited_us)
    overhead_us = v2_us - (one.elapsed_us - waited_us)
    parity = judge(one, other, equipment.differences, run_v1)
    return Compared(message, one, other, parity, began, overhead_us)


def try_draft(
    old: v1_engine.Program,
    new: Program,
    messages: Iterable[tuple[int, str, str]],
    equipment: Equipment,
    variables: Variables = NO_VARIABLES,
) -> TrialResult:
    """Run both on every (number, message, session id); the worst that happened is the result.

    Raises:
        BudgetSpentError, TransientError: a provider could not be asked; nothing is known.
    """
    pair = Pair(old, new)
    executions: list[Executed] = []
    faults: dict[Code, str] = {}
    met: dict[WarningCode, Met] = {}
    undecided = None
    overheads_us = []
    deadline = equipment.clock() + equipment.bot_s
    for number, message, session_id in messages:
        if equipment.clock() > deadline:
            late = f"it took over {equipment.bot_s:g} s: not tried on all messages"
            undecided = undecided or late
            break
        one = run_both(pair, message, equipment, variables, session_id)
        v1_us, v1_failed = one.v1.elapsed_us, one.v1.error is not None
        executions.append(
            Executed(number, message, session_id, one.began, one.v2, v1_us, v1_failed)
        )
        overheads_us.append(one.overhead_us)
        parity = one.parity
        if parity.same is None:
            undecided = undecided or f"not compared on {quote(message, 40)}: {parity.difference}"
        elif not parity.same:
            code: Code = "execution_failed" if one.v2.error is not None else "parity_mismatch"
            faults.setdefault(code, f"on {quote(message, 40)}: {parity.difference}")
        for known in parity.known:
            if known.code not in met:
                said = f"{known.message}; on {quote(message, 40)}: {parity.difference}"
                met[known.code] = Met(known.code, said)
    found = next((code for code in _CODES if code in faults), None)
    return TrialResult(
        executions=tuple(executions),
        agreed=not faults and undecided is None and bool(executions),
        code=found,
        message=undecided if found is None else faults[found],
        overhead_us=max(overheads_us, default=None),
        known=tuple(met.values()),
    )


def _waited_us(providers: Providers) -> int:
    """The time so far that no engine took, as far as it can be measured."""
    return providers.waited_us if isinstance(providers, Replay) else 0
