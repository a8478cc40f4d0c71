"""What each kind of run says about a bot, and so which of its outcomes counts; and who does it."""

from __future__ import annotations

from typing import Final, Literal, get_args

from worker.core.policy.states import RUN_KINDS, RunKind

WRITES_DRAFTS: Final[tuple[RunKind, ...]] = ("convert",)
"""Kinds whose outcome replaces everything said of a bot before; two at once must not share a bot."""

TRIES_DRAFTS: Final[tuple[RunKind, ...]] = ("validate",)
"""Kinds that say whether the draft that is there does what V1 does. Every other kind says neither."""

PUBLISHES: Final[tuple[RunKind, ...]] = ("publish", "roll_back")
"""Kinds that switch bots: only a role that may publish can do their batches."""

HURRIES: Final[tuple[RunKind, ...]] = ("roll_back",)
"""Kinds that wait for no health check, business hours or rest: they are what helps when all is ill."""

QueueName = Literal["convert", "publish"]
QUEUES: Final[tuple[QueueName, ...]] = get_args(QueueName)
"""What waits for any worker, and what waits for one that may publish."""


def queue_of(kind: RunKind) -> QueueName:
    """The queue that batches of a kind wait in.

    >>> queue_of("validate"), queue_of("publish")
    ('convert', 'publish')
    """
    return "publish" if kind in PUBLISHES else "convert"


def kinds_in(queue: QueueName) -> tuple[RunKind, ...]:
    """The kinds of runs whose batches wait in a queue.

    >>> kinds_in("convert")
    ('convert', 'validate')
    """
    return tuple(kind for kind in RUN_KINDS if queue_of(kind) == queue)
