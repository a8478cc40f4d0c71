"""What one statement takes of many rows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import examples
from worker.db.bulk import STATEMENT_BYTES, STATEMENT_ROWS, graph_slices, slices

KILOBYTE = b"x" * 1024


def test_a_statement_takes_no_more_rows_than_the_limit() -> None:
    assert [len(some) for some in slices([b"x"] * 201, len)] == [STATEMENT_ROWS, STATEMENT_ROWS, 1]


def test_a_statement_takes_as_many_bytes_as_the_limit_and_not_one_more() -> None:
    whole = [KILOBYTE * 256, KILOBYTE * 256]

    assert [len(some) for some in slices(whole, len)] == [2]
    assert [len(some) for some in slices([*whole[1:], whole[0] + b"x"], len)] == [1, 1]


def test_a_row_over_the_limit_is_a_statement_of_its_own() -> None:
    large = b"x" * (STATEMENT_BYTES + 1)

    assert [len(some) for some in slices([b"x", large, b"x", b"x"], len)] == [1, 1, 2]


def test_nothing_is_no_statement() -> None:
    assert list(slices([], len)) == []


@given(st.lists(st.integers(0, STATEMENT_BYTES * 2), max_size=400))
@examples(50)
def test_every_row_is_in_one_statement_in_its_order(sizes: list[int]) -> None:
    sliced = list(slices(sizes, lambda size: size))

    assert [size for some in sliced for size in some] == sizes
    assert all(len(some) == 1 or sum(some) <= STATEMENT_BYTES for some in sliced)
    assert all(1 <= len(some) <= STATEMENT_ROWS for some in sliced)


def test_a_graph_goes_with_its_bot() -> None:
    graphs = [(f"bot-{n}", b"%d" % n) for n in range(STATEMENT_ROWS + 1)]

    arrays = list(graph_slices(graphs))

    pairs = [(i, bytes(g)) for ids, some in arrays for i, g in zip(ids, some, strict=True)]
    assert pairs == graphs
    assert len(arrays) == 2
