"""What takes a moment to count: how often it is read, and what is shown where it cannot be."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.live import eventually
from worker.errors import TransientError
from worker.web.pages.counted import Counted, CountedEach, Last


class Source:
    """Something to count, and a clock."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.reads = 0
        self.is_away = False

    def read(self) -> int:
        self.reads += 1
        if self.is_away:
            raise TransientError("busy")
        return self.reads


PATIENCE_S = 60.0
"""Longer than a read takes on a slow machine."""


def test_a_value_is_read_again_once_it_is_old() -> None:
    source = Source()
    counted = Counted[int](60, 20, PATIENCE_S, clock=lambda: source.now_s)
    values = []
    for source.now_s in (0.0, 59.0, 60.0):
        values.append(counted.get(source.read).value)
    assert values == [1, 1, 2]


def test_what_cannot_be_read_leaves_the_value_before_it_and_is_not_asked_for_at_every_look() -> (
    None
):
    source = Source()
    counted = Counted[int](60, 20, PATIENCE_S, clock=lambda: source.now_s)
    assert counted.get(source.read).error is None
    source.now_s, source.is_away = 60.0, True
    last = counted.get(source.read)
    assert (last.value, str(last.error)) == (1, "busy")
    source.now_s, source.is_away = 79.0, False
    assert (counted.get(source.read), source.reads) == (last, 2)
    source.now_s = 80.0
    last = counted.get(source.read)
    assert (last.value, last.error) == (3, None)


def test_who_asks_does_not_wait_for_a_long_read_and_gets_the_value_before_it() -> None:
    source, goes_on = Source(), threading.Event()
    counted = Counted[int](60, 20, 0.01, clock=lambda: source.now_s)

    def slow() -> int:
        assert goes_on.wait(PATIENCE_S)
        return source.read()

    def looked() -> Last[int]:
        return counted.get(slow)

    try:
        assert [looked() for _ in range(3)] == [Last(None, is_being_read=True)] * 3
        goes_on.set()
        assert eventually(lambda: looked().value) == 1
        goes_on.clear()
        source.now_s = 60.0
        assert [looked() for _ in range(3)] == [Last(1, is_being_read=True)] * 3
        goes_on.set()
        assert eventually(lambda: not looked().is_being_read)
        assert looked() == Last(2)
    finally:
        goes_on.set()


def test_a_long_read_is_old_so_long_after_its_end() -> None:
    source = Source()
    counted = Counted[int](60, 20, PATIENCE_S, clock=lambda: source.now_s)

    def slow() -> int:
        source.now_s += 100.0
        return source.read()

    assert [counted.get(slow).value, counted.get(slow).value] == [1, 1]


def test_an_error_that_no_database_raised_is_raised_at_each_look_and_tried_again() -> None:
    source = Source()
    counted = Counted[int](60, 20, PATIENCE_S, clock=lambda: source.now_s)

    def wrong() -> int:
        source.reads += 1
        raise ValueError("a defect")

    for source.now_s in (0.0, 19.0):
        with pytest.raises(ValueError, match="a defect"):
            counted.get(wrong)
    assert source.reads == 1
    source.now_s = 20.0
    assert counted.get(source.read) == Last(2)


def test_of_each_key_a_value_is_read_again_once_it_is_old() -> None:
    source = Source()
    each = CountedEach[str, int](clock=lambda: source.now_s)
    values = []
    for source.now_s, key in ((0.0, "a"), (0.0, "b"), (29.0, "a"), (30.0, "a"), (31.0, "b")):
        values.append(each.get(key, 1, 30, source.read))
    assert values == [1, 2, 1, 3, 4]


def test_another_version_is_read_at_once_however_fresh_the_one_before_is() -> None:
    source = Source()
    each = CountedEach[str, int](clock=lambda: source.now_s)
    values = [each.get("a", version, 30, source.read) for version in (1, 1, 2, 2)]
    assert values == [1, 1, 2, 2]


def test_what_a_long_read_gives_is_as_old_as_its_begin() -> None:
    source = Source()
    each = CountedEach[str, int](clock=lambda: source.now_s)

    def slow() -> int:
        source.now_s += 20
        return source.read()

    assert each.get("a", 1, 30, slow) == 1
    source.now_s = 30.0
    assert each.get("a", 1, 30, source.read) == 2


def test_a_read_that_fails_is_raised_and_tried_again_at_the_next_look() -> None:
    source = Source()
    each = CountedEach[str, int](clock=lambda: source.now_s)
    source.is_away = True
    with pytest.raises(TransientError):
        each.get("a", 1, 30, source.read)
    source.is_away = False
    assert each.get("a", 1, 30, source.read) == 2


def test_of_many_keys_those_asked_for_last_are_kept() -> None:
    source = Source()
    each = CountedEach[str, int](2, clock=lambda: source.now_s)
    values = [each.get(key, 1, 30, source.read) for key in ("a", "b", "a", "c", "a", "b")]
    assert values == [1, 2, 1, 3, 1, 4]


def test_many_at_once_read_a_value_once_and_do_not_wait_for_another_key() -> None:
    source, goes_on, begun = Source(), threading.Event(), threading.Event()
    each = CountedEach[str, int]()

    def slow() -> int:
        begun.set()
        assert goes_on.wait(30)
        return source.read()

    with ThreadPoolExecutor(4) as threads:
        waiting = [threads.submit(each.get, "a", 1, 30, slow) for _ in range(4)]
        try:
            assert begun.wait(30)
            assert each.get("b", 1, 30, lambda: 7) == 7
        finally:
            goes_on.set()
        assert [one.result() for one in waiting] == [1, 1, 1, 1]
