"""What was measured of one fleet, and how that reads: arithmetic and Markdown, nothing is measured here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

SLICES: Final = 10
"""The number of equal parts of a fleet, each with a rate of its own."""

LEAST_SHARE: Final = 0.001
"""Tables of a smaller share of all bytes are not shown."""


class TableSize(msgspec.Struct, frozen=True):
    """A table as it is stored, in bytes: its rows, what is stored outside of them, each index."""

    table: str
    rows: int
    heap_bytes: int
    toast_bytes: int
    index_bytes: Mapping[str, int]

    @property
    def total_bytes(self) -> int:
        """Everything together."""
        return self.heap_bytes + self.toast_bytes + sum(self.index_bytes.values())


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """One fleet, converted with one `validate`.

    Rates are bots a second, those of the floor by the size of its statements (`bench.floor`).
    `slice_rates` are those of equal parts of the fleet in the order in which they were done, `again_…`
    of the second run. `peak_mb` is unique memory by process. Sizes are those after the first run.
    """

    bots: int
    fleet: str
    validate: str
    large_floor_bots_per_s: float
    small_floor_bots_per_s: float
    flowshift_bots_per_s: float
    again_bots_per_s: float
    peer_bots_per_s: float | None
    slice_rates: Sequence[float]
    again_slice_rates: Sequence[float]
    peak_mb: Mapping[str, float]
    tables: Sequence[TableSize]
    wal_bytes_per_bot: float
    parts_us_per_bot: Mapping[str, float]

    @property
    def floor_bots_per_s(self) -> float:
        """The rate of the floor: of its two, the faster."""
        return max(self.large_floor_bots_per_s, self.small_floor_bots_per_s)

    @property
    def ratio(self) -> float:
        """Of flowshift's rate to the floor's."""
        return self.flowshift_bots_per_s / self.floor_bots_per_s

    @property
    def again_ratio(self) -> float:
        """Of the second run's rate to the floor's."""
        return self.again_bots_per_s / self.floor_bots_per_s


def slice_rates(began_s: float, ended: Sequence[tuple[float, int]], count: int) -> list[float]:
    """Bots a second in each of `count` equal parts of a run, by when its batches ended.

    `ended` is (second, bots) of each batch. A part begins where the one before it ended, and takes
    batches until it has its share; there are fewer parts if there are fewer batches.

    >>> slice_rates(0.0, [(1.0, 10), (2.0, 10), (4.0, 10), (6.0, 10)], 2)
    [10.0, 5.0]
    """
    total = sum(bots for _, bots in ended)
    rates: list[float] = []
    done, since_bots, since_s = 0, 0, began_s
    for at_s, bots in sorted(ended):
        done += bots
        if done * count >= total * (len(rates) + 1) and at_s > since_s:
            rates.append((done - since_bots) / (at_s - since_s))
            since_bots, since_s = done, at_s
    return rates


def decay(rates: Sequence[float]) -> float:
    """How much of its rate a run lost: the last third's against the first third's, 0 for nothing.

    The first part is left out if there are more than three: a run begins in it.

    >>> decay([50.0, 100.0, 100.0, 90.0, 80.0, 80.0, 80.0])
    0.2
    """
    steady = rates[1:] if len(rates) > 3 else rates
    third = max(1, len(steady) // 3)
    first, last = sum(steady[:third]) / third, sum(steady[-third:]) / third
    return round(1 - last / first, 3)


# -- Markdown --------------------------------------------------------------------------------------


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table, every column but the first to the right.

    >>> table(["a", "b"], [["1", "2"]])
    ['| a | b |', '|---|---:|', '| 1 | 2 |']
    """
    cells = [list(heads), *(list(row) for row in rows)]
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    return [lines[0], "|---|" + "---:|" * (len(heads) - 1), *lines[1:]]


