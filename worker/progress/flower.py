"""A run as one row in Flower: its state and counts move in the result column.

Flower shows what arrives as Celery events, so a run is a task of its own there (`run-12`), whose events
workers send. Each time they send all of them: a Flower that has missed the others shows the same, and
one more `task-received` keeps a run that goes on first in Flower's list, which is sorted by it.

What Celery's `State` makes of them: an event of a state that comes before the row's own changes its
time and the fields that belong to it, never the state; `PROGRESS` and `PAUSED` replace each other, and
`SUCCESS` and `FAILURE` are final.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Final

from celery import Celery

from worker.core.policy.batch_ref import BatchRef
from worker.core.policy.progress import Progress
from worker.core.policy.states import RunState
from worker.core.printable import escape, shorten
from worker.log import get_logger
from worker.queue.away import Away

log = get_logger(__name__)

TASK_NAME = "flowshift.run"
PUBLICATION_NAME: Final = "flowshift.publication"

LONGEST: Final = 500
"""Characters of a reason at most."""

_MARKS: Final[Mapping[RunState, str]] = {
    "paused": "‖",
    "completed": "✔",
    "completed_with_failures": "✘",
    "cancelled": "■",
    "failed": "✘",
}

_Event = tuple[str, dict[str, object]]


def row_id(run_id: int) -> str:
    """The task id of a run's row.

    >>> row_id(12)
    'run-12'
    """
    return f"run-{run_id}"


def describe(progress: Progress) -> str:
    """A run in one line, for Flower's result column: what matters most comes first."""
    counts, moves = progress.counts, _moves(progress)
    parts = [
        _headline(progress),
        f"{int(progress.share * 100)} %",
        f"{counts.failed:,} failed" if counts.failed else "",
        _given_up(progress.batches_failed),
        f"{_duration(progress.eta_s)} left" if moves and progress.eta_s else "",
        "dry run" if progress.dry_run else "",
        _readable(str(progress.wave)) if progress.wave else "",
        f"{counts.bots:,}/{progress.bots_total:,} bots",
        *_did(progress),
        f"{counts.skipped:,} skipped",
        f"{counts.validated:,} validated" if counts.validated else "",
        f"{progress.rate:,.0f} bots/s" if moves and progress.rate >= 0.5 else "",
        _readable(progress.waiting or "") if _is_paced(progress) else "",
    ]
    headline, share, *rest = parts
    first = f"{headline} {share}" if len(headline) == 1 else f"{headline} · {share}"
    return " · ".join([first, *filter(None, rest)])


def _did(progress: Progress) -> list[str]:
    """What was done, in the words of the run's kind: a run that publishes converts nothing."""
    counts = progress.counts
    if counts.published or progress.wave:
        return [f"{counts.published:,} published"]
    if counts.rolled_back:
        return [f"{counts.rolled_back:,} rolled back"]
    return [f"{counts.converted:,} converted", f"{counts.unchanged:,} unchanged"]


def failure_of(progress: Progress) -> str | None:
    """Why Flower shows a run that is over as FAILURE; None if it succeeded or goes on.

    A cancelled run is among them: to Celery's events PROGRESS outranks REVOKED.
    """
    if progress.state == "completed_with_failures":
        counts = [
            f"{n:,} {what if n == 1 else several}"
            for n, what, several in (
                (progress.counts.failed, "bot", "bots"),
                (progress.batches_failed, "batch", "batches"),
            )
            if n
        ]
        return f"{' and '.join(counts)} failed: flowshift failures {progress.run_id}"
    if progress.state in ("failed", "cancelled"):
        return _with_reason(progress.state, progress.reason)
    return None


def _moves(progress: Progress) -> bool:
    at_work = progress.state in ("planning", "running", "finishing")
    return at_work and (not progress.waiting or _is_paced(progress))


def _is_paced(progress: Progress) -> bool:
    """Whether it waits a moment before each batch, as its `max_rate` says: it goes on anyway."""
    return (progress.waiting or "").startswith("max_rate")


def _headline(progress: Progress) -> str:
    state = progress.state
    if state in _MARKS:
        words = state.replace("_", " ")
        return f"{_MARKS[state]} {_with_reason(words, progress.reason)}"
    if progress.waiting and not _is_paced(progress):
        return f"▷ waits for {_readable(progress.waiting)}"
    return "▶" if state == "running" else f"▶ {state}"


