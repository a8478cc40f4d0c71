"""The command that deletes old records: prune."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

import click
import msgspec

from tasks.retention import gate_of, keep_of, tidy_keys
from worker.cli.printing import Table, console, print_json
from worker.cli.session import configure_logging, opened, person
from worker.cli.views import tables
from worker.cli.views.bar import LiveBar, Piece, State
from worker.core.policy.retention import parse_age
from worker.errors import StaleError
from worker.progress.expiry import forget_run
from worker.runtime import Runtime
from worker.steps.prune import prune as step
from worker.steps.prune.prune import Moved, Result

LINE_EVERY_S: Final = 10.0

KINDS: Final[Mapping[str, str]] = {
    "runs": "execution runs",
    "nodes": "node executions",
    "bytes": "bytes of both",
    "partitions": "partitions dropped whole",
    "kept": "execution runs that stay: in use, or referred to by another table",
    "ledger": "ledger rows",
    "own_runs": "flowshift runs",
    "batches": "their batches",
    "audit": "audit lines",
    "prunes": "records of prunes",
}
"""What a prune counts, in the order in which it is told; the first two always."""


class _Age(click.ParamType):  # type: ignore[type-arg]
    name = "age"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return parse_age(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command()
@click.option(
    "--older-than",
    "older_than_s",
    type=_Age(),
    metavar="AGE",
    help="Executions created longer ago than this, such as 30d or 12h (s, m, h, d, w).",
)
@click.option("--dry-run", is_flag=True, help="Only count what would be deleted.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
def prune(*, older_than_s: int | None, dry_run: bool, as_json: bool) -> int:
    """Delete old execution records, and flowshift's own old ones.

    Executions created before the cut-off go, with their node executions: those older than
    FLOWSHIFT_KEEP_EXECUTIONS_DAYS where --older-than does not say otherwise. Old runs of
    flowshift's, their outcomes and the audit trail go by their own settings. In small
    transactions, oldest first; Ctrl-C ends it, and what is deleted stays deleted.

    The exit code is 0 if all that is old is gone, 1 if some of it stays: it was in use, referred to
    by another table, or another prune or a health check stood in the way.

    \b
    flowshift prune --dry-run          what would go
    flowshift prune --older-than 90d
    """
    configure_logging()
    with opened(needs_redis=False) as current:
        keep = keep_of(current.settings, executions_s=older_than_s)
        with _shown(quiet=as_json) as show:
            try:
                with _terminable():
                    if dry_run:
                        result = step.look(current.engine, keep, show=show)
                    else:
                        result = _prune(current, keep, show)
            except StaleError as error:
                raise click.ClickException(f"{error}; nothing was deleted here") from error
        if as_json:
            print_json(_as_json(result))
        else:
            _print(result)
    if result.interrupted:
        return 130
    return 1 if result.state != "done" or result.gone.get("kept") else 0


def _prune(current: Runtime, keep: step.Keep, show: Callable[[Moved], None]) -> Result:
    namespace = current.settings.namespace
    result = step.prune(
        current.engine,
        keep,
        actor=person(),
        gate=gate_of(current),
        pause_s=current.settings.prune_pause_ms / 1000,
        show=show,
        forget_run=lambda run_id: forget_run(current.redis, namespace, run_id),
    )
    if result.state == "done":
        tidy_keys(current)
    return result


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end a prune as Ctrl-C does: in an orderly way, with its summary."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


# -- while it goes on ------------------------------------------------------------------------------


@contextmanager
def _shown(*, quiet: bool) -> Iterator[Callable[[Moved], None]]:
    """Show progress: a bar on a terminal, a line now and then elsewhere."""
    out = console(stderr=True)
    if quiet:
        yield lambda _: None
    elif out.is_terminal:
        with LiveBar(out, transient=True) as bar:
            bar.show(State("prune", done=0, total=None))
            yield lambda moved: bar.show(_bar_state(moved))
    else:
        yield _Lines(out.print)


def _bar_state(moved: Moved) -> State:
    left = f"{tables.duration(moved.eta_s)} left" if moved.eta_s else ""
    return State(
        "prune",
        done=moved.runs,
        total=moved.total or None,
        pieces=(
            Piece(f"{moved.runs:,}/{moved.total:,}", rank=1),
            Piece(f"{moved.rate:,.0f} runs/s", rank=2),
            Piece(left, rank=0),
        ),
        reason=_waiting(moved),
    )


class _Lines:
    """A line every ten seconds, and whenever a health check makes the prune wait."""

    def __init__(
        self, out: Callable[..., None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._out = out
        self._clock = clock
        self._next_at = clock() + 1.0
        self._waiting = ""

    def __call__(self, moved: Moved) -> None:
        waiting = _waiting(moved)
        if waiting and waiting != self._waiting:
            self._out(waiting, markup=False)
        elif self._clock() >= self._next_at:
            self._out(_line(moved), markup=False)
            self._next_at = self._clock() + LINE_EVERY_S
        self._waiting = waiting


def _waiting(moved: Moved) -> str:
    verdict = moved.waiting
    if verdict is None:
        return ""
    return f"waiting: {': '.join(part for part in (verdict.check, verdict.reason) if part)}"


def _line(moved: Moved) -> str:
    return (
        f"prune: {moved.runs:,} of about {moved.total:,} runs, {moved.rate:,.0f} runs/s, "
        f"{tables.duration(moved.eta_s)} left"
    )


# -- when it is over -------------------------------------------------------------------------------


def size(octets: int) -> str:
    """Bytes as a person says them.

    >>> size(512), size(2_048), size(3_500_000_000)
    ('512 B', '2.0 KB', '3.3 GB')
    """
    value = float(octets)
    for unit in ("B", "KB", "MB", "GB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TB"


def _print(result: Result) -> None:
    out = console()
    done = "would go" if result.dry_run else {"done": "pruned"}.get(result.state, result.state)
    why = f" ({result.reason})" if result.reason else ""
    cutoff = f"{result.cutoffs['executions']:%Y-%m-%d %H:%M:%S} UTC"
    out.print(
        f"{done}{why} in {tables.duration(result.duration_s)}: executions from before {cutoff}",
        markup=False,
    )
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(justify="right")
    table.add_column()
    for kind, meaning in KINDS.items():
        number = result.gone.get(kind, 0)
        if number or kind in ("runs", "nodes"):
            table.add_row(size(number) if kind == "bytes" else f"{number:,}", meaning)
    out.print(table)
    for name in result.partitions:
        out.print(f"partition {name}", markup=False)
    if result.state != "done":
        out.print("What is deleted stays deleted; the same command goes on from there.")


def _as_json(result: Result) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(result)
    del told["is_out_of_time"]
    told["gone"] = {kind: result.gone.get(kind, 0) for kind in KINDS}
    return told
