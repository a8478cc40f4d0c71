"""Budgets: rows of `flowshift.budgets`, shared by all processes that work on a run.

A request is counted, and that is committed, before it is made; tokens and money after, when they
are known. So a process that dies in between has counted a request that it may not have made, never
made one that is not counted. The price is that tokens and money may pass their limits by what is
under way at that moment: one request for each process.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from worker.core.policy.budget import NOTHING, Limits, Spending, why_spent
from worker.db.engine import map_database_errors
from worker.db.tables import budgets
from worker.errors import BudgetSpentError


class Budget(msgspec.Struct, frozen=True):
    """A run's budget as it stands."""

    limits: Limits
    spending: Spending

    @property
    def why_spent(self) -> str | None:
        """Which limit is reached, in words; None while something is left."""
        return why_spent(self.limits, self.spending)


class RunBudget:
    """A run's budget for one process; each call is a short transaction of its own.

    Raises (from every method):
        TransientError: the database was unavailable or busy. Then a request may be counted and not made.
    """

    def __init__(self, engine: sa.Engine, run_id: int) -> None:
        self._engine = engine
        self._run_id = run_id

    def limits(self) -> Limits | None:
        """What may be spent; None if the run was given no budget."""
        with map_database_errors(), self._engine.connect() as connection:
            budget = get(connection, self._run_id)
        return None if budget is None else budget.limits

    def reserve(self) -> None:
        """Count a request that is about to be made.

        Raises:
            BudgetSpentError: nothing is left, or the run was given no budget.
        """
        with map_database_errors(), self._engine.begin() as connection:
            if reserve(connection, self._run_id):
                return
            budget = get(connection, self._run_id)
        # Between the two statements the budget may have been raised; this request is refused anyway.
        why = "the run has no budget" if budget is None else budget.why_spent
        raise BudgetSpentError(why or "the budget was spent")

    def spend(self, tokens: int, money: Decimal) -> None:
        """Count what a request took, whatever the limits say: it is spent already."""
        with map_database_errors(), self._engine.begin() as connection:
            spend(connection, self._run_id, tokens=tokens, money=money)


def allow(connection: sa.Connection, run_id: int, limits: Limits) -> None:
    """Give a run a budget, or one with other limits; what it has spent stays spent."""
    values: dict[str, Any] = {
        "max_requests": limits.requests,
        "max_tokens": limits.tokens,
        "max_money": limits.money,
    }
    connection.execute(
        insert(budgets)
        .values(run_id=run_id, **values)
        .on_conflict_do_update(index_elements=[budgets.c.run_id], set_=values)
    )


def get(connection: sa.Connection, run_id: int) -> Budget | None:
    """A run's budget; None if it was given none."""
    row = connection.execute(sa.select(budgets).where(budgets.c.run_id == run_id)).one_or_none()
    if row is None:
        return None
    return Budget(
        Limits(requests=row.max_requests, tokens=row.max_tokens, money=row.max_money),
        Spending(requests=row.requests, tokens=row.tokens, money=row.money),
    )


def reserve(connection: sa.Connection, run_id: int) -> bool:
    """Count one request if no limit is reached; says whether it did.

    A conditional UPDATE: of two that want the last request, the second waits for the first to
    commit and then finds none.
    """
    left = [
        sa.or_(limit.is_(None), spent < limit)
        for limit, spent in (
            (budgets.c.max_requests, budgets.c.requests),
            (budgets.c.max_tokens, budgets.c.tokens),
            (budgets.c.max_money, budgets.c.money),
        )
    ]
    counted = connection.execute(
        sa.update(budgets)
        .where(budgets.c.run_id == run_id, *left)
        .values(requests=budgets.c.requests + 1)
    )
    return bool(counted.rowcount)


def spend(connection: sa.Connection, run_id: int, *, tokens: int, money: Decimal = NOTHING) -> None:
    """Add what a request took."""
    connection.execute(
        sa.update(budgets)
        .where(budgets.c.run_id == run_id)
        .values(tokens=budgets.c.tokens + tokens, money=budgets.c.money + money)
    )
