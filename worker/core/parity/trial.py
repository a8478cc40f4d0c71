"""Try a draft beside V1, message by message, and say whether it is safe (design sections 4 and 5)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Literal

import msgspec

from worker.core.codes import ConversionWarning, WarningCode, quote
from worker.core.engine import v1 as v1_engine
from worker.core.engine import v2 as v2_engine
from worker.core.engine.execution import NO_VARIABLES, Variables
from worker.core.engine.parallel import Pool
from worker.core.engine.program import Program
from worker.core.engine.registry import Registry
from worker.core.engine.replay import Replay
from worker.core.parity.known import judge
from worker.core.parity.word import Word
from worker.core.targets.registry import DEFAULT
from worker.core.targets.target import KnownDifference, Target
from worker.core.workflow.calls import DEFAULT_LIMITS, Clock, Limits, Providers, Trace

Code = Literal["execution_failed", "parity_mismatch"]


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


class Equipment(msgspec.Struct, frozen=True):
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

    @property
    def differences(self) -> tuple[KnownDifference, ...]:
        """The differences from V1 that a draft may have."""
        return tuple(one for one in self.target.differences if one.code not in self.strict)


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
    executions: list[Executed] = []
    faults: dict[Code, str] = {}
    met: dict[WarningCode, Met] = {}
    undecided = None
    overhead_us = None
    deadline, differences = equipment.clock() + equipment.bot_s, equipment.differences
    for number, message, session_id in messages:
        if equipment.clock() > deadline:
            undecided = (
                undecided or f"it took over {equipment.bot_s:g} s: not tried on all messages"
            )
            break
        first, second = equipment.pair()
        run_v1 = partial(
            v1_engine.execute,
            *(old, message, first),
            clock=equipment.clock,
            limits=equipment.limits,
        )
        expected = run_v1()
        waited_us = _waited_us(first)
        began = equipment.clock()
        trace = v2_engine.execute(
            new,
            message,
            second,
            clock=equipment.clock,
            limits=equipment.limits,
            variables=variables,
            session_id=session_id,
            pool=equipment.pool,
        )
        executions.append(
            Executed(
                number,
                message,
                session_id,
                began,
                trace,
                v1_us=expected.elapsed_us,
                v1_failed=expected.error is not None,
            )
        )
        v2_us = trace.elapsed_us - (_waited_us(second) - waited_us)
        over = v2_us - (expected.elapsed_us - waited_us)
        overhead_us = over if overhead_us is None else max(overhead_us, over)
        parity = judge(expected, trace, differences, run_v1)
        if parity.same is None:
            undecided = undecided or f"not compared on {quote(message, 40)}: {parity.difference}"
        elif not parity.same:
            code: Code = "execution_failed" if trace.error is not None else "parity_mismatch"
            faults.setdefault(code, f"on {quote(message, 40)}: {parity.difference}")
        for one in parity.known:
            if one.code not in met:
                said = f"{one.message}; on {quote(message, 40)}: {parity.difference}"
                met[one.code] = Met(one.code, said)
    found = next((one for one in ("execution_failed", "parity_mismatch") if one in faults), None)
    return TrialResult(
        executions=tuple(executions),
        agreed=not faults and undecided is None and bool(executions),
        code=found,
        message=undecided if found is None else faults[found],
        overhead_us=overhead_us,
        known=tuple(met.values()),
    )


def _waited_us(providers: Providers) -> int:
    """The time so far that no engine took, as far as it can be measured."""
    return providers.waited_us if isinstance(providers, Replay) else 0
