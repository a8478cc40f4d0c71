"""What a process keeps because it is needed again: values by key, and how often they were there."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, NamedTuple, TypeVar

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


class Counts(NamedTuple):
    """How often a value was there, had to be made, and was forgotten for another one."""

    hits: int = 0
    misses: int = 0
    evictions: int = 0


class Kept(Generic[_K, _V]):
    """At most `limit` values by key; the one that was not used for longest goes first.

    Keys are whole values, found by equality: no two share what is kept. Any thread may ask: each step is
    one operation of a dict, and takes as long whatever is kept. Two that ask at once may make one twice.

    >>> kept = Kept[str, int](1)
    >>> kept.find("a"), kept.keep("a", 1), kept.find("a"), kept.keep("b", 2), kept.find("a")
    (None, None, 1, None, None)
    >>> kept.counts
    Counts(hits=1, misses=2, evictions=1)
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._found: OrderedDict[_K, _V] = OrderedDict()
        self._hits = self._misses = self._evictions = 0

    @property
    def counts(self) -> Counts:
        """Since it was made."""
        return Counts(self._hits, self._misses, self._evictions)

    def find(self, key: _K) -> _V | None:
        """The value of a key, None if it is not kept."""
        if (value := self._found.pop(key, None)) is None:
            self._misses += 1
            return None
        self._found[key] = value
        self._hits += 1
        return value

    def keep(self, key: _K, value: _V) -> None:
        """Keep a value that was not there."""
        self._found[key] = value
        if len(self._found) > self._limit:
            self._found.popitem(last=False)
            self._evictions += 1