def report(results: Sequence[Measured]) -> str:
    """Everything, as docs/explanation/benchmark.md has it."""
    parts = [
        _rates(results),
        _memory(results),
        _slices(results),
        *(_sizes(one) for one in _largest_of_each(results)),
        _parts(results),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


def _rates(results: Sequence[Measured]) -> list[str]:
    heads = ["fleet", "bots", "validate", "floor", "flowshift", "ratio", "again", "ratio"]
    heads += ["peer", "ratio", "floor by 500", "ratio", "by 20,000", "ratio", "WAL a bot"]
    return table(heads, (_rate_row(one) for one in results))


def _rate_row(one: Measured) -> list[str]:
    peer = one.peer_bots_per_s
    return [
        one.fleet,
        f"{one.bots:,}",
        one.validate,
        f"{one.floor_bots_per_s:,.0f}/s",
        f"{one.flowshift_bots_per_s:,.0f}/s",
        f"{one.ratio:.2f}",
        f"{one.again_bots_per_s:,.0f}/s",
        f"{one.again_ratio:.2f}",
        "–" if peer is None else f"{peer:,.0f}/s",
        "–" if peer is None else f"{peer / one.floor_bots_per_s:.2f}",
        f"{one.small_floor_bots_per_s:,.0f}/s",
        f"{one.flowshift_bots_per_s / one.small_floor_bots_per_s:.2f}",
        f"{one.large_floor_bots_per_s:,.0f}/s",
        f"{one.flowshift_bots_per_s / one.large_floor_bots_per_s:.2f}",
        f"{one.wal_bytes_per_bot / 1000:.1f} KB",
    ]


def _memory(results: Sequence[Measured]) -> list[str]:
    names = sorted({name for one in results for name in one.peak_mb})
    heads = ["peak memory (USS)", "bots", "validate", *names]
    rows = [
        [
            one.fleet,
            f"{one.bots:,}",
            one.validate,
            *(f"{one.peak_mb[name]:.0f} MB" if name in one.peak_mb else "–" for name in names),
        ]
        for one in results
    ]
    return table(heads, rows)


def _slices(results: Sequence[Measured]) -> list[str]:
    most = max((len(one.slice_rates) for one in results), default=0)
    heads = ["bots a second in each part", "bots", "validate"]
    heads += [f"{n}" for n in range(1, most + 1)] + ["lost"]
    rows = []
    for one in results:
        start = [one.fleet, f"{one.bots:,}"]
        rows.append([*start, one.validate, *_slice_cells(one.slice_rates, most)])
        rows.append([*start, f"{one.validate}, again", *_slice_cells(one.again_slice_rates, most)])
    return table(heads, rows)


def _slice_cells(rates: Sequence[float], most: int) -> list[str]:
    cells = [f"{rate:,.0f}" for rate in rates[:most]]
    lost = f"{decay(rates):.0%}" if len(rates) == SLICES else "–"
    return [*cells, *["–"] * (most - len(cells)), lost]


def _largest_of_each(results: Sequence[Measured]) -> Iterator[Measured]:
    """The largest fleet's result for each kind of fleet and validation."""
    largest: dict[tuple[str, str], Measured] = {}
    for one in results:
        key = (one.fleet, one.validate)
        if key not in largest or largest[key].bots < one.bots:
            largest[key] = one
    yield from largest.values()


def _sizes(one: Measured) -> list[str]:
    heads = [f"{one.fleet}, {one.bots:,} bots, {one.validate}", "rows", "table", "TOAST", "index"]
    heads += ["bytes a bot"]
    rows = []
    least = LEAST_SHARE * sum(size.total_bytes for size in one.tables)
    shown = [size for size in one.tables if size.total_bytes >= least]
    for size in sorted(shown, key=lambda size: -size.total_bytes):
        stored = [f"{_mb(size.heap_bytes)}", f"{_mb(size.toast_bytes)}", ""]
        each = f"{size.total_bytes / one.bots:,.0f}"
        rows.append([f"`{size.table}`", f"{size.rows:,}", *stored, each])
        for name, index_bytes in sorted(size.index_bytes.items()):
            each = f"{index_bytes / one.bots:,.0f}"
            rows.append([f"– `{name}`", "", "", "", _mb(index_bytes), each])
    return table(heads, rows)


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:,.1f} MB"


def _parts(results: Sequence[Measured]) -> list[str]:
    if not results:
        return []
    parts = results[-1].parts_us_per_bot
    return table(
        ["part of a batch, alone", "µs a bot"], ([k, f"{v:.0f}"] for k, v in parts.items())
    )
