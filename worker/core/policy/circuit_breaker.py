"""The guard: a run in which too many bots fail with the same code stops itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

LEAST_BOTS: Final = 50
"""With fewer bots nothing is said: three failures of four bots are no trend."""

WINDOW_BOTS: Final = 1_000
"""The running window: the batches that ended last, newest first, until they hold so many bots."""

_FAILED: Final = "failed:"


class Window(msgspec.Struct, frozen=True):
    """The bots of the running window, and how many of them failed with each code."""

    bots: int
    failed: Mapping[str, int]


def window(batches: Iterable[tuple[int, Mapping[str, int]]]) -> Window:
    """The running window over batches, newest first, as (bots, how often each `outcome:code`).

    Only whole batches; the one that reaches `WINDOW_BOTS` is the last.

    >>> window([(40, {"failed:cycle": 3}), (40, {"skipped:no_workflow": 9, "failed:cycle": 1})])
    Window(bots=80, failed={'cycle': 4})
    """
    bots, failed = 0, dict[str, int]()
    for count, codes in batches:
        if bots >= WINDOW_BOTS:
            break
        bots += count
        for key, times in codes.items():
            if key.startswith(_FAILED):
                code = key.removeprefix(_FAILED)
                failed[code] = failed.get(code, 0) + times
    return Window(bots, failed)


def trip_reason(seen: Window, max_share: float) -> str | None:
    """Why the run must not go on: more than `max_share` failed with one code; None if it may.

    >>> trip_reason(Window(50, {"cycle": 26}), 0.5)
    '26 of the last 50 bots (52%) failed with cycle, more than 50%'
    >>> trip_reason(Window(50, {"cycle": 25}), 0.5), trip_reason(Window(49, {"cycle": 49}), 0.5)
    (None, None)
    """
    if seen.bots < LEAST_BOTS or not seen.failed:
        return None
    code, failed = max(seen.failed.items(), key=lambda item: item[1])
    if failed <= max_share * seen.bots:
        return None
    return (
        f"{failed:,} of the last {seen.bots:,} bots ({failed / seen.bots:.0%}) failed with {code}, "
        f"more than {max_share:.0%}"
    )
