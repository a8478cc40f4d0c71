"""Whether a worker works, for commands that start or follow a run; and one of their own if none does."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Final, Literal, Self

from worker.app import app
from worker.cli.printing import say
from worker.core.policy.processes import NO_WORKER
from worker.core.policy.run_kinds import QueueName
from worker.errors import TransientError
from worker.processes.supervisor import Supervisor, worker_program
from worker.processes.vitals import max_age_s
from worker.queue.dispatch import AWAY
from worker.queue.names import celery_name
from worker.runtime import Runtime
from worker.steps.processes import any_worker_works, publisher_here, queue_of_run

Presence = Literal["works", "none", "unknown"]
"""Unknown: no heartbeat is fresh, and the queue is unavailable, so that no worker can be asked."""

_NONE: Final[dict[QueueName, str]] = {
    "convert": "no worker answers",
    "publish": "no worker publishes",
}
_NAMES: Final[dict[QueueName, str]] = {"convert": "migrate", "publish": "publish"}

PING_S: Final = 1.0
FRESH: Final = 2
"""In heartbeats: a worker that showed work in this time counts without being asked."""


def presence(current: Runtime, queue: QueueName) -> Presence:
    """Whether a worker takes messages of a queue: by its heartbeat; asked only if none is fresh.

    A worker that has just started has no heartbeat yet, but answers.
    """
    try:
        if _alive(current, queue, FRESH * current.settings.heartbeat_s):
            return "works"
    except TransientError:
        pass  # then ask
    try:
        return "works" if _answers(current, queue) else "none"
    except AWAY:
        return "unknown"


def hint(current: Runtime, run_id: int) -> None:
    """Say so if no worker works that does the batches of this run, and what to do."""
    queue = queue_of_run(current.engine, run_id)
    match presence(current, queue):
        case "none":
            say(NO_WORKER[queue], err=True)
        case "unknown":
            say(_UNKNOWN, err=True)


_UNKNOWN: Final = "no worker's heartbeat is fresh, and the queue is unavailable: none can be asked"


class WorkerPresent:
    """A context manager that starts a worker of the command's own if no other does the run's batches.

    A worker that was killed leaves a heartbeat that is fresh for some seconds, so `tend` looks again.
    If the command's role may not publish, it starts none for a publication, and says so once.
    """

    def __init__(
        self,
        current: Runtime,
        run_id: int,
        *,
        quiet: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._current = current
        self._queue = queue_of_run(current.engine, run_id)
        self._may_start = True
        self._quiet = quiet
        self._clock = clock
        self._stack = ExitStack()
        self._own: Supervisor | None = None
        self._look_at = 0.0

    @property
    def is_own(self) -> bool:
        """Whether the worker was started here, and stops with the command."""
        return self._own is not None

    def tend(self) -> None:
        """Keep our own worker running, or start it if the others are gone. Call it often."""
        if self._own is not None:
            self._own.tend()
        elif self._may_start and self._clock() >= self._look_at and self._others_are_gone():
            self._start()

    def _others_are_gone(self) -> bool:
        self._look_at = self._clock() + self._current.settings.heartbeat_s
        try:
            gone = not _alive(self._current, self._queue, max_age_s(self._current))
            return gone and presence(self._current, self._queue) == "none"
        except TransientError:
            return False

    def _start(self) -> None:
        values = self._current.settings
        if self._queue == "publish" and not publisher_here(self._current.engine).may_publish:
            self._may_start = False
            say(NO_WORKER[self._queue], err=True)
            return
        if not self._quiet:
            say(
                f"{_NONE[self._queue]}: starting one here, with {values.worker_processes} processes",
                err=True,
            )
        own = celery_name(values.namespace, self._queue)
        programs = [worker_program(values.worker_processes, name=_NAMES[self._queue], queue=own)]
        self._own = self._stack.enter_context(
            Supervisor(programs, shutdown_s=values.shutdown_s, log_dir=values.data_path / "log")
        )

    def __enter__(self) -> Self:
        found = presence(self._current, self._queue)
        self._look_at = self._clock() + self._current.settings.heartbeat_s
        if found == "none":
            self._start()
        elif found == "unknown" and not self._quiet:
            say(_UNKNOWN, err=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()


def _alive(current: Runtime, queue: QueueName, within_s: float) -> bool:
    return any_worker_works(current.engine, queue, within_s=within_s)


def _answers(current: Runtime, queue: QueueName) -> bool:
    """Whether a worker that takes messages of this queue answers within `PING_S`."""
    wanted = celery_name(current.settings.namespace, queue)
    answers = app.control.inspect(timeout=PING_S).active_queues() or {}
    return any(one["name"] == wanted for queues in answers.values() for one in queues)
