"""A bar is one line from 60 columns up, whatever it has to say; its reason is a line below."""

from __future__ import annotations

import io

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import some_progress
from tests.strategies import examples
from worker.cli.printing import Console
from worker.cli.views.bar import Piece, State, lines
from worker.cli.views.progress import bar_state
from worker.core.policy.progress import NO_WORKER, Counts, Progress

WIDTHS = [60, 80, 120, 200]


def shown(state: State, width: int) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=True, color_system=None).print(
        lines(state, width)
    )
    return out.getvalue().rstrip("\n").split("\n")


def a_run(**fields: object) -> Progress:
    whole = Counts(converted=9_000_000, skipped=10_000, failed=999_999, warnings=7)
    defaults = {
        "run_id": 12_345,
        "state": "running",
        "dry_run": True,
        "counts": whole,
        "bots_total": 12_345_678,
        "rate": 12_345.6,
        "eta_s": 360_000.0,
    }
    return msgspec.structs.replace(some_progress(), **{**defaults, **fields})


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("waiting", [None, "max_rate: 200 bots/s, next batch in 3 s " * 9])
def test_ten_million_bots_stay_on_one_line(width: int, waiting: str | None) -> None:
    first, *rest = shown(bar_state(a_run(waiting=waiting)), width)
    assert len(first) <= width
    assert "81 %" in first
    assert "999,999 failed" in first
    assert len(rest) == (1 if waiting else 0)
    assert all(len(line) <= width for line in rest)


def test_what_does_not_fit_is_left_out_the_rate_first() -> None:
    kept = {width: shown(bar_state(a_run(dry_run=False)), width)[0] for width in (60, 80, 100, 130)}
    assert "bots/s" in kept[130]
    assert "bots/s" not in kept[80]
    assert "9,999,999" not in kept[60]
    assert all("failed" in line for line in kept.values())


@given(
    st.text(st.characters(categories=["L", "N", "P"]), max_size=20),
    st.lists(st.builds(Piece, st.text("가나x9,", max_size=18), st.integers(0, 9)), max_size=5),
    st.integers(60, 200),
)
@examples(200)
def test_no_text_makes_a_second_line(label: str, pieces: list[Piece], width: int) -> None:
    assert len(shown(State(label, done=1, total=3, pieces=pieces), width)) == 1


def test_a_run_that_stands_still_shows_neither_rate_nor_time_left() -> None:
    for fields in ({"state": "paused", "reason": "backup"}, {"waiting": NO_WORKER}):
        first, reason = shown(bar_state(a_run(rate=0.0, eta_s=None, **fields)), 200)
        assert "bots/s" not in first
        assert " left" not in first
        assert reason.strip() in ("backup", f"waits for {NO_WORKER}")
