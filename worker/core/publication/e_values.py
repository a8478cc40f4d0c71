"""E-values: the evidence of executions against a rate of failures, however often one looks.

An E-value is the money of a gambler who bets against a claim, from 1 on, at odds that are fair if
the claim is true. Then it is at most 1 on average at any time, and (Ville's inequality) it ever
reaches x with a probability of at most 1/x: no plan of looks is needed, no correction for them.

All are mixtures of likelihood ratios, in natural logarithms, since the E-values themselves do not
fit into a float. `failed` of `executions` failed, in any order.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final

NOTHING_LEFT: Final = -math.inf
"""The logarithm of an E-value of 0: the bet is lost permanently."""

_FACTORS: Final = (2.0, 4.0, 8.0)
_HIGH: Final = (0.5, 0.9)


def log_e_above(failed: int, executions: int, p0: float) -> float:
    """Against the claim that at most `p0` fail: the higher, the worse.

    The mean over the rates 2·p0, 4·p0, 8·p0, 0.5 and 0.9, those of them above p0 and below 1.

    Raises:
        ValueError: p0 is not above 0 and below 1, or the counts cannot be.

    >>> round(math.exp(log_e_above(9, 41, 0.02)), -3)
    201000.0
    >>> log_e_above(0, 0, 0.02)
    0.0
    """
    return _log_mean_ratio(failed, executions, p0, rates_above(p0))


def log_e_below(failed: int, executions: int, p1: float) -> float:
    """Against the claim that at least `p1` fail: the higher, the better.

    The mean over the rates p1/2, p1/4, p1/8 and 0.

    Raises:
        ValueError: p1 is not above 0 and below 1, or the counts cannot be.

    >>> log_e_below(0, 69, 0.05) < math.log(20) <= log_e_below(0, 70, 0.05)
    True
    """
    return _log_mean_ratio(failed, executions, p1, (*(p1 / factor for factor in _FACTORS), 0.0))


def rates_above(p0: float) -> tuple[float, ...]:
    """The rates that `log_e_above` bets on: at least one.

    >>> rates_above(0.25), rates_above(0.95)
    ((0.5, 0.9), (0.975,))
    """
    rates = {rate for rate in (*(p0 * factor for factor in _FACTORS), *_HIGH) if p0 < rate < 1}
    return tuple(sorted(rates)) or ((1 + p0) / 2,)


def log_mean(logs: Sequence[float]) -> float:
    """The logarithm of the mean of what these are logarithms of; the mean of E-values is one.

    >>> round(math.exp(log_mean([math.log(1), math.log(3), NOTHING_LEFT])), 6)
    1.333333
    """
    top = max(logs)
    if top == NOTHING_LEFT:
        return NOTHING_LEFT
    return top + math.log(math.fsum(math.exp(one - top) for one in logs) / len(logs))


def _log_mean_ratio(failed: int, executions: int, claim: float, rates: Iterable[float]) -> float:
    if not 0 < claim < 1:
        raise ValueError(f"a rate must be above 0 and below 1, and {claim} is not")
    if not 0 <= failed <= executions:
        raise ValueError(f"{failed} of {executions} executions cannot have failed")
    return log_mean([_log_ratio(failed, executions - failed, claim, rate) for rate in rates])


def _log_ratio(failed: int, clean: int, claim: float, rate: float) -> float:
    if rate == 0 and failed:
        return NOTHING_LEFT
    said = failed * math.log(rate / claim) if failed else 0.0
    return said + clean * (math.log1p(-rate) - math.log1p(-claim))
