"""Totals that only grow: each change adds to them in the transaction that it is of.

So they are as true as the rows, and stay when the rows are pruned. Every process adds in one of
`SLOTS` rows of a total, so that processes rarely wait for one another; a total is their sum.
"""

from __future__ import annotations

import os
import socket
import zlib
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from worker.core.metrics.catalogue import CATALOGUE
from worker.core.metrics.histogram import added
from worker.core.metrics.model import Sample

SLOTS: Final = 16

# In one order, so that of two transactions that add at once one waits and none is refused. A
# histogram that has more buckets than before gets them.
_ADD: Final = sa.text("""
    INSERT INTO flowshift.metric_totals AS t (slot, name, labels, value, counts)
    SELECT :slot, n.name, n.labels, n.value, n.counts
    FROM jsonb_to_recordset(CAST(:added AS jsonb))
         AS n (name text, labels text[], value float8, counts bigint[])
    ORDER BY n.name, n.labels
    ON CONFLICT (slot, name, labels) DO UPDATE SET
        value = t.value + excluded.value,
        counts = CASE WHEN excluded.counts = '{}' THEN t.counts ELSE ARRAY(
            SELECT COALESCE(u.one, 0) + COALESCE(u.other, 0)
            FROM unnest(t.counts, excluded.counts) WITH ORDINALITY AS u (one, other, place)
            ORDER BY u.place) END
""")

_READ: Final = sa.text("SELECT name, labels, value, counts FROM flowshift.metric_totals")


def add(connection: sa.Connection, samples: Iterable[Sample]) -> None:
    """Add to totals, in the transaction of what is counted; one statement.

    Call it last before the commit: until then other processes of the same slot wait for it.
    """
    together = sums(samples)
    if together:
        rows = [msgspec.structs.asdict(one) for one in together]
        values: dict[str, Any] = {
            "slot": _slot(os.getpid()),
            "added": msgspec.json.encode(rows).decode(),
        }
        connection.execute(_ADD, values)


def add_one(connection: sa.Connection, name: str, *labels: str) -> None:
    """Add 1 to a counter, in the transaction of what is counted."""
    add(connection, [Sample(name, 1.0, labels)])


def read(connection: sa.Connection) -> list[Sample]:
    """Every total; what this version does not know, another one's, is left out."""
    found = (
        Sample(name, value, tuple(labels), tuple(counts))
        for name, labels, value, counts in connection.execute(_READ)
    )
    return sums(one for one in found if _is_known(one))


def sums(samples: Iterable[Sample]) -> list[Sample]:
    """One sample for each metric and its labels.

    >>> sums([Sample("a", 1.0, ("x",)), Sample("a", 2.0, ("y",)), Sample("a", 5.0, ("x",))])[0].value
    6.0
    """
    found: dict[tuple[str, tuple[str, ...]], Sample] = {}
    for one in samples:
        was = found.get((one.name, one.labels))
        found[one.name, one.labels] = (
            one
            if was is None
            else Sample(one.name, was.value + one.value, one.labels, added(was.counts, one.counts))
        )
    return list(found.values())


def _is_known(one: Sample) -> bool:
    metric = CATALOGUE.get(one.name)
    if metric is None or len(metric.labels) != len(one.labels):
        return False
    return len(one.counts) == (len(metric.bounds) + 1 if metric.bounds else 0)


@lru_cache(maxsize=1)
def _slot(pid: int) -> int:
    return zlib.crc32(f"{socket.gethostname()} {pid}".encode()) % SLOTS
