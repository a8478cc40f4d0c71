"""Samples as Prometheus reads them: its own parsers, of both formats, give back what went in."""

from __future__ import annotations

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

from worker.core.metrics.model import Sample
from worker.progress.exposition import OPENMETRICS, write

READING = [
    Sample("flowshift_runs", 2.0, ("convert", "running")),
    Sample("flowshift_up", 1.0),
    Sample("flowshift_runs", 1.0, ("publish", "paused")),
]


def test_both_formats_say_the_same() -> None:
    plain, _ = write(lambda: READING)
    newer, _ = write(lambda: READING, OPENMETRICS)

    older = prometheus(plain.decode())
    for families in (older, openmetrics(newer.decode())):  # type: ignore[no-untyped-call]
        found = [(s.name, s.labels, s.value) for family in families for s in family.samples]
        assert found == [
            ("flowshift_up", {}, 1.0),
            ("flowshift_runs", {"kind": "convert", "state": "running"}, 2.0),
            ("flowshift_runs", {"kind": "publish", "state": "paused"}, 1.0),
        ]


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version=0.0.4"),
        ("*/*", "text/plain; version=0.0.4"),
        ("text/html", "text/plain; version=0.0.4"),
        (
            "application/openmetrics-text;version=1.0.0,text/plain;q=0.5",
            "application/openmetrics-text",
        ),
        ("nonsense;;;==", "text/plain; version=0.0.4"),
    ],
)
def test_the_format_is_the_one_that_the_reader_asks_for(accept: str, content_type: str) -> None:
    assert write(lambda: READING, accept)[1].startswith(content_type)


def test_a_sample_of_no_known_metric_is_refused() -> None:
    with pytest.raises(KeyError):
        write(lambda: [Sample("flowshift_nonsense", 1.0)])
