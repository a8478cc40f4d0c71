"""What asking models may cost: the side of a budget that a chain sees, and one kept in memory."""

from __future__ import annotations

from decimal import Decimal
from typing import Protocol

from worker.core.policy.budget import Limits, Spending, why_spent
from worker.errors import BudgetSpentError


class Budget(Protocol):
    """A budget that one process or many share. `worker.db.budgets.RunBudget` is a run's."""

    def limits(self) -> Limits | None:
        """What may be spent; None if there is no budget, so that nothing may."""

    def reserve(self) -> None:
        """Count a request that is about to be made; BudgetSpentError if none is left."""

    def spend(self, tokens: int, money: Decimal) -> None:
        """Count what a request took, whatever the limits say."""


class LocalBudget:
    """A budget of this process alone, for a command in the foreground."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.spending = Spending()

    def limits(self) -> Limits:
        """What may be spent."""
        return self._limits

    def reserve(self) -> None:
        """Count a request.

        Raises:
            BudgetSpentError: nothing is left.
        """
        spent = self.spending
        if (why := why_spent(self._limits, spent)) is not None:
            raise BudgetSpentError(why)
        self.spending = Spending(
            requests=spent.requests + 1, tokens=spent.tokens, money=spent.money
        )

    def spend(self, tokens: int, money: Decimal) -> None:
        """Count what a request took."""
        spent = self.spending
        self.spending = Spending(
            requests=spent.requests, tokens=spent.tokens + tokens, money=spent.money + money
        )
