"""What a prune deleted, as metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from worker.core.metrics.model import Sample

ROWS: Final[Mapping[str, str]] = {
    "runs": "executions",
    "nodes": "execution_nodes",
    "ledger": "ledger",
    "batches": "batches",
    "own_runs": "runs",
    "audit": "audit",
    "prunes": "prunes",
    "proofs": "proofs",
    "gate_readings": "gate_readings",
    "gate_counts": "gate_counts",
}
"""What a prune's record calls them, and what the metric does."""


def pruned(gone: Mapping[str, int]) -> list[Sample]:
    """What to add to the totals for what is gone, by the kinds of a prune's record.

    >>> [(one.name, one.value, one.labels) for one in pruned({"runs": 2, "bytes": 9, "kept": 1})]
    [('flowshift_pruned_rows', 2, ('executions',)), ('flowshift_pruned_bytes', 9, ())]
    """
    rows = [
        Sample("flowshift_pruned_rows", number, (ROWS[kind],))
        for kind, number in gone.items()
        if kind in ROWS
    ]
    octets = gone.get("bytes", 0)
    return [*rows, Sample("flowshift_pruned_bytes", octets)] if octets else rows
