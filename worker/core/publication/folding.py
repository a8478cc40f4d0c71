"""Which waves of a publication are worth a line: of a thousand, those at which something happens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from worker.core.publication.states import WaveState

MOST_WAVES: Final = 20
"""Up to so many waves each has a line."""

_STANDS_OUT: Final = ("publishing", "watching", "failed", "inconclusive")
_DECIDED: Final = ("passed", "accepted", "rolled_back")
_BESIDE: Final = 3
_OF_A_KIND: Final = 5


class Span(msgspec.Struct, frozen=True):
    """Waves by their places in the list, `first` to `last`: one with a line of its own, or several."""

    first: int
    last: int

    @property
    def is_folded(self) -> bool:
        """Whether it is several, folded into a line."""
        return self.last > self.first


def fold(states: Sequence[WaveState], *, most: int = MOST_WAVES) -> list[Span]:
    """The waves in their order, those between the ones that matter folded.

    Those matter that work, are watched or wait for a decision, some before and behind the first that is
    not decided, the last that were rolled back, the first and the last one. Every wave is in one span.

    >>> waves = ["passed"] * 50 + ["watching"] + ["pending"] * 49
    >>> [(one.first, one.last) for one in fold(waves)][:6]
    [(0, 0), (1, 46), (47, 47), (48, 48), (49, 49), (50, 50)]
    """
    if len(states) <= most:
        return [Span(place, place) for place in range(len(states))]
    return list(_spans(sorted(_matter(states)), len(states)))


def _matter(states: Sequence[WaveState]) -> set[int]:
    places = range(len(states))
    at = next((n for n in places if states[n] not in _DECIDED), len(states) - 1)
    shown = {0, len(states) - 1}
    shown |= {n for n in range(at - _BESIDE, at + _BESIDE + 1) if n in places}
    for kinds in (_STANDS_OUT, ("rolled_back",)):
        shown |= set([n for n in places if states[n] in kinds][-_OF_A_KIND:])
    return shown


def _spans(shown: Sequence[int], count: int) -> Iterator[Span]:
    after = -1
    for place in (*shown, count):
        if place - after > 1:
            yield Span(after + 1, place - 1)
        if place < count:
            yield Span(place, place)
        after = place
