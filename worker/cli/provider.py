"""Options of commands that may ask real models."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar, get_args

import click

from worker.core.policy.budget import Limits
from worker.db.runs import ECHO, Provider
from worker.errors import UsageError

Command = TypeVar("Command", bound=Callable[..., Any])


def provider_options(command: Command) -> Command:
    """`--provider`, and what it may spend."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


_OPTIONS: list[Callable[[Any], Any]] = [
    click.option(
        "--provider",
        type=click.Choice(get_args(Provider)),
        default=ECHO,
        show_default=True,
        help="Who answers: `live` asks the models of FLOWSHIFT_PROVIDERS, within a budget.",
    ),
    click.option("--max-requests", type=click.IntRange(1), help="Live: requests to spend."),
    click.option("--max-tokens", type=click.IntRange(1), help="Live: tokens to spend."),
    click.option(
        "--max-money", metavar="AMOUNT", help="Live: money to spend, in the currency of the prices."
    ),
]


def budget_of(
    max_requests: int | None, max_tokens: int | None, max_money: str | None
) -> Limits | None:
    """What may be spent; None where nothing was said.

    Raises:
        UsageError: the money is no amount above zero.
    """
    if max_requests is None and max_tokens is None and max_money is None:
        return None
    try:
        money = None if max_money is None else Decimal(max_money)
        return Limits(requests=max_requests, tokens=max_tokens, money=money)
    except (InvalidOperation, ValueError) as error:
        raise UsageError(f"--max-money takes an amount above zero (it is {max_money!r})") from error
