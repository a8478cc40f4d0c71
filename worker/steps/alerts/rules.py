"""The alert rules: the TOML file that `FLOWSHIFT_ALERTS` names, held against the catalogue of metrics.

    [[alert]]
    name = "slow"
    metric = "http.request.duration"     # a name of the platform's guide, or of docs/reference/metrics.md
    condition = "gt"
    threshold = 500                      # milliseconds there; else the metric's unit
    for_s = 300

docs/how-to/alerts.md explains every key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import msgspec
from msgspec import Meta

from worker.core.alerts.rules import BUILT_IN, Condition, Rule
from worker.core.metrics.catalogue import CATALOGUE
from worker.core.metrics.model import Metric
from worker.core.notify.event import Level
from worker.errors import ConfigError
from worker.settings import Settings
from worker.settings.toml_file import did_you_mean, read_tables, refused

SETTING: Final = "FLOWSHIFT_ALERTS"

_UNITS: Final[Mapping[str, str]] = {"seconds": "s", "bytes": "B", "cores": "cores"}


class AlertConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule as a person writes it."""

    name: Annotated[
        str,
        Meta(
            pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$",
            extra={
                "expected": "a name of at most 40 characters: a-z, 0-9, _ and -, a letter or digit first"
            },
        ),
    ]
    metric: Annotated[str, Meta(min_length=1, extra={"expected": "the name of a metric"})]
    condition: Condition
    threshold: float | None = None
    for_s: Annotated[float, Meta(ge=0, le=86_400)] = 0.0
    labels: Annotated[
        dict[str, str], Meta(extra={"expected": "a table of labels and their values, both texts"})
    ] = {}
    level: Level = "warning"


class _Known(NamedTuple):
    """A metric under one of its names; `factor` makes its unit that name's."""

    metric: Metric
    factor: float
    unit: str


def load(path: Path) -> tuple[Rule, ...]:
    """Read and check the file; returns a person's rules, in their order.

    Raises:
        ConfigError: it cannot be read or is wrong; says where and what should be there.
    """
    rules = tuple(
        _rule(path, one) for one in read_tables(path, "alert", AlertConfig, setting=SETTING)
    )
    taken = [rule.name for rule in BUILT_IN]
    for rule in rules:
        if rule.name in taken:
            raise refused(path, f"there are two alerts of the name {rule.name}", SETTING)
        taken.append(rule.name)
    return rules


def rules_of(settings: Settings) -> tuple[Rule, ...]:
    """Every rule that is judged: those that everybody has, then a person's; read once a process.

    Raises:
        ConfigError: the file is wrong.
    """
    return BUILT_IN + _loaded(settings.alerts_path)


@cache
def _loaded(path: Path | None) -> tuple[Rule, ...]:
    return () if path is None else load(path)


def _rule(path: Path, one: AlertConfig) -> Rule:
    known = _known()
    if one.metric not in known:
        hint = did_you_mean(one.metric, list(known))
        raise _refused(path, one, f"there is no metric {one.metric!r}{hint}")
    found = known[one.metric]
    _refuse_labels(path, one, found.metric)
    if (one.threshold is None) is not (one.condition == "absent"):
        needs = "takes no threshold" if one.condition == "absent" else "needs a threshold"
        raise _refused(path, one, f"{one.condition} {needs}")
    return Rule(
        name=one.name,
        metric=found.metric.name,
        shown_as=one.metric,
        condition=one.condition,
        threshold=one.threshold or 0.0,
        for_s=one.for_s,
        factor=found.factor,
        unit=found.unit,
        labels=one.labels,
        level=one.level,
    )


def _refuse_labels(path: Path, one: AlertConfig, metric: Metric) -> None:
    known = {label.name: label.values for label in metric.labels}
    for name, value in one.labels.items():
        if name not in known:
            there = ", ".join(known) or "none"
            hint = did_you_mean(name, list(known)) or f"; it has {there}"
            raise _refused(path, one, f"{one.metric} has no label {name!r}{hint}")
        if known[name] and value not in known[name]:
            hint = did_you_mean(value, known[name]) or f"; it has {', '.join(known[name])}"
            raise _refused(path, one, f"{name} of {one.metric} is never {value!r}{hint}")


@cache
def _known() -> Mapping[str, _Known]:
    return dict(_names())


def _names() -> Iterator[tuple[str, _Known]]:
    for metric in CATALOGUE.values():
        if metric.kind == "histogram":
            continue  # no one value
        known = _Known(metric, 1.0, _UNITS.get(metric.unit, ""))
        yield metric.exposed, known
        if metric.guide is not None:
            in_ms = metric.unit == "seconds"
            yield metric.guide, _Known(metric, 1_000.0, "ms") if in_ms else known


def _refused(path: Path, one: AlertConfig, why: str) -> ConfigError:
    return refused(path, f"alert {one.name}: {why}", SETTING)
