"""Alert rules: whether one holds in a reading, and what becomes of it over time.

    ok ─► pending ─► firing ─► ok
           └─ no longer ─► ok    the condition has held, or not held, for `for_s` without a break

What could not be read says nothing: it fires no rule, and resolves none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal

import msgspec

from worker.core.metrics.model import Sample
from worker.core.notify.event import Level

Condition = Literal["gt", "lt", "absent"]
AlertState = Literal["ok", "pending", "firing"]

_WORDS: Final[Mapping[Condition, str]] = {"gt": "above", "lt": "below", "absent": "absent"}


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """A rule: `metric` is ours, `shown_as` what the rule calls it; `factor` makes its unit the rule's.

    `labels` are those that a series must have, `but` those that it must not. Of several series the
    worst counts. `kind` is the kind of its events where it is not a person's rule.
    """

    name: str
    metric: str
    shown_as: str
    condition: Condition
    threshold: float = 0.0
    for_s: float = 0.0
    factor: float = 1.0
    unit: str = ""
    labels: Mapping[str, str] = {}
    but: Mapping[str, str] = {}
    level: Level = "warning"
    kind: str | None = None

    def __str__(self) -> str:
        """In words.

        >>> print(Rule(name="slow", metric="m", shown_as="http.request.duration", condition="gt",
        ...     threshold=500, for_s=300, unit="ms"))
        http.request.duration gt 500 ms for 300 s
        """
        limit = "" if self.condition == "absent" else f" {self.threshold:,g}{self._unit}"
        where = ",".join(f'{name}="{value}"' for name, value in self.labels.items())
        series = f"{self.shown_as}{{{where}}}" if where else self.shown_as
        return f"{series} {self.condition}{limit} for {self.for_s:,g} s"

    @property
    def _unit(self) -> str:
        return f" {self.unit}" if self.unit else ""

    def said(self, reading: Reading) -> str:
        """What was read, beside the limit.

        >>> rule = Rule(name="a", metric="m", shown_as="m", condition="gt", threshold=2, unit="ms")
        >>> rule.said(Reading(True, 3.5, "queue publish")), rule.said(Reading(False, 1))
        ('m is 3.5 ms (queue publish), above 2 ms', 'm is 1 ms, not above 2 ms')
        >>> rule.said(Reading(None, None)), rule.said(Reading(True, None))
        ('m could not be read, or is absent', 'm is absent')
        """
        if reading.holds is None:
            return f"{self.shown_as} could not be read, or is absent"
        if reading.value is None:
            return f"{self.shown_as} is absent"
        where = f" ({reading.series})" if reading.series and reading.holds else ""
        word = _WORDS[self.condition] if reading.holds else f"not {_WORDS[self.condition]}"
        limit = "" if self.condition == "absent" else f" {self.threshold:,g}{self._unit}"
        return f"{self.shown_as} is {reading.value:,.4g}{self._unit}{where}, {word}{limit}"


class Reading(msgspec.Struct, frozen=True):
    """Whether a rule's condition holds now (None: it could not be read), and the worst value."""

    holds: bool | None
    value: float | None
    series: str = ""


def read_rule(
    rule: Rule, samples: Iterable[Sample], names: tuple[str, ...], *, is_whole: bool
) -> Reading:
    """A rule's reading from the samples of one moment; `names` are the labels of its metric.

    `is_whole` says that everything could be read: only then is what is missing absent.

    >>> rule = Rule(name="a", metric="m", shown_as="m", condition="gt", threshold=500, factor=1000)
    >>> samples = [Sample("m", 0.2, ("0.5",)), Sample("m", 0.9, ("0.99",)), Sample("other", 7)]
    >>> read_rule(rule, samples, ("quantile",), is_whole=True)
    Reading(holds=True, value=900.0, series='quantile 0.99')
    >>> read_rule(rule, [], ("quantile",), is_whole=True), read_rule(rule, [], (), is_whole=False)
    (Reading(holds=None, value=None, series=''), Reading(holds=None, value=None, series=''))
    """
    found = [
        (one.value * rule.factor, _series(names, one.labels))
        for one in samples
        if one.name == rule.metric and _fits(rule, dict(zip(names, one.labels, strict=True)))
    ]
    if not found:
        absent = rule.condition == "absent" and is_whole
        return Reading(True if absent else None, None)
    value, series = min(found) if rule.condition == "lt" else max(found)
    if rule.condition == "absent":
        return Reading(False, value, series)
    holds = value > rule.threshold if rule.condition == "gt" else value < rule.threshold
    return Reading(holds, value, series)


