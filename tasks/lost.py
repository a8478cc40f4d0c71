"""The base class of all tasks: what Celery does when a child died with one, and what Flower shows.

Celery could only send the message again, forever, or fail. Here the database is updated instead
(`worker.steps.lost_worker`).
"""

from __future__ import annotations

from typing import Any, Final

import celery
from billiard.einfo import ExceptionInfo
from billiard.exceptions import WorkerLostError
from celery.worker import request, state

from worker.app import app
from worker.core.event_text import LONGEST, plain_arguments, plain_error, plain_result
from worker.core.printable import escape, shorten
from worker.errors import GIVEN_UP, FlowshiftError
from worker.queue import limits
from worker.queue.dispatch import CeleryQueue
from worker.runtime import runtime
from worker.steps.lost_worker import LostWorkers

REFUSED: Final = "refused: "
"""How the reason begins for which a request started nothing."""

_lost_workers = LostWorkers()


class Request(request.Request):
    """A delivered message, as the parent process of a worker sees it."""

    def on_failure(
        self, exc_info: ExceptionInfo, send_failed_event: bool = True, return_ok: bool = False
    ) -> Any:
        """Called when a task failed, also because its process died."""
        error = getattr(exc_info.exception, "exc", exc_info.exception)
        if not isinstance(error, WorkerLostError | SystemExit | KeyboardInterrupt):
            return super().on_failure(exc_info, send_failed_event, return_ok)
        if self._already_cancelled or state.should_terminate:  # type: ignore[attr-defined]
            # We stop, and stopped it: no loss. Unacknowledged, its message is delivered again.
            return None
        answer = super().on_failure(exc_info, send_failed_event, return_ok)
        if self.worker_pid:
            name = limits.process_name(self.hostname, int(self.worker_pid))
            report(name, str(error), hostname=self.hostname, brought=dict(self.kwargs))
        return answer

    @property
    def argsrepr(self) -> str:
        """Nothing: Flower shows all arguments as `kwargsrepr`."""
        return ""

    @property
    def kwargsrepr(self) -> str:
        """The arguments in words, those of our own senders or made of what was sent."""
        said = str(self._kwargsrepr or "")  # type: ignore[attr-defined]
        if not said.startswith("run "):
            said = plain_arguments(self.args or (), self.kwargs or {})
        return shorten(escape(said), LONGEST)

    def send_event(self, type: str, **fields: Any) -> None:  # noqa: A002  (Celery's name for it)
        """Send an event about the task, in plain words: it is what Flower shows."""
        super().send_event(type, **self._in_words(type, fields))

    def _in_words(self, kind: str, fields: dict[str, Any]) -> dict[str, Any]:
        if kind == "task-succeeded":
            return {**fields, "result": plain_result(str(fields.get("result", "")))}
        if kind in ("task-failed", "task-retried"):
            said = plain_error(str(fields.get("exception", "")))
            if said.startswith((REFUSED, GIVEN_UP)):  # the reason says it all
                fields.pop("traceback", None)
            return {**fields, "exception": said, "result": said}
        return fields


class RefusedError(FlowshiftError):
    """The request for a run is refused: nothing was started."""

    def __repr__(self) -> str:
        return f"{REFUSED}{self}"


class Task(celery.Task[Any, Any]):
    """The base class of all tasks."""

    abstract = True
    Request = "tasks.lost:Request"


def report(worker: str, error: str, *, hostname: str, brought: dict[str, Any]) -> None:
    """Follow up the death of the process named `worker`, whose message `brought` these arguments."""
    current = runtime()
    run_id, batch = (_number(brought.get(name)) for name in ("run_id", "batch"))
    try:
        _lost_workers.follow_up(
            current,
            CeleryQueue(app),
            worker=worker,
            error=error,
            actor=f"worker:{hostname}",
            run_id=run_id,
            batch=batch,
        )
    finally:
        # The next child is forked from this process: it should inherit no connection.
        current.close()


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None
