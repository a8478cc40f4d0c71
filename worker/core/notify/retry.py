"""What a channel's answer means, and when the channel is tried again."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

Result = Literal["sent", "refused", "failed"]

_ABOUT_THE_MESSAGE: Final = frozenset({400, 413, 414, 415, 422})

PAUSES_S: Final = (5.0, 30.0, 120.0, 600.0, 1_800.0, 3_600.0)
"""So long a channel rests after its first, second … failure; then always the last."""

REFUSALS_MAX: Final = 3
"""So often a message is tried that a working channel refuses; then it is given up."""

STUCK_S: Final = 300.0
"""A message that has waited longer than this is stuck: `status` and the metrics say so."""


class Answer(msgspec.Struct, frozen=True):
    """What came of one try, without a word of what the other side said.

    `sent`: the channel has it. `refused`: the channel works and does not take this message. `failed`:
    the channel does not work; all its messages wait.
    """

    result: Result
    said: str
    retry_after_s: float | None = None


def read_status(status: int, retry_after_s: float | None = None) -> Answer:
    """What a status of HTTP means. A redirect is a failure: only the configured address is asked.

    >>> read_status(204).result, read_status(302).said
    ('sent', 'HTTP 302: redirects are not followed')
    >>> read_status(400).result, read_status(503, 20.0)
    ('refused', Answer(result='failed', said='HTTP 503', retry_after_s=20.0))
    """
    if 200 <= status < 300:
        return Answer("sent", f"HTTP {status}")
    if 300 <= status < 400:
        return Answer("failed", f"HTTP {status}: redirects are not followed")
    if status in _ABOUT_THE_MESSAGE:
        return Answer("refused", f"HTTP {status}")
    return Answer("failed", f"HTTP {status}", retry_after_s)


def pause_s(failures: int, retry_after_s: float | None, jitter: float) -> float:
    """Seconds that a channel rests after so many failures in a row; `jitter` is from 0 to 1.

    Half of it is at random, so that many senders do not come back at once. Where the channel said how
    long, it is that and a little more, but never longer than the longest.

    >>> [pause_s(n, None, 1.0) for n in (1, 2, 3, 99)], pause_s(1, None, 0.0)
    ([5.0, 30.0, 120.0, 3600.0], 2.5)
    >>> pause_s(1, 60.0, 0.5), pause_s(1, float("inf"), 0.5)
    (62.5, 3600.0)
    """
    if retry_after_s is not None:
        return min(retry_after_s + PAUSES_S[0] * jitter, PAUSES_S[-1])
    return PAUSES_S[min(failures, len(PAUSES_S)) - 1] * (1 + jitter) / 2
