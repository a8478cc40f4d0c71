"""What the live trials of a run may spend, and when it is spent."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Final

import msgspec
from msgspec import Meta

NOTHING: Final = Decimal(0)


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The most that may be spent; None is no limit. `money` is in the currency of the prices.

    Raises:
        ValueError: there is no limit at all, or one is no number above zero.
    """

    requests: Annotated[int, Meta(ge=1)] | None = None
    tokens: Annotated[int, Meta(ge=1)] | None = None
    money: Decimal | None = None

    def __post_init__(self) -> None:
        given = [one for one in (self.requests, self.tokens, self.money) if one is not None]
        if not given:
            raise ValueError("a budget limits requests, tokens or money")
        if any(not Decimal(one).is_finite() or one <= 0 for one in given):
            raise ValueError("a limit is a number above zero")


class Spending(msgspec.Struct, frozen=True, kw_only=True):
    """What has been spent."""

    requests: int = 0
    tokens: int = 0
    money: Decimal = NOTHING


def why_spent(limits: Limits, spending: Spending) -> str | None:
    """Which limit is reached, in words; None while one more request may be made.

    >>> why_spent(Limits(requests=2), Spending(requests=1))
    >>> why_spent(Limits(requests=2), Spending(requests=2))
    'the budget is spent: 2 of 2 requests'
    >>> why_spent(Limits(money=Decimal("0.50")), Spending(money=Decimal("0.5012")))
    'the budget is spent: money 0.5012 of 0.50'
    """
    if limits.requests is not None and spending.requests >= limits.requests:
        return f"the budget is spent: {spending.requests:,} of {limits.requests:,} requests"
    if limits.tokens is not None and spending.tokens >= limits.tokens:
        return f"the budget is spent: {spending.tokens:,} of {limits.tokens:,} tokens"
    if limits.money is not None and spending.money >= limits.money:
        return f"the budget is spent: money {spending.money:f} of {limits.money:f}"
    return None
