"""What a worker's parent process does when one of its children dies with a task.

Celery knows at once that the child is gone, and how. It could only send the message again, for
ever, or fail; here it tells the database, where `worker.steps.rescue` decides.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import celery
from billiard.einfo import ExceptionInfo
from billiard.exceptions import WorkerLostError
from celery.worker import request, state

from worker.app import app
from worker.core.event_text import plain_arguments, plain_error, plain_result, shorten
from worker.core.printable import escape
from worker.errors import FlowshiftError
from worker.log import get_logger
from worker.queue import limits
from worker.queue.dispatch import CeleryQueue
from worker.runtime import Runtime, runtime
from worker.steps.enqueue import top_up
from worker.steps.finish import finish_run
from worker.steps.rescue import lose_worker, return_unclaimed

log = get_logger(__name__)

_SIGNAL = re.compile(r"signal (\d+)")
_EXIT_CODE = re.compile(r"exitcode (\d+)")


REFUSED = "refused: "
"""How the reason begins for which a request started nothing."""

AT_ONCE_MAX = 3
"""How often a batch whose process died unclaimed is sent again at once within `AT_ONCE_S`."""

AT_ONCE_S = 60.0


class Unclaimed:
    """Which batches were sent again at once lately.

    Where every process dies before it claims anything, sending at once would be a race without end:
    the batch then waits for the next sweep, which finds its message lost.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sent: dict[tuple[int, int], list[float]] = {}

    def may_send(self, run_id: int, number: int) -> bool:
        """Whether to send this batch again at once; counts it if so."""
        since = self._clock() - AT_ONCE_S
        lately = {key: [at for at in times if at > since] for key, times in self._sent.items()}
        self._sent = {key: times for key, times in lately.items() if times}
        times = self._sent.setdefault((run_id, number), [])
        if len(times) >= AT_ONCE_MAX:
            return False
        times.append(self._clock())
        return True


_unclaimed = Unclaimed()


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
        return shorten(escape(said))

    def send_event(self, type: str, **fields: Any) -> None:  # noqa: A002  (Celery's name for it)
        """Send an event about the task, in plain words: it is what Flower shows."""
        super().send_event(type, **self._in_words(type, fields))

    def _in_words(self, kind: str, fields: dict[str, Any]) -> dict[str, Any]:
        if kind == "task-succeeded":
            return {**fields, "result": plain_result(str(fields.get("result", "")))}
        if kind in ("task-failed", "task-retried"):
            said = plain_error(str(fields.get("exception", "")))
            if said.startswith(REFUSED):  # no fault of ours: where it was raised explains nothing
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
    """Free what the dead process named `worker` had claimed, and have its runs go on.

    `brought` is what its message named. Never raises: with the database away the lease runs out
    and a sweep does it.
    """
    current = runtime()
    actor, why = f"worker:{hostname}", _why(current, error)
    log.warning("child.lost", worker=worker, reason=why)
    queue = CeleryQueue(app)
    try:
        freed = lose_worker(current.engine, worker, why, actor=actor)
        run_ids = {run_id for run_id, _ in freed}
        if isinstance(run_id := brought.get("run_id"), int):
            run_ids.add(run_id)
            number = brought.get("batch")
            if (
                isinstance(number, int)
                and (run_id, number) not in freed
                and _unclaimed.may_send(run_id, number)
            ):
                # It died before it claimed it, or after it was done: no fault of the batch's.
                return_unclaimed(current.engine, run_id, number, why, actor=actor)
        for run_id in run_ids:
            top_up(current.engine, queue, run_id, window=current.settings.batch_window)
            finish_run(current.engine, run_id, actor=actor)
    except FlowshiftError as problem:
        log.warning("child.unreported", worker=worker, error=str(problem))
    finally:
        # The next child is forked from this process: it should inherit no connection.
        current.close()


def _why(current: Runtime, error: str) -> str:
    if found := _SIGNAL.search(error):
        values = current.settings
        return limits.how_it_ended(
            int(found[1]), time_limit_s=values.time_limit_s, memory_mb=values.child_memory_mb
        )
    code = _EXIT_CODE.search(error)
    return f"it ended by itself{f' with code {code[1]}' if code else ''}"
