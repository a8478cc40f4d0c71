"""Whether a worker works, for commands that start or follow a run; and one of their own if none does."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Final, Literal, Self

from worker.app import app
from worker.cli.printing import say
from worker.errors import TransientError
from worker.processes.supervisor import Supervisor, worker_program
from worker.processes.vitals import max_age_s
from worker.queue.dispatch import AWAY
from worker.runtime import Runtime
from worker.steps.processes import any_worker_works

Presence = Literal["works", "none", "unknown"]
"""Unknown: no heartbeat is fresh, and the queue is unavailable, so that no worker can be asked."""

PING_S: Final = 1.0
FRESH: Final = 2
"""In heartbeats: a worker that showed work in this time counts without being asked."""


def presence(current: Runtime) -> Presence:
    """Whether a worker works: by its heartbeat, and by asking only if no heartbeat is fresh.

    A worker that has just started has no heartbeat yet, but answers.
    """
    try:
        if _alive(current, FRESH * current.settings.heartbeat_s):
            return "works"
    except TransientError:
        pass  # then ask
    try:
        return "works" if app.control.ping(timeout=PING_S) else "none"
    except AWAY:
        return "unknown"


def hint(current: Runtime) -> None:
    """Say so if no worker works, and what to do."""
    match presence(current):
        case "none":
            say("no worker answers: start some with `flowshift up`", err=True)
        case "unknown":
            say(_UNKNOWN, err=True)


_UNKNOWN: Final = "no worker's heartbeat is fresh, and the queue is unavailable: none can be asked"


class WorkerPresent:
    """A context manager that starts a worker of the command's own if no other works.

    A worker that was killed leaves a heartbeat that is fresh for some seconds, so `tend` looks again.
    """

    def __init__(
        self, current: Runtime, *, quiet: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._current = current
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
        elif self._clock() >= self._look_at and self._others_are_gone():
            self._start()

    def _others_are_gone(self) -> bool:
        self._look_at = self._clock() + self._current.settings.heartbeat_s
        try:
            gone = not _alive(self._current, max_age_s(self._current))
            return gone and presence(self._current) == "none"
        except TransientError:
            return False

    def _start(self) -> None:
        values = self._current.settings
        if not self._quiet:
            say(
                f"no worker answers: starting one here, with {values.worker_processes} processes",
                err=True,
            )
        programs = [worker_program(values.worker_processes, name="migrate")]
        self._own = self._stack.enter_context(
            Supervisor(programs, shutdown_s=values.shutdown_s, log_dir=values.data_path / "log")
        )

    def __enter__(self) -> Self:
        found = presence(self._current)
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


def _alive(current: Runtime, within_s: float) -> bool:
    return any_worker_works(current.engine, within_s=within_s)
