"""What a metric is, and a sample of one. A reading is the samples of one moment."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

Kind = Literal["counter", "gauge", "histogram"]
UNITS: Final = ("seconds", "bytes", "ratio", "cores")


class Label(msgspec.Struct, frozen=True):
    """A label, and every value that it may have: none grows with bots, hosts or runs.

    Where the values are not known here, `says` tells what bounds them.
    """

    name: str
    values: tuple[str, ...] = ()
    says: str = ""


class Metric(msgspec.Struct, frozen=True):
    """A metric as Prometheus has it: `name` with its unit, a counter without the suffix `_total`.

    `bounds` are a histogram's upper bounds, in its unit, rising; what is above the last one is counted
    apart. `guide` is its name in the platform's guide, if the guide has one. All are read from committed
    rows.
    """

    kind: Kind
    name: str
    help: str
    labels: tuple[Label, ...] = ()
    bounds: tuple[float, ...] = ()
    guide: str | None = None

    @property
    def unit(self) -> str:
        """The unit that its name ends with; empty for a count.

        >>> Metric("gauge", "memory_bytes", "").unit, Metric("gauge", "bots_per_second", "").unit
        ('bytes', '')
        """
        last = self.name.rpartition("_")[2]
        return last if last in UNITS else ""

    @property
    def exposed(self) -> str:
        """The name by which queries ask for it; a histogram has `_bucket`, `_sum` and `_count`."""
        return f"{self.name}_total" if self.kind == "counter" else self.name


class Sample(msgspec.Struct, frozen=True):
    """A value of the metric `name`, for the values of its labels in their order.

    Of a histogram `value` is the sum of what was observed, and `counts` how many observations fell into
    each bucket: one more than there are bounds, not added up.
    """

    name: str
    value: float
    labels: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
