"""The page of outcomes and codes, from where they are defined."""

from __future__ import annotations

from collections.abc import Iterable

from reference.page import page, table
from worker.core import codes


def codes_page() -> str:
    """Outcomes and codes with their meanings."""
    return page(
        "Outcomes, codes and warnings",
        "worker/core/codes.py",
        "Each run records exactly one outcome for each bot it takes, with a code where the outcome "
        "is `skipped` or `failed`. `flowshift show BOT` prints them with the message and the "
        "warnings; the table is `flowshift.ledger`.",
        "## Outcomes",
        _meanings(codes.OUTCOMES),
        "## Why a bot was skipped",
        _meanings(codes.SKIP_CODES),
        "## Why a bot failed",
        "Where several apply, the first in this order counts, and the message names the others. "
        "*Retry* is `flowshift retry RUN`, or `flowshift retry RUN --code CODE`.",
        _meanings(codes.FAILURE_CODES),
        "## Warnings",
        "A warning is a place where the draft says something that V1's picture did not show. The "
        "bot is converted anyway. [Conversion](../explanation/conversion.md) shows them at work.",
        _meanings(codes.WARNING_CODES),
    )


def _meanings(names: Iterable[str]) -> str:
    rows = [(f"`{name}`", codes.MEANINGS[name], codes.REMEDIES[name]) for name in names]
    return table(("code", "meaning", "what to do"), rows)
