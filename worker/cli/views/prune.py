"""What `prune` prints: how far it is, and what it deleted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import msgspec

from worker.cli.printing import Console, Table, console
from worker.cli.views.bar import LiveBar, Piece, State
from worker.core.units import duration, size
from worker.steps.prune.prune import Result
from worker.steps.prune.tally import Moved

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
    "notifications": "notifications",
    "proofs": "proofs of bots that are gone",
    "gate_readings": "readings of the gate, but each wave's last",
    "gate_counts": "counts that the gate made of executions",
}
"""What a prune counts, in the order of printing; the first two are always printed."""


@contextmanager
def shown(*, quiet: bool) -> Iterator[Callable[[Moved], None]]:
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
    left = f"{duration(moved.eta_s)} left" if moved.eta_s else ""
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
            self._out(waiting)
        elif self._clock() >= self._next_at:
            self._out(_line(moved))
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
        f"{duration(moved.eta_s)} left"
    )


def print_result(out: Console, result: Result) -> None:
    """Print what a prune deleted, or would delete."""
    done = (
        "would be deleted" if result.dry_run else {"done": "pruned"}.get(result.state, result.state)
    )
    why = f" ({result.reason})" if result.reason else ""
    cutoff = f"{result.cutoffs['executions']:%Y-%m-%d %H:%M:%S} UTC"
    out.print(f"{done}{why} in {duration(result.duration_s)}: executions from before {cutoff}")
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(justify="right")
    table.add_column()
    for kind, meaning in KINDS.items():
        number = result.gone.get(kind, 0)
        if number or kind in ("runs", "nodes"):
            table.add_row(size(number) if kind == "bytes" else f"{number:,}", meaning)
    out.print(table)
    for name in result.partitions:
        out.print(f"partition {name}")
    if result.state != "done":
        out.print("What is deleted stays deleted; the same command continues from there.")


def result_fields(result: Result) -> dict[str, Any]:
    """A prune as JSON."""
    values: dict[str, Any] = msgspec.to_builtins(result)
    del values["is_out_of_time"]
    values["gone"] = {kind: result.gone.get(kind, 0) for kind in KINDS}
    return values
