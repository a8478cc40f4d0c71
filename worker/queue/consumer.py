"""The part of a worker that takes messages, where the queue is RabbitMQ's."""

from __future__ import annotations

from celery.worker import consumer

from worker.queue import message_validation


class Consumer(message_validation.Consumer):
    """Our consumer without the queues for messages with a delay.

    For a quorum queue Celery declares 28 exchanges and queues in the virtual host, under names that
    every application in it shares. flowshift delays no message: what is to be done later is in the
    database.
    """

    class Blueprint(consumer.Consumer.Blueprint):  # type: ignore[misc,valid-type]
        """The steps of Celery's, less one."""

        default_steps = tuple(
            step
            for step in consumer.Consumer.Blueprint.default_steps
            if not step.endswith(":DelayedDelivery")
        )
