"""What takes a moment to count: how often it is read, and what is shown where it cannot be."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from worker.errors import TransientError
from worker.web.pages.counted import Counted, CountedEach


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


def test_a_value_is_read_again_once_it_is_old() -> None:
    source = Source()
    counted = Counted[int](60, 20, clock=lambda: source.now_s)
    values = []
    for source.now_s in (0.0, 59.0, 60.0):
        values.append(counted.get(source.read).value)
    assert values == [1, 1, 2]


def test_what_cannot_be_read_leaves_the_value_before_it_and_is_not_asked_for_at_every_look() -> (
    None
):
    source = Source()
    counted = Counted[int](60, 20, clock=lambda: source.now_s)
    assert counted.get(source.read).error is None
    source.now_s, source.is_away = 60.0, True
    last = counted.get(source.read)
    assert (last.value, str(last.error)) == (1, "busy")
    source.now_s, source.is_away = 79.0, False
    assert (counted.get(source.read), source.reads) == (last, 2)
    source.now_s = 80.0
    last = counted.get(source.read)
    assert (last.value, last.error) == (3, None)


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
