"""Which queues a worker takes messages from: by its `-Q`, else by what its database role may do."""

from __future__ import annotations

from collections.abc import Sequence

from celery import Celery

from worker.core.policy.run_kinds import QUEUES, QueueName
from worker.db.rights import Publisher
from worker.errors import ConfigError
from worker.queue.names import celery_name, queues_named


def choose_queues(app: Celery, asked: Sequence[str] | str | None, publisher: Publisher) -> None:
    """Leave out the queue of publications if the worker's role may not publish.

    `asked` is the worker's `-Q`. Call it before Celery selects its queues.

    Raises:
        ConfigError: a queue is asked for that does not exist, or that this role may not take from.
    """
    namespace = app.conf.task_default_queue
    names = [name.strip() for name in asked.split(",")] if isinstance(asked, str) else asked or []
    publish = celery_name(namespace, "publish")
    known = [celery_name(namespace, queue) for queue in QUEUES]
    if unknown := [name for name in names if name not in known]:
        raise ConfigError(
            f"there is no queue {', '.join(map(repr, unknown))}: -Q takes {' and '.join(known)}"
        )
    if publisher.may_publish:
        return
    if publish in names:
        raise ConfigError(
            f"the role {publisher.role} may not publish, so this worker cannot take from {publish}: "
            "run it as flowshift_publisher (`flowshift db role`), or leave -Q out"
        )
    app.amqp.queues.deselect([publish])


def taken_queues(app: Celery) -> tuple[QueueName, ...]:
    """The queues that this process takes messages from."""
    return queues_named(app.conf.task_default_queue, app.amqp.queues.consume_from)
