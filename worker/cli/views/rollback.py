"""What `rollback` prints: the preview, how far it is, and what it did."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from worker.cli.printing import console, say
from worker.cli.views.bar import LiveBar, Piece, State
from worker.core.counted import counted
from worker.steps.publication.rollback import Look, Result
from worker.steps.publication.rounds import Moved

_SAID: Final = {
    "rolled_back": "V1 answers again, or the bot is gone",
    "superseded": "left alone, a later version is live",
    "no_way_back": "left alone, V1 is gone or does not run",
}


def print_preview(seen: Look, *, err: bool) -> None:
    """Print what a rollback would do, a line for each sort of bots."""
    if not seen.bots:
        say("no bot of these is live by a publication of flowshift: nothing to roll back", err=err)
        return
    for line in seen.preview.lines():
        say(line, err=err)


@contextmanager
def shown(*, quiet: bool) -> Iterator[Callable[[Moved], None]]:
    """Show progress: a bar on a terminal; elsewhere a line where bots have to wait."""
    out = console(stderr=True)
    if quiet:
        yield lambda _: None
    elif out.is_terminal:
        with LiveBar(out, transient=True) as bar:
            yield lambda moved: bar.show(_state(moved))
    else:
        yield _Lines()


def _state(moved: Moved) -> State:
    return State(
        "rollback",
        done=moved.done,
        total=moved.total,
        pieces=(Piece(f"{moved.done:,}/{moved.total:,} bots", rank=0),),
        reason=moved.waiting
        and f"waiting for {counted(moved.total - moved.done, 'bot')}: {moved.waiting}",
    )


class _Lines:
    """A line whenever the number of bots that are left, or what they wait for, has changed."""

    def __init__(self) -> None:
        self._last: Moved | None = None

    def __call__(self, moved: Moved) -> None:
        if moved != self._last:
            self._last = moved
            waiting = f"; waiting: {moved.waiting}" if moved.waiting else ""
            say(f"{moved.done:,} of {moved.total:,} bots are done{waiting}", err=True)


def print_result(result: Result) -> None:
    """Print what happened to how many bots, and what became of each publication."""
    for name, text in _SAID.items():
        if bots := result.bots.get(name, 0):  # type: ignore[call-overload]
            say(f"{bots:,} bot{'' if bots == 1 else 's'}: {text}")
    if result.left:
        say(f"{result.left:,} bot{'' if result.left == 1 else 's'}: not back yet, still on V2")
    for publication_id, state in result.states.items():
        say(f"publication {publication_id} is {state.replace('_', ' ')}")
