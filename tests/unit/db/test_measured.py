"""What a process measures goes into the totals once, and is not lost with a transaction."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.forks import in_fork
from worker.core.metrics.catalogue import CATALOGUE
from worker.core.metrics.model import Sample
from worker.db.measuring.cursor import STATEMENTS
from worker.db.measuring.measured import Measured

BUCKETS = len(CATALOGUE[STATEMENTS].bounds) + 1
RETRIES = "flowshift_batch_retries"


def counts(**by_place: int) -> tuple[int, ...]:
    """Counts of a histogram, given by the place: `p0=1`."""
    return tuple(by_place.get(f"p{place}", 0) for place in range(BUCKETS))


def test_what_was_observed_is_taken_once() -> None:
    measured = Measured()
    measured.observe(STATEMENTS, 0.0003, "select")
    measured.observe(STATEMENTS, 99.0, "select")
    measured.observe(STATEMENTS, 0.0005, "insert")
    measured.count(RETRIES, 2, "convert")

    taken = {one.labels: one for one in measured.take()}

    assert taken["select",] == Sample(STATEMENTS, 99.0003, ("select",), counts(p0=1, p14=1))
    assert taken["insert",].counts == counts(p0=1)
    assert taken["convert",] == Sample(RETRIES, 2, ("convert",))
    assert measured.take() == []


def test_counts_of_one_counter_are_added() -> None:
    measured = Measured()
    measured.count(RETRIES, 2, "convert")
    measured.count(RETRIES, 3, "convert")

    assert measured.take() == [Sample(RETRIES, 5, ("convert",))]


@pytest.mark.parametrize("ended_by", [ZeroDivisionError, KeyboardInterrupt, SystemExit])
def test_what_did_not_commit_is_added_to_what_came_since(ended_by: type[BaseException]) -> None:
    measured = Measured()
    measured.observe(STATEMENTS, 1.0, "select")
    measured.count(RETRIES, 1, "convert")

    def fail() -> None:
        with measured.handed_over() as take:
            assert len(take()) == 2
            measured.observe(STATEMENTS, 2.0, "select")
            raise ended_by

    with pytest.raises(ended_by):
        fail()
    with measured.handed_over() as take:
        taken = {one.name: one for one in take()}

    assert taken[STATEMENTS].value == 3.0
    assert sum(taken[STATEMENTS].counts) == 2
    assert taken[RETRIES].value == 1
    assert measured.take() == []


def test_threads_lose_no_observation() -> None:
    measured = Measured()

    def observe(_: int) -> None:
        for _ in range(500):
            measured.observe(STATEMENTS, 0.25, "select")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(observe, range(4)))

    (one,) = measured.take()
    assert (one.value, sum(one.counts)) == (500.0, 2_000)


def test_a_forked_child_begins_with_nothing() -> None:
    from worker.db.measuring.measured import MEASURED  # noqa: PLC0415  (the process's own)

    MEASURED.count(RETRIES, 1, "convert")
    read, write = os.pipe()
    in_fork(lambda: os.write(write, str(len(MEASURED.take())).encode()))

    said = os.read(read, 9)
    os.close(read)
    os.close(write)
    assert said == b"0"
    assert MEASURED.take()
