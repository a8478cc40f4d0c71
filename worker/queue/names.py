"""The queues: one for every worker, and one for those that may publish."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from kombu import Exchange, Queue

from worker.core.policy.run_kinds import QUEUES, QueueName

_SUFFIX: Final[dict[QueueName, str]] = {"convert": "", "publish": ":publish"}


def celery_name(namespace: str, queue: QueueName) -> str:
    """What Celery calls a queue; `-Q` of its worker takes these names.

    All begin with the namespace, so that Redis users who have the keys of one queue have those of both.

    >>> celery_name("flowshift", "convert"), celery_name("flowshift", "publish")
    ('flowshift', 'flowshift:publish')
    """
    return namespace + _SUFFIX[queue]


def queues_named(namespace: str, names: Iterable[str]) -> tuple[QueueName, ...]:
    """Which of the queues have these names.

    >>> queues_named("flowshift", ["flowshift:publish", "other"])
    ('publish',)
    """
    known = set(names)
    return tuple(queue for queue in QUEUES if celery_name(namespace, queue) in known)


def celery_queues(namespace: str, *, quorum: bool) -> tuple[Queue, ...]:
    """The queues as Celery declares them, on the one exchange of the namespace."""
    exchange = Exchange(namespace, "direct")
    arguments: dict[str, Any] | None = {"x-queue-type": "quorum"} if quorum else None
    names = [celery_name(namespace, queue) for queue in QUEUES]
    return tuple(Queue(name, exchange, name, queue_arguments=arguments) for name in names)
