"""The options of commands that may ask real models: who answers, and what that may cost."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final, get_args

import click
import msgspec

from worker.cli.arguments import Whole
from worker.cli.options import packed
from worker.core.policy.budget import Limits
from worker.db.runs import ECHO, Provider
from worker.errors import UsageError

_AMOUNT: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")


class Answering(msgspec.Struct, frozen=True, kw_only=True):
    """Who answers searches and prompts, and what it may spend."""

    provider: Provider
    max_requests: int | None
    max_tokens: int | None
    max_money: str | None

    def budget(self) -> Limits | None:
        """What may be spent; None if no option says so.

        Raises:
            UsageError: the money is no amount above zero.
        """
        if self.max_requests is None and self.max_tokens is None and self.max_money is None:
            return None
        money = None if self.max_money is None else _amount(self.max_money)
        return Limits(requests=self.max_requests, tokens=self.max_tokens, money=money)


def _amount(text: str) -> Decimal:
    if not _AMOUNT.fullmatch(text) or not (money := Decimal(text)):
        raise UsageError(f"--max-money takes an amount above zero, such as 2.50 (it is {text!r})")
    return money


provider_options: Final = packed(
    "answering",
    Answering,
    click.option(
        "--provider",
        type=click.Choice(get_args(Provider)),
        default=ECHO,
        help="Who answers: `live` asks the models of FLOWSHIFT_PROVIDERS, within a budget.",
    ),
    click.option(
        "--max-requests",
        type=Whole(1),
        metavar="N",
        show_default="no limit",
        help="Budget of `live`: N requests.",
    ),
    click.option(
        "--max-tokens",
        type=Whole(1),
        metavar="N",
        show_default="no limit",
        help="Budget of `live`: N tokens.",
    ),
    click.option(
        "--max-money",
        metavar="AMOUNT",
        show_default="no limit",
        help="Budget of `live`: money, in the currency of the prices.",
    ),
)
