"""Plan a publication: which bots go in which wave, and what would become of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import sqlalchemy as sa

from worker.core.backup.asks import asks_for_backup
from worker.core.counted import counted
from worker.core.publication.eligibility import decide
from worker.core.publication.sizes import Step
from worker.core.publication.waves import Plan, Wishes, plan_waves
from worker.db import planning
from worker.db.engine import map_database_errors
from worker.db.publication import seen, waves
from worker.db.publication.waves import Options
from worker.errors import ConflictError, UsageError
from worker.runtime import Runtime
from worker.steps import find
from worker.steps.backup.recent import FOR_FIRST, why_no_backup
from worker.steps.publication.asked import asked_of_late
from worker.steps.publication.rules import rules_of
from worker.steps.publication.v1 import v1_problem

_PAGE: Final = 500


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a person asks to publish: the bots of a run, or those listed."""

    run_id: int | None = None
    bot_ids: tuple[str, ...] | None = None
    steps: tuple[Step, ...]
    wishes: Wishes
    options: Options


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """A plan, and what would become of its bots as they stand: how many by code, `ready` if none.

    `asking` are the numbers of the waves that ask for a verified backup; `lacking` says why there is
    none for them now, and how one is made, None if there is one or none is asked for.
    """

    plan: Plan
    codes: dict[str, int]
    asking: tuple[int, ...] = ()
    lacking: str | None = None

    @property
    def refusal(self) -> str | None:
        """Why this plan cannot begin now; None if it can."""
        if self.lacking is None or 1 not in self.asking:
            return None
        first, bots = self.plan.waves[0].size, len(self.plan.bot_ids)
        return too_large_first(f"it takes {first:,} of {counted(bots, 'bot')}; {self.lacking}")


def too_large_first(why: str) -> str:
    """Why a publication cannot begin whose first wave asks for a backup."""
    return f"nothing was planned or published, since wave 1 is large: {why}"


def look(current: Runtime, wanted: Wanted) -> Planned:
    """What would be published, wave by wave; changes nothing.

    Raises:
        UsageError: there is no such run, or no bot to publish.
    """
    traffic = asked_of_late(current.engine)
    with map_database_errors(), current.engine.begin() as connection:
        plan = plan_of(connection, wanted, "preview", traffic)
        rules = rules_of(current, wanted.options)
        problem = v1_problem(current.defaults)
        codes: Counter[str] = Counter()
        for start in range(0, len(plan.bot_ids), _PAGE):
            page = plan.bot_ids[start : start + _PAGE]
            for one in seen.read(connection, page, frozenset(page), problem):
                refusal = decide(one.seen, rules)
                codes[refusal.code if refusal else "ready"] += 1
        asking = _asking(plan) if wanted.options.needs_backup else ()
        lacking = why_no_backup(connection, FOR_FIRST) if asking else None
    return Planned(plan=plan, codes=dict(codes), asking=asking, lacking=lacking)


def _asking(plan: Plan) -> tuple[int, ...]:
    bots = len(plan.bot_ids)
    return tuple(n for n, wave in enumerate(plan.waves, 1) if asks_for_backup(wave.size, bots))


def plan_of(
    connection: sa.Connection, wanted: Wanted, salt: str, traffic: Mapping[str, float]
) -> Plan:
    """Who goes when; `traffic` is by bot, executions a day."""
    if wanted.run_id is not None:
        find.run(connection, wanted.run_id)
        bot_ids: Sequence[str] = waves.bots_of_run(connection, wanted.run_id)
    else:
        bot_ids = tuple(dict.fromkeys(wanted.bot_ids or ()))
        if missing := planning.missing_bots(connection, bot_ids):
            raise UsageError(f"no such bot: {', '.join(map(repr, missing[:10]))}")
    found = list(waves.candidates(connection, bot_ids, wanted.run_id, traffic))
    plan = plan_waves(found, wanted.steps, salt=salt, wishes=wanted.wishes)
    if plan.unknown:
        raise UsageError(
            f"not among the bots to publish: {', '.join(map(repr, plan.unknown[:10]))}"
        )
    if not plan.bot_ids:
        raise ConflictError("there is no bot to publish: the run wrote no draft")
    return plan