def _said_of(progress: Progress) -> str:
    said = [
        f"run {progress.run_id}",
        "dry run" if progress.dry_run else "",
        _readable(str(progress.wave)) if progress.wave else "",
    ]
    return ", ".join(filter(None, said))


def _given_up(batches: int) -> str:
    return f"{batches:,} {'batch' if batches == 1 else 'batches'} given up" if batches else ""


def _with_reason(state: str, reason: str | None) -> str:
    return f"{state}: {_readable(reason)}" if reason else state


def _readable(text: str) -> str:
    """Untrusted text, escaped so that nothing in it acts on a terminal or a page, or hides there."""
    return shorten(escape(text), LONGEST)


def _duration(seconds: float) -> str:
    """Seconds, roughly, as a person says them, never less than what is left.

    >>> _duration(3.2), _duration(170.0), _duration(9_000.0)
    ('4 s', '3 min', '2 h 30 min')
    """
    if seconds <= 59:
        return f"{math.ceil(seconds)} s"
    hours, minutes = divmod(math.ceil(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


class FlowerRow:
    """Sends a run's row as events of one worker; never raises, never waits long.

    `pages` is the address of `flowshift serve`, empty where none is known: a row then names its page
    there, as text, since Flower makes links of nothing.
    """

    def __init__(
        self,
        app: Celery,
        hostname: str,
        pages: str = "",
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._app = app
        self._hostname = hostname
        self._pages = pages.rstrip("/")
        self._wall_clock = wall_clock
        self._away = Away(clock)

    def publish(self, progress: Progress) -> bool:
        """Show `progress`; call it only with what is newer than everything shown before."""
        return self._send(row_id(progress.run_id), self._events(progress))

    def show_batch(self, ref: BatchRef, bots: str) -> bool:
        """Show which bots a batch holds that has begun: since its message was sent it may be cut."""
        said = f"run {ref.run_id}, batch {ref.number}: {bots}"
        return self._send(
            f"{row_id(ref.run_id)}-batch-{ref.number}", [("task-started", {"kwargs": said})]
        )

    def show_publication(self, publication_id: int, said: str, *, is_over: bool) -> bool:
        """Show what the gate says of a publication: one row that is updated, as that of a run is."""
        now = self._wall_clock()
        named: dict[str, object] = {
            "name": PUBLICATION_NAME,
            "args": "",
            "kwargs": self._with_page(
                f"publication {publication_id}", f"/publications/{publication_id}"
            ),
            "result": _readable(said),
            "timestamp": now,
        }
        end: _Event = ("task-succeeded", {**named, "runtime": 0.0})
        events: list[_Event] = [
            ("task-received", {**named, "retries": 0, "eta": None}),
            ("task-started", {"timestamp": now}),
            end if is_over else ("task-progress", named),
        ]
        return self._send(f"publication-{publication_id}", events)

    def _send(self, uuid: str, events: list[_Event]) -> bool:
        """Send events of one row, in order; whether they were sent."""
        if self._away.is_away:
            return False
        try:
            with self._app.events.default_dispatcher(hostname=self._hostname) as dispatcher:
                for kind, fields in events:
                    dispatcher.send(kind, uuid=uuid, retry=False, **fields)
        except Exception as error:  # noqa: BLE001  (kombu's transports raise what they like)
            self._away.note()
            log.warning("flower_row.unsent", row=uuid, error=str(error))
            return False
        return True

    def _events(self, progress: Progress) -> list[_Event]:
        now = self._wall_clock() - progress.over_for_s
        named: dict[str, object] = {
            "name": TASK_NAME,
            "args": "",
            "kwargs": self._with_page(_said_of(progress), f"/runs/{progress.run_id}"),
        }
        received = {**named, "retries": 0, "eta": None, "timestamp": now}
        kind, fields = self._state(progress)
        return [
            ("task-received", received),
            ("task-started", {"timestamp": now - progress.elapsed_s}),
            (kind, {**named, **fields, "result": describe(progress), "timestamp": now}),
        ]

    def _with_page(self, said: str, path: str) -> str:
        return f"{said} · {self._pages}{path}" if self._pages else said

    def _state(self, progress: Progress) -> _Event:
        if progress.state == "paused":
            return "task-paused", {}
        if not progress.is_over:
            return "task-progress", {}
        why = failure_of(progress)
        if why is None:
            return "task-succeeded", {"runtime": progress.elapsed_s}
        return "task-failed", {"exception": why, "runtime": progress.elapsed_s}
