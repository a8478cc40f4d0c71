"""Items taken together, few enough and small enough at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def bounded(
    items: Iterable[Item], size: Callable[[Item], int], *, most: int, most_size: int
) -> Iterator[list[Item]]:
    """Items in their order, at most `most` and `most_size` of them together; one that is larger is alone.

    Lazy: it is one item ahead of what it gives.

    >>> list(bounded(["a", "b", "cc", "dddd", "e"], len, most=2, most_size=3))
    [['a', 'b'], ['cc'], ['dddd'], ['e']]
    """
    some: list[Item] = []
    total = 0
    for item in items:
        its_size = size(item)
        if some and (len(some) >= most or total + its_size > most_size):
            yield some
            some, total = [], 0
        some.append(item)
        total += its_size
    if some:
        yield some
