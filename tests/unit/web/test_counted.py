"""What takes a moment to count: how often it is read, and what is shown where it cannot be."""

from __future__ import annotations

from worker.errors import TransientError
from worker.web.pages.counted import Counted


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
