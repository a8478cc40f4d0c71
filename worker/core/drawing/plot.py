"""Numbers over time as one SVG element: a line, points or bars, an axis each, and limits.

What it shows is also said in words: the lowest, the highest and the last value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Final, Literal
from xml.etree import ElementTree as ET

import msgspec

from worker.core.drawing.ticks import number_label, ticks, time_label, time_ticks

Kind = Literal["line", "bars"]
Tone = Literal["plain", "good", "bad"]
"""What a limit or series means: it colours it, beside the words that say it."""

WIDTH: Final = 480.0
HEIGHT: Final = 190.0
_LEFT: Final = 64.0
_RIGHT: Final = 16.0
_TOP: Final = 30.0
_BOTTOM: Final = 28.0
_MOST_POINTS: Final = 400

Element = ET.Element


class Point(msgspec.Struct, frozen=True):
    """A value at a time, in seconds from the plot's begin; None where there was nothing to measure."""

    at_s: float
    value: float | None


class Limit(msgspec.Struct, frozen=True):
    """A level to compare with, named at its line."""

    value: float
    name: str
    tone: Tone = "plain"


class Plot(msgspec.Struct, frozen=True, kw_only=True):
    """What to draw: at most 400 points, in the order of time, over `span_s` seconds.

    Values are 0 or more. `bar_s` is how long one bar lasts. On a `log` scale everything up to 1 stands
    on the axis.
    """

    title: str
    unit: str
    points: Sequence[Point]
    span_s: float
    kind: Kind = "line"
    bar_s: float = 0.0
    tone: Tone = "plain"
    limits: Sequence[Limit] = ()
    log: bool = False


class _Scale(msgspec.Struct, frozen=True):
    """From values to places in the picture."""

    span_s: float
    top: float
    log: bool

    def x(self, at_s: float) -> float:
        share = min(1.0, max(0.0, at_s / self.span_s)) if self.span_s > 0 else 0.0
        return round(_LEFT + share * (WIDTH - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        level = _level(value, log=self.log)
        share = min(1.0, max(0.0, level / self.top))
        return round(HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM), 1)


def draw(plot: Plot, *, name: str) -> str:
    """The plot as well-formed SVG without any style; `name` begins the ids in it.

    The same arguments give the same bytes.

    Raises:
        ValueError: there are more points than a plot has room for.
    """
    if len(plot.points) > _MOST_POINTS:
        raise ValueError(f"{len(plot.points):,} points: at most {_MOST_POINTS}")
    svg = Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "class": "plot",
            "role": "img",
            "aria-labelledby": f"{name}-title {name}-desc",
            "viewBox": f"0 0 {WIDTH:g} {HEIGHT:g}",
        },
    )
    _add(svg, "title", {"id": f"{name}-title"}, plot.title)
    _add(svg, "desc", {"id": f"{name}-desc"}, in_words(plot))
    marks = _value_ticks(plot)
    scale = _Scale(plot.span_s, _level(marks[-1], log=plot.log), plot.log)
    _axes(svg, plot, marks, scale)
    for limit in plot.limits:
        _limit(svg, limit, scale)
    series = _add(svg, "g", {"class": f"series is-{plot.tone}"})
    (_bars if plot.kind == "bars" else _line)(series, plot, scale)
    return ET.tostring(svg, encoding="unicode")


def in_words(plot: Plot) -> str:
    """A plot in a sentence.

    >>> in_words(Plot(title="rate", unit="bots/s", points=[Point(0, 5), Point(60, 20)], span_s=90))
    'Lowest 5, highest 20, last 20 bots/s, over 1.5 min.'
    >>> in_words(Plot(title="rate", unit="bots/s", points=[], span_s=0))
    'Nothing was measured yet.'
    """
    values = [point.value for point in plot.points if point.value is not None]
    if not values:
        return "Nothing was measured yet."
    lowest, highest, last = map(number_label, (min(values), max(values), values[-1]))
    said = f"Lowest {lowest}, highest {highest}, last {last}{_unit(plot)}"
    limits = "".join(f"; {limit.name}: {number_label(limit.value)}" for limit in plot.limits)
    return f"{said}, over {time_label(_whole(plot.span_s))}{limits}."


