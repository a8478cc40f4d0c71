"""A bar for long work on a terminal: one line, however narrow, and below it why it stands still.

What does not fit is left out, the least important first.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

import msgspec
from rich.live import Live
from rich.progress_bar import ProgressBar

from worker.cli.printing import Console, Table, Text

BAR_MIN: Final = 8
REFRESHES_PER_S: Final = 8


class Piece(msgspec.Struct, frozen=True):
    """A part of the line beside the bar; those of the lowest rank stay longest."""

    text: str
    rank: int
    style: str = ""


class State(msgspec.Struct, frozen=True):
    """What a bar shows now. `total` is None where it is unknown; `reason` goes on a line of its own."""

    label: str
    done: int
    total: int | None
    pieces: Sequence[Piece] = ()
    reason: str = ""


class LiveBar:
    """Shows the state that was given last, several times a second, within its block."""

    def __init__(self, to: Console, *, transient: bool = False) -> None:
        self._to = to
        self._state: State | None = None
        self._live = Live(
            console=to,
            get_renderable=self._render,
            refresh_per_second=REFRESHES_PER_S,
            transient=transient,
            vertical_overflow="crop",
        )

    def show(self, state: State) -> None:
        """Show a state."""
        self._state = state

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def _render(self) -> Table:
        return Table.grid() if self._state is None else lines(self._state, self._to.width)


def lines(state: State, width: int) -> Table:
    """The line of a state with its bar, and the line of its reason if there is one."""
    label, pieces = _fitting(state, width - BAR_MIN - 1)
    row = Table.grid(padding=(0, 1, 0, 0), expand=True)
    row.add_column(no_wrap=True, overflow="ellipsis")
    row.add_column(ratio=1, min_width=BAR_MIN)
    for _ in pieces:
        row.add_column(no_wrap=True)
    row.add_row(
        Text(label),
        ProgressBar(total=state.total, completed=state.done),
        *(Text(piece.text, piece.style) for piece in pieces),
    )
    both = Table.grid(expand=True)
    both.add_column(no_wrap=True, overflow="ellipsis")
    both.add_row(row)
    if state.reason:
        both.add_row(Text(f"  {state.reason}", "yellow"))
    return both


def _fitting(state: State, width: int) -> tuple[str, list[Piece]]:
    pieces = [piece for piece in state.pieces if piece.text]
    while pieces and _taken(state.label, pieces) > width:
        pieces.remove(max(pieces, key=lambda piece: piece.rank))
    return state.label, pieces


def _taken(label: str, pieces: Sequence[Piece]) -> int:
    return sum(Text(text).cell_len + 1 for text in (label, *(piece.text for piece in pieces)))
