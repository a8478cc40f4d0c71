"""Plan a publication: which bots go in which wave, and what would become of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec
import sqlalchemy as sa

from worker.core.publication.eligibility import decide
from worker.core.publication.sizes import Step
from worker.core.publication.waves import Plan, Wishes, plan_waves
from worker.db import planning
from worker.db.engine import map_database_errors
from worker.db.publication import seen, waves
from worker.db.publication.waves import Options
from worker.errors import UsageError
from worker.runtime import Runtime
from worker.steps import find
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


class Planned(msgspec.Struct, frozen=True):
    """A plan, and what would become of its bots as they stand: how many by code, `ready` if none."""

    plan: Plan
    codes: dict[str, int]


def look(current: Runtime, wanted: Wanted) -> Planned:
    """What would be published, wave by wave; changes nothing.

    Raises:
        UsageError: there is no such run, or no bot to publish.
    """
    with map_database_errors(), current.engine.begin() as connection:
        plan = plan_of(connection, wanted, "preview")
        rules = rules_of(current, wanted.options)
        problem = v1_problem(current.defaults)
        codes: Counter[str] = Counter()
        for start in range(0, len(plan.bot_ids), _PAGE):
            page = plan.bot_ids[start : start + _PAGE]
            for one in seen.read(connection, page, frozenset(page), problem):
                refusal = decide(one.seen, rules)
                codes[refusal.code if refusal else "ready"] += 1
    return Planned(plan, dict(codes))


def plan_of(connection: sa.Connection, wanted: Wanted, salt: str) -> Plan:
    if wanted.run_id is not None:
        find.run(connection, wanted.run_id)
        bot_ids: Sequence[str] = waves.bots_of_run(connection, wanted.run_id)
    else:
        bot_ids = tuple(dict.fromkeys(wanted.bot_ids or ()))
        if missing := planning.missing_bots(connection, bot_ids):
            raise UsageError(f"no such bot: {', '.join(map(repr, missing[:10]))}")
    found = list(waves.candidates(connection, bot_ids, wanted.run_id))
    plan = plan_waves(found, wanted.steps, salt=salt, wishes=wanted.wishes)
    if plan.unknown:
        raise UsageError(
            f"not among the bots to publish: {', '.join(map(repr, plan.unknown[:10]))}"
        )
    if not plan.bot_ids:
        raise UsageError("there is no bot to publish: the run wrote no draft")
    return plan
