"""However many scrapes come at once, one reading answers them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event

from worker.core.metrics.model import Sample
from worker.steps.metrics.reader import MetricsReader


class Made:
    """Counts the readings that are made."""

    def __init__(self) -> None:
        self.number = 0

    def __call__(self) -> list[Sample]:
        self.number += 1
        return [Sample("flowshift_up", float(self.number))]


def test_scrapes_at_once_get_one_reading() -> None:
    made, together, another = Made(), Barrier(8), Event()

    def make() -> list[Sample]:
        found = made()
        if made.number > 1:
            another.set()
        another.wait(0.3)  # time for another reading to begin beside this one
        return found

    reader = MetricsReader(make, clock=lambda: 0.0)

    def scrape() -> list[Sample]:
        together.wait()
        return reader.read()

    with ThreadPoolExecutor(8) as pool:
        found = [one.result() for one in [pool.submit(scrape) for _ in range(8)]]

    assert made.number == 1
    assert found == [[Sample("flowshift_up", 1.0)]] * 8


def test_a_reading_is_given_again_while_it_is_fresh_and_then_made_anew() -> None:
    made, now = Made(), [100.0]
    reader = MetricsReader(made, fresh_s=5, clock=lambda: now[0])

    values = []
    for at in (100.0, 104.9, 105.0, 109.0, 110.0):
        now[0] = at
        values.append(reader.read()[0].value)

    assert values == [1, 1, 2, 2, 3]


def test_a_reading_that_took_long_is_fresh_from_its_end_on() -> None:
    now = [0.0]

    def slow() -> list[Sample]:
        now[0] += 8
        return []

    reader = MetricsReader(slow, fresh_s=5, clock=lambda: now[0])
    reader.read()
    now[0] += 4
    reader.read()

    assert now[0] == 12
