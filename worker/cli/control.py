"""Commands that control a run: pause, resume, cancel, tune, audit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import click
import msgspec

from worker.app import app
from worker.cli.arguments import RUN, TEXT
from worker.cli.printing import Console, Table, Text, confirm, console, print_json, say
from worker.cli.session import configure_logging, opened, person, reading
from worker.cli.terminal import plain
from worker.core.policy.health import UNREAD, Verdict
from worker.core.policy.progress import Progress
from worker.db import control as control_table
from worker.db import runs as runs_table
from worker.db.control import Entry
from worker.errors import TransientError, UsageError
from worker.progress.redis import RedisPublisher
from worker.queue.dispatch import CeleryQueue
from worker.runtime import Runtime
from worker.steps import control
from worker.steps.control import BATCH_SIZES, BATCH_WINDOWS, CONCURRENCIES, RATES, Tuning
from worker.steps.enqueue import top_up
from worker.steps.finish import finish_run
from worker.steps.throttle import Gate

WHY_WIDTH: Final = 2_000
"""A reason is shown whole, but not without end."""

run_argument = click.argument("run_id", metavar="RUN", type=RUN)
yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask.")
reason_option = click.option(
    "--reason", type=TEXT, metavar="TEXT", help="Why, for the audit trail."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")


@click.command()
@run_argument
@reason_option
def pause(*, run_id: int, reason: str | None) -> int:
    """Pause RUN, whoever started it: batches at work end, no other begins.

    Takes effect within a batch, with Redis down too. `flowshift resume RUN` goes on.
    """
    configure_logging()
    with opened(needs_redis=False) as current:
        changed = control.pause_run(current.engine, run_id, actor=person(), reason=reason)
        say(f"run {run_id} is paused" + ("" if changed else " already"))
        _show(current, run_id)
    return 0


@click.command()
@run_argument
@reason_option
def resume(*, run_id: int, reason: str | None) -> int:
    """Let a paused RUN go on.

    Said again of a run that goes on, it puts what is missing into the queue.
    """
    configure_logging()
    with opened(needs_redis=False) as current:
        changed = control.resume_run(current.engine, run_id, actor=person(), reason=reason)
        finish_run(current.engine, run_id, actor=person())
        say(f"run {run_id} goes on" + ("" if changed else " already"))
        _publish(current, run_id)
        _show(current, run_id)
    return 0


@click.command()
@run_argument
@reason_option
@yes_option
def cancel(*, run_id: int, reason: str | None, yes: bool) -> int:
    """End RUN for good: batches at work end, no other begins. What is converted stays so.

    It asks first; a script says --yes.
    """
    configure_logging()
    with opened(needs_redis=False) as current:
        _may_cancel(current, run_id, yes=yes)
        changed = control.cancel_run(current.engine, run_id, actor=person(), reason=reason)
        say(f"run {run_id} is cancelled" + ("" if changed else " already"))
        _show(current, run_id)
    return 0


@click.command()
@run_argument
@click.option(
    "--max-rate",
    type=click.FloatRange(0, RATES[1]),
    help="Bots a second at most, over all workers. 0: no limit.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(0, CONCURRENCIES[1]),
    help="Batches at once at most, over all workers. 0: no limit.",
)
@click.option("--batch-size", type=click.IntRange(*BATCH_SIZES), help="Bots per batch at most.")
@click.option(
    "--batch-window",
    type=click.IntRange(0, BATCH_WINDOWS[1]),
    help="Batches in the queue at most. 0: FLOWSHIFT_BATCH_WINDOW.",
)
@click.option(
    "--max-failures",
    type=click.FloatRange(0, 1),
    help="Pause above this share of bots failing with one code. 1: never.",
)
@json_option
def tune(
    *,
    run_id: int,
    max_rate: float | None,
    concurrency: int | None,
    batch_size: int | None,
    batch_window: int | None,
    max_failures: float | None,
    as_json: bool,
) -> int:
    """Change the limits of RUN while it goes on; the next batch obeys. What is not named stays."""
    unset = msgspec.UNSET
    tuning = Tuning(
        max_rate=unset if max_rate is None else max_rate or None,
        concurrency=unset if concurrency is None else concurrency or None,
        batch_window=unset if batch_window is None else batch_window or None,
        batch_size=unset if batch_size is None else batch_size,
        max_failures=unset if max_failures is None else max_failures,
    )
    if tuning == Tuning():
        raise UsageError("name a limit: flowshift tune --help lists them")
    configure_logging()
    with opened(needs_redis=False) as current:
        changed = control.tune_run(current.engine, run_id, tuning, actor=person())
        _publish(current, run_id)
    if as_json:
        print_json({"run_id": run_id, "changed": changed})
        return 0
    for name, (old, new) in changed.items():
        say(f"run {run_id}: {name.replace('_', ' ')} {_said(old)} → {_said(new)}")
    if not changed:
        say(f"run {run_id} has these limits already")
    return 0


@click.command()
@click.argument("run_id", metavar="[RUN]", type=RUN, required=False)
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="How many.")
@json_option
def audit(*, run_id: int | None, limit: int, as_json: bool) -> int:
    """Say who did what, when and why: to RUN, or to all of them; the newest last."""
    configure_logging()
    with opened(needs_redis=False) as current, reading(current) as connection:
        if run_id is not None and runs_table.get(connection, run_id) is None:
            raise UsageError(f"there is no run {run_id}: `flowshift runs` lists them")
        trail = control_table.trail(connection, run_id, limit)
    if as_json:
        print_json(trail)
    elif trail:
        console().print(audit_table(trail))
    else:
        say("nothing has been done yet")
    return 0


def _may_cancel(current: Runtime, run_id: int, *, yes: bool) -> None:
    """Ask, with what is at stake; not of a run that is over, which the step refuses or has done."""
    with reading(current) as connection:
        progress = runs_table.progress(connection, run_id)
    if progress is not None and not progress.is_over:
        left = max(0, progress.bots_total - progress.counts.bots)
        confirm(
            f"Cancel run {run_id} for good? It is {progress.state}, with {left:,} bots left.",
            yes=yes,
        )


def pace_of(current: Runtime, run_id: int) -> dict[str, Any]:
    """The limits of a run, and how large its next batch is."""
    settings = current.settings
    with reading(current) as connection:
        run = runs_table.get(connection, run_id)
        if run is None:
            raise UsageError(f"there is no run {run_id}: `flowshift runs` lists them")
        options = run.options
        return {
            "batch_size": options.batch_size,
            "batch_size_now": control_table.size_now(
                connection, run_id, options, settings.batch_target_ms
            ),
            "batch_target_ms": settings.batch_target_ms,
            "batch_window": options.batch_window or settings.batch_window,
            "concurrency": options.concurrency,
            "max_rate": options.max_rate,
            "max_failures": options.max_failures,
        }


def health_of(current: Runtime) -> list[Verdict]:
    """What every check says here and now; how long commits take only workers know."""
    return Gate(current.engine, current.settings).verdicts()


def audit_table(entries: Iterable[Entry]) -> Table:
    """The audit trail, a line each."""
    table = Table(box=None, pad_edge=False)
    table.add_column("when (UTC)", no_wrap=True)
    table.add_column("run", justify="right")
    for name in ("who", "what", "why"):
        table.add_column(name, overflow="fold")
    for entry in entries:
        changes = (
            ", ".join(f"{name} {old} → {new}" for name, (old, new) in entry.detail.items())
            if entry.action == "run.tuned"
            else ""
        )
        table.add_row(
            f"{entry.at:%Y-%m-%d %H:%M:%S}",
            "" if entry.run_id is None else str(entry.run_id),
            Text(plain(entry.actor, WHY_WIDTH)),
            Text(entry.action),
            Text(plain(entry.reason or changes, WHY_WIDTH)),
        )
    return table


def print_guests_manners(to: Console, pace: Mapping[str, Any], verdicts: Sequence[Verdict]) -> None:
    """How fast a run may go, and what the health checks say."""
    parts = [f"{pace['batch_size_now']:,} bots a batch (at most {pace['batch_size']:,})"]
    if pace["max_rate"] is not None:
        parts.append(f"at most {pace['max_rate']:,g} bots/s")
    if pace["concurrency"] is not None:
        parts.append(f"at most {pace['concurrency']:,} batches at once")
    parts.append(f"pauses above {pace['max_failures']:.0%} failing alike")
    to.print(f"pace: {', '.join(parts)}", markup=False)
    told = [verdict for verdict in verdicts if verdict.decision != "go" or _unread(verdict)]
    for verdict in told:
        reason = plain(verdict.reason, WHY_WIDTH)
        to.print(f"health: {verdict.decision}, {verdict.check}: {reason}", markup=False)
    if not told:
        to.print("health: go", markup=False)


def _unread(verdict: Verdict) -> bool:
    return verdict.reason.startswith(UNREAD)


def _said(value: object) -> str:
    return "none" if value is None else f"{value:,}"


def _publish(current: Runtime, run_id: int) -> None:
    queue = CeleryQueue(app)
    top_up(current.engine, queue, run_id, window=current.settings.batch_window)
    if queue.failed_last:
        say(
            "Redis is away: workers take it up when it is back (the beat tells them; without one, "
            f"say `flowshift resume {run_id}` again)",
            err=True,
        )


def _show(current: Runtime, run_id: int) -> None:
    """Tell programs that read Redis at once; people's views look at the database."""
    try:
        with reading(current) as connection:
            progress: Progress | None = runs_table.progress(connection, run_id)
    except TransientError:
        return
    settings = current.settings
    if progress is not None:
        publisher = RedisPublisher(current.redis, settings.namespace, settings.progress_keep_s)
        publisher.publish(progress)
