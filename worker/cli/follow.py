"""Follow a run until it is over: from Redis while that answers, from the database otherwise."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator

import redis

from worker.app import app
from worker.cli.disk import DiskWatch
from worker.cli.printing import console
from worker.cli.session import person
from worker.cli.views.bar import LiveBar
from worker.cli.views.progress import bar_state, progress_line
from worker.core.policy.progress import Counts, Progress, reason_of
from worker.errors import TransientError
from worker.progress.redis import run_key
from worker.progress.unattended import Unattended
from worker.queue.dispatch import CeleryQueue
from worker.runtime import Runtime
from worker.steps.control import any_at_work
from worker.steps.report import progress_of
from worker.steps.sweep import Sweeper

POLL_S = 0.25
STALE_S = 2.0
"""Seconds without a change in Redis, after which the database is read."""

SETTLE_S = 20.0
"""Seconds for which the batches that a worker has are waited for when a run was cancelled."""

_LINE_EVERY_S = 10.0


def from_redis(client: redis.Redis, namespace: str, run_id: int) -> Progress | None:
    """How far a run is by Redis; None if Redis is unavailable or does not know the run."""
    try:
        found = client.hgetall(run_key(namespace, run_id))
    except (redis.RedisError, OSError):
        return None
    fields = {key.decode(): value.decode() for key, value in found.items()}  # type: ignore[union-attr]
    if not fields:
        return None
    return Progress(
        run_id=run_id,
        request_id=fields["request_id"],
        state=fields["state"],  # type: ignore[arg-type]
        dry_run=fields["dry_run"] == "1",
        counts=Counts(**{name: int(fields.get(name, 0)) for name in Counts.__struct_fields__}),
        bots_total=int(fields["bots_total"]),
        batches_done=int(fields["batches_done"]),
        batches_failed=int(fields["batches_failed"]),
        batches_total=int(fields["batches_total"]),
        rate=float(fields["bots_per_s"]),
        eta_s=float(fields["eta_s"]) if "eta_s" in fields else None,
        elapsed_s=float(fields["elapsed_s"]),
        version=int(fields["version"]),
        reason=fields.get("reason"),
        waiting=fields.get("waiting"),
    )


def states_of(
    current: Runtime,
    run_id: int,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Progress]:
    """The progress of a run, several times a second, until it is over; the last is the database's.

    Raises:
        UsageError: there is no such run.
        TransientError: neither server answers.
    """
    progress = progress_of(current.engine, run_id)
    request_id, moved_at = progress.request_id, clock()
    yield progress
    while not progress.is_over:
        sleep(POLL_S)
        seen = from_redis(current.redis, current.settings.namespace, run_id)
        if seen is None or seen.request_id != request_id or clock() - moved_at > STALE_S:
            seen = progress_of(current.engine, run_id)
            moved_at = clock()
        if seen.version > progress.version:
            moved_at = clock()
        if seen.version >= progress.version:
            progress = progress_of(current.engine, run_id) if seen.is_over else seen
            yield progress
    if progress.state == "cancelled":
        yield _settled(current, run_id, clock=clock, sleep=sleep)


def _settled(
    current: Runtime, run_id: int, *, clock: Callable[[], float], sleep: Callable[[float], None]
) -> Progress:
    """The progress of a cancelled run after the batches that a worker had, when counts are final."""
    until = clock() + SETTLE_S
    while clock() < until:
        if not any_at_work(current.engine, run_id):
            break
        sleep(POLL_S)
    return progress_of(current.engine, run_id)


def follow(
    current: Runtime,
    run_id: int,
    *,
    quiet: bool = False,
    meanwhile: Callable[[], None] = lambda: None,
) -> Progress:
    """Show a run until it is over: a bar on a terminal, a line now and then elsewhere.

    Continues when the database was unavailable for a moment. `quiet` shows nothing; `meanwhile` is called
    several times a second. Lost work is found and enqueued again, so that the run ends even without
    a beat.
    """
    sweeper = Sweeper(current, CeleryQueue(app), actor=person())
    unattended = Unattended(current, app, f"flowshift@{socket.gethostname()}")
    disk = DiskWatch(current.settings, _say)

    def tend() -> None:
        disk.tend()
        meanwhile()
        sweeper.tend()
        unattended.tend()

    states = _persistent(current, run_id, tend)
    out = console(stderr=True)
    if quiet:
        return _last(states)
    if not out.is_terminal:
        return _as_lines(states)
    with LiveBar(out) as bar:
        progress = next(states)
        bar.show(bar_state(progress))
        for progress in states:
            bar.show(bar_state(progress))
    return progress


def _as_lines(states: Iterator[Progress]) -> Progress:
    out = console(stderr=True)
    next_at = time.monotonic() + 1.0
    progress = next(states)
    shown = reason_of(progress)
    for progress in states:
        # A new reason is shown at once, except max_rate: a paced run waits before each of its batches.
        now = "" if (progress.waiting or "").startswith("max_rate") else reason_of(progress)
        if (now != shown or time.monotonic() >= next_at) and not progress.is_over:
            out.print(progress_line(progress))
            next_at = time.monotonic() + _LINE_EVERY_S
            shown = now
    return progress


def _persistent(current: Runtime, run_id: int, meanwhile: Callable[[], None]) -> Iterator[Progress]:
    def sleep(seconds: float) -> None:
        meanwhile()
        time.sleep(seconds)

    shown, again_at = "", 0.0
    while True:
        try:
            yield from states_of(current, run_id, sleep=sleep)
        except TransientError as error:
            if str(error) != shown or time.monotonic() >= again_at:
                shown, again_at = str(error), time.monotonic() + _LINE_EVERY_S
                _say(f"waiting for the database: {shown}")
            sleep(1.0)
        else:
            return


def _say(text: str) -> None:
    console(stderr=True).print(text)


def _last(states: Iterator[Progress]) -> Progress:
    progress = next(states)
    for progress in states:  # noqa: B007  (the last one is what is wanted)
        pass
    return progress
