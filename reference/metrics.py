"""The page of metrics, written from the catalogue."""

from __future__ import annotations

from reference.page import page, table
from worker.core.metrics.catalogue import GROUPS
from worker.core.metrics.model import Label, Metric


def metrics_page() -> str:
    """Every metric with its labels and what it says."""
    parts = [part for title, metrics in GROUPS.items() for part in (f"## {title}", _table(metrics))]
    return page(
        "Metrics",
        "worker/core/metrics/catalogue.py",
        "What `flowshift metrics` prints. Every number is read from committed rows in one snapshot. No "
        "label grows with bots, runs or hosts. [How to use them](../how-to/metrics.md).",
        *parts,
    )


def _table(metrics: tuple[Metric, ...]) -> str:
    rows = [
        (f"`{one.exposed}`", one.kind, "<br>".join(map(_label, one.labels)) or "–", _says(one))
        for one in metrics
    ]
    return table(("metric", "kind", "labels", "meaning"), rows)


def _label(label: Label) -> str:
    values = ", ".join(f"`{value}`" for value in label.values) or label.says
    return f"{label.name}: {values}"


def _says(metric: Metric) -> str:
    parts = [metric.help]
    if metric.bounds:
        parts.append(
            f"buckets up to {', '.join(f'{one:g}' for one in metric.bounds)} {metric.unit}"
        )
    if metric.guide:
        parts.append(f"the platform's guide calls it `{metric.guide}`")
    return "; ".join(parts)
