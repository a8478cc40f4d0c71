"""CSV: a cell is the same by the short way and the long one, and a reader gets the text back."""

from __future__ import annotations

import csv

from hypothesis import example, given
from hypothesis import strategies as st

from tests.strategies import examples
from worker.core import csv_lines
from worker.core.csv_lines import csv_cell, csv_line
from worker.core.printable import escape

NEAR_SIMPLE = st.text("aZ09_.:- =+@'\",;\n\t안\u202e", max_size=6)


@examples(300)
@given(NEAR_SIMPLE)
@example("-1")
@example("a\n")
@example("a b")
def test_what_is_written_at_one_look_is_what_the_whole_way_writes(text: str) -> None:
    assert csv_cell(text) == csv_lines._guarded(text)


@examples(300)
@given(st.lists(NEAR_SIMPLE, min_size=2, max_size=4))
def test_a_line_is_one_record_whose_cells_come_back_escaped(texts: list[str]) -> None:
    [record] = csv.reader([csv_line(texts)])

    assert [cell.removeprefix("'") for cell in record] == [
        escape(text).removeprefix("'") for text in texts
    ]
