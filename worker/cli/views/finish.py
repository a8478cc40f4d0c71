"""What `finish` prints: which bots go and why others do not, how far it is, and what it did."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec

from worker.cli.printing import console, say
from worker.cli.views.bar import LiveBar, Piece, State
from worker.core.publication.finishing import Preview
from worker.core.units import duration
from worker.steps.finishing.finish import Moved, Result

LINE_EVERY_S: Final = 10.0


def print_preview(seen: Preview, *, is_undo: bool, err: bool) -> None:
    """Print how many bots go, and how many do not, by why."""
    for line in seen.lines(is_undo=is_undo):
        say(line, err=err)


def preview_fields(seen: Preview, *, dry_run: bool) -> dict[str, Any]:
    """The preview for scripts."""
    return {"dry_run": dry_run, "preview": msgspec.to_builtins(seen), "result": None}


@contextmanager
def shown(label: str, *, quiet: bool) -> Iterator[Callable[[Moved], None]]:
    """Show progress: a bar on a terminal; elsewhere a line now and then, and when bots have to wait."""
    out = console(stderr=True)
    if quiet:
        yield lambda _: None
    elif out.is_terminal:
        began = time.monotonic()
        with LiveBar(out, transient=True) as bar:
            yield lambda moved: bar.show(_state(label, moved, time.monotonic() - began))
    else:
        yield _Lines(label)


def _state(label: str, moved: Moved, spent_s: float) -> State:
    left = moved.total - moved.done
    eta = spent_s * left / moved.done if moved.done and left > 0 and spent_s >= 1 else None
    return State(
        label,
        done=moved.done,
        total=moved.total or None,
        pieces=(
            Piece(f"{moved.done:,}/{moved.total:,} bots", rank=1),
            Piece(f"{duration(eta)} left" if eta else "", rank=0),
        ),
        reason=moved.waiting and f"waiting: {moved.waiting}",
    )


class _Lines:
    """A line every ten seconds, and whenever what bots wait for has changed."""

    def __init__(self, label: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._label = label
        self._clock = clock
        self._next_at = clock() + LINE_EVERY_S
        self._waiting = ""

    def __call__(self, moved: Moved) -> None:
        is_news = bool(moved.waiting) and moved.waiting != self._waiting
        self._waiting = moved.waiting
        if not is_news and self._clock() < self._next_at:
            return
        self._next_at = self._clock() + LINE_EVERY_S
        waiting = f"; waiting: {moved.waiting}" if moved.waiting else ""
        say(f"{self._label}: {moved.done:,} of {moved.total:,} bots are done{waiting}", err=True)


def print_result(result: Result, *, is_undo: bool) -> None:
    """Print what was done, and how to take it back."""
    what = "restored" if is_undo else "cleared"
    bots = f"{result.bots:,} bot{'' if result.bots == 1 else 's'}"
    say(f"V1 of {bots} is {what}")
    if result.busy:
        say(f"{result.busy:,} are locked by another session: run the command again")
    if result.bots and not is_undo:
        say("`flowshift finish --undo` brings it back")
