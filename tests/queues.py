"""A queue without a server: what is enqueued is a list."""

from __future__ import annotations

import datetime as dt

from worker.core.policy.run_kinds import QueueName
from worker.db.outbox import ToEnqueue
from worker.errors import QueueAwayError


class TestQueue:
    """Keeps in `messages` what was enqueued: `plan 3`, `convert 3/1`, `prune 2026-03-31 03:30`.

    With `answering` False it is away.
    """

    __test__ = False

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.answering = True
        self.failed_last = False

    @property
    def is_away(self) -> bool:
        """Whether it did not answer a moment ago."""
        return not self.answering

    def enqueue_plan(self, run_id: int) -> None:
        """Enqueue the planning of a run."""
        self._enqueue(f"plan {run_id}")

    def enqueue_batch(self, batch: ToEnqueue) -> bool:
        """Enqueue a batch, if it answers."""
        self.failed_last = not self.answering
        if self.answering:
            self._enqueue(f"{batch.kind} {batch.ref.run_id}/{batch.ref.number}")
        return self.answering

    def enqueue_prune(self, slot: dt.datetime) -> None:
        """Enqueue a slice of a prune."""
        self._enqueue(f"prune {slot:%Y-%m-%d %H:%M}")

    def answers(self) -> bool:
        """Whether it answers."""
        return self.answering

    def is_empty(self, queue: QueueName) -> bool:
        """Whether no message waits in a queue."""
        waiting = {"publish" if one.startswith("publish ") else "convert" for one in self.messages}
        return self.answering and queue not in waiting

    def _enqueue(self, message: str) -> None:
        if not self.answering:
            raise QueueAwayError
        self.messages.append(message)