def _fits(rule: Rule, labels: Mapping[str, str]) -> bool:
    wanted = all(labels.get(name) == value for name, value in rule.labels.items())
    return wanted and all(labels.get(name) != value for name, value in rule.but.items())


def _series(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    return ", ".join(f"{name} {value}" for name, value in zip(names, values, strict=True))


# -- over time -------------------------------------------------------------------------------------


class Standing(msgspec.Struct, frozen=True):
    """A rule's state, and since when; times in seconds since 1970.

    `clear_since_s` is since when the condition of a firing rule does not hold. `judged_s` is the last
    look.
    """

    state: AlertState
    since_s: float
    judged_s: float
    clear_since_s: float | None = None


def judge(
    before: Standing | None, holds: bool | None, now_s: float, *, for_s: float, gap_s: float
) -> Standing:
    """A rule's state after one look. A look that is older than the last one changes nothing.

    After more than `gap_s` without a look nothing is known of the time between: what is pending, or
    clearing, begins anew. So does it after a look that could read nothing.

    >>> at = judge(None, True, 0, for_s=60, gap_s=30)
    >>> at.state, judge(at, True, 20, for_s=60, gap_s=30).state
    ('pending', 'pending')
    >>> for second in (20, 40, 60):
    ...     at = judge(at, True, second, for_s=60, gap_s=30)
    >>> at.state, judge(at, False, 80, for_s=60, gap_s=30).state
    ('firing', 'firing')
    """
    if before is None:
        before = Standing("ok", now_s, now_s)
    if now_s < before.judged_s:
        return before
    is_broken = holds is None or now_s - before.judged_s > gap_s
    if before.state == "firing":
        return _firing(before, holds, now_s, for_s, is_broken)
    if not holds:
        since_s = before.since_s if before.state == "ok" else now_s
        return Standing("ok", since_s, now_s)
    began_s = before.since_s if before.state == "pending" and not is_broken else now_s
    if now_s - began_s >= for_s:
        return Standing("firing", now_s, now_s)
    return Standing("pending", began_s, now_s)


def _firing(
    before: Standing, holds: bool | None, now_s: float, for_s: float, is_broken: bool
) -> Standing:
    if holds is not False:
        return Standing("firing", before.since_s, now_s)
    clear_s = now_s if is_broken or before.clear_since_s is None else before.clear_since_s
    if now_s - clear_s >= for_s:
        return Standing("ok", now_s, now_s)
    return Standing("firing", before.since_s, now_s, clear_s)


def transition(before: Standing | None, after: Standing) -> Literal["firing", "resolved"] | None:
    """What people are told of between two looks; None for nothing.

    >>> transition(None, Standing("firing", 0, 0)), transition(None, Standing("ok", 0, 0))
    ('firing', None)
    >>> transition(Standing("firing", 0, 0), Standing("ok", 9, 9))
    'resolved'
    """
    was = before is not None and before.state == "firing"
    if after.state == "firing":
        return None if was else "firing"
    return "resolved" if was else None


# -- rules that everybody has ------------------------------------------------------------------------

BUILT_IN: Final[tuple[Rule, ...]] = (
    Rule(
        name="no-worker",
        metric="flowshift_runs_without_worker",
        shown_as="flowshift_runs_without_worker",
        condition="gt",
        for_s=60,
        level="error",
        kind="worker.missing",
    ),
    Rule(
        name="run-waiting",
        metric="flowshift_runs_parked",
        shown_as="flowshift_runs_parked",
        condition="gt",
        for_s=900,
        but={"check": "business_hours"},
        kind="run.waiting",
    ),
    Rule(
        name="prune-missed",
        metric="flowshift_prune_missed",
        shown_as="flowshift_prune_missed",
        condition="gt",
        kind="prune.missed",
    ),
)
"""What is watched wherever people are told: no worker, a run that waits for long, a prune left out."""
