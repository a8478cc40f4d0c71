"""The catalogue of metrics keeps to Prometheus' naming, and no label of it grows."""

from __future__ import annotations

import re

import pytest

from worker.core.metrics.catalogue import CATALOGUE, PARTS
from worker.core.metrics.model import Metric
from worker.steps.metrics.read import READERS

METRICS = pytest.mark.parametrize("metric", CATALOGUE.values(), ids=list(CATALOGUE))


@METRICS
def test_a_name_is_ours(metric: Metric) -> None:
    assert re.fullmatch(r"flowshift_[a-z][a-z0-9_]*[a-z0-9]", metric.name)


@METRICS
def test_only_a_counter_is_asked_for_as_a_total(metric: Metric) -> None:
    assert not metric.name.endswith(("_total", "_count", "_sum", "_bucket", "_info"))
    assert metric.exposed.endswith("_total") == (metric.kind == "counter")


@METRICS
def test_only_a_histogram_has_bounds_and_they_rise(metric: Metric) -> None:
    assert bool(metric.bounds) == (metric.kind == "histogram")
    assert list(metric.bounds) == sorted(set(metric.bounds))


@METRICS
def test_the_values_of_a_label_are_known_or_what_bounds_them_is(metric: Metric) -> None:
    for label in metric.labels:
        assert label.values or label.says
        assert label.name not in {"bot", "bot_id", "run", "run_id", "host", "worker", "pid"}


@METRICS
def test_the_help_is_one_line_without_a_full_stop(metric: Metric) -> None:
    assert "\n" not in metric.help
    assert not metric.help.endswith(".")


def test_every_part_that_is_read_can_be_named_as_failed() -> None:
    assert tuple(READERS) == PARTS
