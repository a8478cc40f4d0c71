"""Single bots that are sick while their wave is not: which of them go back to V1 alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from worker.core.publication.e_values import NOTHING_LEFT, log_e_above, log_mean
from worker.core.publication.evidence import BotReading

SILENT_FROM: Final = 7.0
"""Where at least so many executions should have come and none did, the bot is sick."""


def log_e_of(bot: BotReading) -> float:
    """The evidence against a bot: the mean over its metrics and its silence.

    >>> log_e_of(BotReading(bot_id="b"))
    0.0
    """
    logs = [log_e_above(one.count.failed, one.count.executions, one.p0) for one in bot.metrics]
    if bot.expected > 0:
        logs.append(log_e_silent(bot.expected, bot.seen))
    return log_mean(logs) if logs else 0.0


def log_e_silent(expected: float, seen: int) -> float:
    """Against the claim that executions come as expected, where none has come.

    Of visitors who come independently none comes with a probability of exp(-expected), and a bet
    on that is fair; what is below `SILENT_FROM` counts as nothing.

    >>> log_e_silent(8.0, 0), log_e_silent(8.0, 1), log_e_silent(6.9, 0)
    (8.0, -inf, -inf)
    """
    return expected if seen == 0 and expected >= SILENT_FROM else NOTHING_LEFT


def is_suspect(bot: BotReading, false_share: float) -> bool:
    """Whether its E-value can matter at all: below 1/`false_share` no bot is ever rejected."""
    return log_e_of(bot) >= -math.log(false_share)


def rejected(
    suspects: Sequence[tuple[str, float]], bots: int, false_share: float
) -> tuple[str, ...]:
    """The bots to quarantine, by e-BH: the k with the largest E-values, each at least N/(share·k).

    `suspects` are ids with the logarithm of their E-values; of the `bots` (N) the others have
    smaller ones. However the bots depend on each other, on average at most `false_share` of those
    rejected are healthy. The largest such k; the worst first.

    >>> rejected([("a", 9.0), ("b", 8.0), ("c", 3.0)], 100, 0.05)
    ('a', 'b')
    >>> rejected([("a", 7.0)], 100, 0.05), rejected([("a", 7.0)], 50, 0.05)
    ((), ('a',))
    """
    worst = sorted(suspects, key=lambda one: (-one[1], one[0]))
    for k in range(len(worst), 0, -1):
        if worst[k - 1][1] >= math.log(max(bots, len(worst)) / (false_share * k)):
            return tuple(bot_id for bot_id, _ in worst[:k])
    return ()
