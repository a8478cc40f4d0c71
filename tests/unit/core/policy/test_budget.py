"""Budgets, as arithmetic."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from worker.core.policy.budget import Limits, Spending, why_spent


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"requests": 0},
        {"tokens": -1},
        {"requests": 1, "money": Decimal(0)},
        {"money": Decimal("NaN")},
        {"money": Decimal("Infinity")},
    ],
)
def test_a_budget_has_a_limit_and_every_limit_is_above_zero(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="limit"):
        Limits(**values)


@pytest.mark.parametrize(
    ("limits", "inside", "reached"),
    [
        (Limits(requests=2), Spending(requests=1, tokens=99), Spending(requests=2)),
        (Limits(tokens=10), Spending(requests=99, tokens=9), Spending(tokens=11)),
        (Limits(money=Decimal(1)), Spending(money=Decimal("0.999")), Spending(money=Decimal(1))),
        (
            Limits(requests=9, tokens=9),
            Spending(requests=8, tokens=8),
            Spending(requests=8, tokens=9),
        ),
    ],
)
def test_a_budget_is_spent_when_the_first_of_its_limits_is_reached(
    limits: Limits, inside: Spending, reached: Spending
) -> None:
    assert why_spent(limits, inside) is None
    assert why_spent(limits, reached) is not None
