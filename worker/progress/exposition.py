"""Samples as text for Prometheus, in its own format or in OpenMetrics', as the reader asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.utils import floatToGoString

from worker.core.metrics.catalogue import CATALOGUE
from worker.core.metrics.model import Kind, Metric, Sample

Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0"
"""What the header Accept says of a reader that understands OpenMetrics."""

Read = Callable[[], Iterable[Sample]]


class MetricsCollector(Collector):
    """Gives Prometheus' client what `read` returns, each time that it collects."""

    def __init__(self, read: Read) -> None:
        self._read = read

    def collect(self) -> Iterator[Family]:
        """A family for each metric that has samples, in the catalogue's order."""
        found: dict[str, Family] = {}
        for sample in self._read():
            family = found.setdefault(sample.name, _family(CATALOGUE[sample.name]))
            _add(family, sample)
        yield from (found[name] for name in CATALOGUE if name in found)


def write(read: Read, accept: str = "") -> tuple[bytes, str]:
    """The text of what `read` returns, and its content type, by the header Accept of the request.

    Raises:
        KeyError: a sample is of no metric of the catalogue.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(MetricsCollector(read))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


def _family(metric: Metric) -> Family:
    labels = [label.name for label in metric.labels]
    kinds: dict[Kind, type[Family]] = {
        "counter": CounterMetricFamily,
        "gauge": GaugeMetricFamily,
        "histogram": HistogramMetricFamily,
    }
    return kinds[metric.kind](metric.name, metric.help, labels=labels, unit=metric.unit)


def _add(family: Family, sample: Sample) -> None:
    if isinstance(family, HistogramMetricFamily):
        bounds = [*map(floatToGoString, CATALOGUE[sample.name].bounds), "+Inf"]
        buckets = list(zip(bounds, map(float, accumulate(sample.counts)), strict=True))
        family.add_metric(sample.labels, buckets, sample.value)
    else:
        family.add_metric(sample.labels, sample.value)
