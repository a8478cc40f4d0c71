"""Numbers over time as a picture: round axes, nothing outside them, and the same in words."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import examples
from worker.core.drawing import plot
from worker.core.drawing.plot import Limit, Plot, Point
from worker.core.drawing.ticks import ticks, time_ticks

SVG = "{http://www.w3.org/2000/svg}"
FINITE = st.floats(0, 1e15, allow_nan=False)


def drawn(one: Plot) -> ET.Element:
    return ET.fromstring(plot.draw(one, name="p"))


def a_plot(*values: float | None, **keys: object) -> Plot:
    """A value each ten seconds."""
    points = [Point(at * 10.0, value) for at, value in enumerate(values)]
    given = {"title": "rate", "unit": "bots/s", "points": points, "span_s": len(values) * 10.0}
    return Plot(**{**given, **keys})  # type: ignore[arg-type]


@given(highest=st.floats(1e-9, 1e15))
def test_an_axis_ends_at_or_just_above_the_highest_value(highest: float) -> None:
    found = ticks(highest)
    assert found[0] == 0
    assert found[-2] < highest <= found[-1] * (1 + 1e-6)
    assert 2 <= len(found) <= 6


@given(seconds=st.floats(0, 1e9))
def test_times_on_an_axis_do_not_pass_its_end(seconds: float) -> None:
    found = time_ticks(seconds)
    assert found[0] == 0
    assert found[-1] <= seconds
    assert len(found) <= 8


@examples(150)
@given(
    values=st.lists(st.none() | FINITE, max_size=60),
    limit=FINITE,
    log=st.booleans(),
    kind=st.sampled_from(["line", "bars"]),
)
def test_any_numbers_are_drawn_inside_the_axes(
    values: list[float | None], limit: float, log: bool, kind: plot.Kind
) -> None:
    one = a_plot(*values, limits=[Limit(limit, "limit", "bad")], log=log, kind=kind, bar_s=10.0)
    assert plot.draw(one, name="p") == plot.draw(one, name="p")
    svg = drawn(one)
    for line in svg.iter(f"{SVG}polyline"):
        for pair in line.attrib["points"].split():
            x, y = map(float, pair.split(","))
            assert plot._LEFT <= x <= plot.WIDTH - plot._RIGHT
            assert plot._TOP <= y <= plot.HEIGHT - plot._BOTTOM
    for bar in svg.iter(f"{SVG}rect"):
        assert float(bar.attrib["height"]) >= 0


def test_where_nothing_was_measured_the_line_has_a_gap() -> None:
    svg = drawn(a_plot(1, 2, None, 3, 4, None, 5))
    assert len(list(svg.iter(f"{SVG}polyline"))) == 2


def test_a_value_that_stands_alone_is_a_point() -> None:
    many = [1.0] * 50
    assert list(drawn(a_plot(*many)).iter(f"{SVG}circle")) == []
    assert len(list(drawn(a_plot(*many, None, 7)).iter(f"{SVG}circle"))) == 1


def test_a_limit_is_drawn_and_said() -> None:
    one = a_plot(1, 30, limits=[Limit(300, "fails at", "bad")])
    assert next(group.get("class") for group in drawn(one).iter(f"{SVG}g")) == "limit is-bad"
    assert plot.in_words(one) == "Lowest 1, highest 30, last 30 bots/s, over 20 s; fails at: 300."


def test_a_limit_above_all_values_stands_inside_the_axis() -> None:
    one = a_plot(1, limits=[Limit(300, "fails at")])
    texts = [text.text for text in drawn(one).iter(f"{SVG}text")]
    assert "300" in texts


def test_a_logarithmic_axis_has_powers_of_ten() -> None:
    one = a_plot(0.001, 12_345, log=True, limits=[Limit(20, "passes at", "good")])
    texts = {text.text for text in drawn(one).iter(f"{SVG}text")}
    assert {"1", "10", "100", "1,000", "10,000", "100,000"} <= texts


def test_more_points_than_there_is_room_for_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 400"):
        plot.draw(a_plot(*[1.0] * 401), name="p")


def test_markup_in_a_title_stays_text() -> None:
    svg = drawn(a_plot(1, title="</title><script>alert(1)</script>", unit="<b>"))
    assert not list(svg.iter(f"{SVG}script"))