def _whole(seconds: float) -> float:
    """A span as precise as a person says it."""
    return round(seconds, 1) if seconds < 60 else float(f"{seconds:.2g}")


def _unit(plot: Plot) -> str:
    return f" {plot.unit}" if plot.unit else ""


def _level(value: float, *, log: bool) -> float:
    return (math.log10(value) if value > 1 else 0.0) if log else value


def _value_ticks(plot: Plot) -> list[float]:
    values = [point.value for point in plot.points if point.value is not None]
    highest = max([*values, *(limit.value for limit in plot.limits)], default=0.0)
    if not plot.log:
        return ticks(highest)
    powers = math.ceil(_level(highest, log=True)) or 1
    step = math.ceil(powers / 5)
    return [10.0**power for power in range(0, powers + step, step)]


# -- parts -----------------------------------------------------------------------------------------


def _axes(svg: Element, plot: Plot, marks: Sequence[float], scale: _Scale) -> None:
    heading = plot.title + (f" ({plot.unit})" if plot.unit else "")
    _add(svg, "text", {"class": "heading", "x": "0", "y": "14"}, heading)
    right = {"x1": f"{_LEFT:g}", "x2": f"{WIDTH - _RIGHT:g}"}
    for value in marks:
        y = f"{scale.y(value):g}"
        _add(svg, "line", {"class": "grid", "y1": y, "y2": y, **right})
        place = {"x": f"{_LEFT - 8:g}", "y": f"{scale.y(value) + 4:g}", "text-anchor": "end"}
        _add(svg, "text", {"class": "tick", **place}, number_label(value))
    for at_s in time_ticks(plot.span_s):
        place = {"x": f"{scale.x(at_s):g}", "y": f"{HEIGHT - 8:g}", "text-anchor": "middle"}
        _add(svg, "text", {"class": "tick", **place}, time_label(at_s))


def _limit(svg: Element, limit: Limit, scale: _Scale) -> None:
    y = scale.y(limit.value)
    group = _add(svg, "g", {"class": f"limit is-{limit.tone}"})
    ends = {"x1": f"{_LEFT:g}", "x2": f"{WIDTH - _RIGHT:g}", "y1": f"{y:g}", "y2": f"{y:g}"}
    _add(group, "line", ends)
    place = {"x": f"{WIDTH - _RIGHT:g}", "y": f"{y - 4:g}", "text-anchor": "end"}
    _add(group, "text", {"class": "tick", **place}, limit.name)


def _line(group: Element, plot: Plot, scale: _Scale) -> None:
    """Lines between neighbours; where nothing was measured, a gap; what stands alone, a point."""
    for is_there, piece in groupby(plot.points, key=lambda point: point.value is not None):
        if not is_there:
            continue
        at = [(scale.x(point.at_s), scale.y(point.value or 0.0)) for point in piece]
        if len(at) > 1:
            _add(group, "polyline", {"points": " ".join(f"{x:g},{y:g}" for x, y in at)})
        if len(at) == 1 or len(plot.points) <= 40:
            for x, y in at:
                _add(group, "circle", {"cx": f"{x:g}", "cy": f"{y:g}", "r": "2.5"})


def _bars(group: Element, plot: Plot, scale: _Scale) -> None:
    for point in plot.points:
        if point.value:
            left, top = scale.x(point.at_s), scale.y(point.value)
            wide = max(2.0, scale.x(point.at_s + plot.bar_s) - left - 1)
            size = {"width": f"{wide:g}", "height": f"{scale.y(0) - top:g}"}
            _add(group, "rect", {"x": f"{left:g}", "y": f"{top:g}", **size})


def _add(parent: Element, tag: str, attributes: dict[str, str], text: str | None = None) -> Element:
    child = ET.SubElement(parent, tag, attributes)
    child.text = text
    return child
